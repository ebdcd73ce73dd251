"""A saved adapter to the Hugging Face Hub, through its own client."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.network import check_proxies, check_token
from modelgraft.opening import find, first_line
from modelgraft.project.files import read_json

from modelgraft_adapters.saved.card import BACKBONE_FILE, CARD_FILE, HEAD_FILE, README_FILE, REFERENCE_FILE, read_card
from modelgraft_adapters.saved.model_card import readme

_HIDDEN: Final = "***"
_LONGEST_PAGE: Final = 1 << 20
"""Bytes of a page that is uploaded."""


def contents(folder: Path, repo: str, backbone: str | None = None) -> dict[str, bytes]:
    """The files of a saved adapter as they are uploaded: name -> content. Nothing is sent.

    With a ``backbone`` the card names that: the adapter is loaded on it, which looks whether it is the one it was trained on. The
    page names the repository in the place of the folder, unless it was written by hand.

    Raises:
        UsageError: no such repository can be, or the adapter is of no use to others.
        ModelgraftError: the folder holds no saved adapter, or a damaged one.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(f"{repo!r} is no name of a repository; it reads USER/REPO") from None
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} is no name of a repository; it reads USER/REPO")
    folder = folder.expanduser().absolute()
    if not os.path.lexists(folder / CARD_FILE):
        raise UsageError(
            f"{folder} holds no saved adapter (no {CARD_FILE}); 'modelgraft probe DATA --save DIR' makes one"
        )

    if backbone is not None:
        from modelgraft_adapters.estimators.frozen import FrozenAdapter

        with tempfile.TemporaryDirectory() as place:
            named = FrozenAdapter.load(folder, backbone=backbone, device="cpu", store=False).save(
                Path(place) / folder.name
            )
            return contents(named, repo)

    def refuse(what: str) -> ModelgraftError:
        return ModelgraftError(f"the card of the saved adapter {folder} ({CARD_FILE}) {what}")

    try:
        card_bytes = _own_file(folder, CARD_FILE)
    except OSError as error:
        raise ModelgraftError(f"the saved adapter {folder} cannot be read: {error}") from None
    card = read_card(read_json(folder / CARD_FILE, refuse, card_bytes), str(folder))
    if card.backbone.name.startswith("file:"):
        raise UsageError(
            f"{folder} has its backbone in a folder of this machine ({card.backbone.name[5:]}), where nobody else finds it; "
            "push the backbone first, and name it: --backbone hub:USER/REPO"
        )
    try:
        stated = {HEAD_FILE: card.head_sha256} | ({BACKBONE_FILE: card.tuned[0]} if card.tuned else {})
        stated |= {REFERENCE_FILE: card.reference[1]} if card.reference else {}
        files = {CARD_FILE: card_bytes} | {name: _own_file(folder, name) for name in stated}
        for name, sha256 in stated.items():
            if hashlib.sha256(files[name]).hexdigest() != sha256:
                raise ModelgraftError(f"{name} of {folder} is not the file that its card names; save the adapter again")
        there = os.path.lexists(folder / README_FILE)
        text = _own_file(folder, README_FILE, _LONGEST_PAGE).decode("utf-8") if there else None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelgraftError(f"the saved adapter {folder} cannot be read: {error}") from None
    if text is None or text == readme(card, f"./{folder.name}"):
        text = readme(card, f"hub:{repo}")
    return {**files, README_FILE: text.encode()}


def _own_file(folder: Path, name: str, most: int | None = None) -> bytes:
    """The content of a file that lies in the folder itself, read once: what is looked at is what is uploaded.

    Raises:
        ModelgraftError: a link, a pipe or a device, which would publish something else; or longer than ``most`` bytes.
        OSError: it cannot be read.
    """
    # O_NONBLOCK: opening a pipe must not wait for its writer. The second name of a file is a link that looks like none.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        opened = os.open(folder / name, flags)
    except OSError as error:
        if error.errno == errno.ELOOP or (folder / name).is_symlink():
            raise ModelgraftError(
                f"{name} of {folder} is a link, and what it leads to would be published; put the file itself there"
            ) from None
        raise
    with os.fdopen(opened, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
            raise ModelgraftError(
                f"{name} of {folder} is no plain file of its own (a pipe, a device, or one with a second name), and is "
                "not published; put a copy there"
            )
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise ModelgraftError(f"{name} of {folder} has more than {most:,} bytes, which no page needs; shorten it")
    return data


def push(
    folder: Path,
    repo: str,
    *,
    backbone: str | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "A saved adapter of modelgraft",
) -> str:
    """Upload a saved adapter, in one commit; the repository is made if it is not there.

    Args:
        repo: ``user/repo``.
        backbone: as `contents`'s.
        private: of a repository that is made.
        token: one that may write; None takes the client's own.

    Returns:
        the address of the commit.

    Raises:
        UsageError, ModelgraftError: as `contents`; the hub refuses it or cannot be reached. No text holds the token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token

    files = contents(folder, repo, backbone)
    if constants.is_offline_mode():
        raise ModelgraftError(f"{repo} cannot be pushed to: HF_HUB_OFFLINE is set; unset it")
    check_proxies()
    check_token(token or get_token())
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        done = api.create_commit(
            repo, [CommitOperationAdd(name, content) for name, content in files.items()], commit_message=message
        )
    except ModelgraftError:
        raise
    except Exception as error:
        told = _reason(error, repo, constants.ENDPOINT)
        if token:
            told = told.replace(token, _HIDDEN)
        # Not chained: the cause may hold the request, and the request the token.
        raise ModelgraftError(told) from None
    return str(done.commit_url)


def _reason(error: Exception, repo: str, endpoint: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    login = "log in with 'hf auth login', or set HF_TOKEN to a token that may write"
    found = find(error, HfHubHTTPError)
    response = getattr(found, "response", None)
    status = response.status_code if response is not None else 0
    if status == 401 or find(error, LocalTokenNotFoundError):
        return f"{endpoint} does not know who pushes to {repo}; {login}"
    if status == 403:
        return f"{endpoint} does not let this token write to {repo}; {login}"
    if found is not None:
        return f"{endpoint} refuses {repo} ({first_line(found)})"
    return f"{repo} could not be pushed to {endpoint} ({first_line(error)}); check the network or HF_ENDPOINT, and try again"
