"""A saved adapter to the Hugging Face Hub, through its own client."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.opening import find, first_line
from modelgraft.project.files import read_json
from modelgraft.weights.verifying import digest

from modelgraft_adapters.card import BACKBONE_FILE, CARD_FILE, HEAD_FILE, README_FILE, read_card
from modelgraft_adapters.hub_card import readme

_HIDDEN: Final = "***"


def contents(folder: Path, repo: str) -> dict[str, bytes]:
    """The files of a saved adapter as they are uploaded: name -> content. Nothing is sent.

    The page names the repository in the place of the folder, unless it was written by hand.

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
    if not (folder / CARD_FILE).is_file():
        raise UsageError(
            f"{folder} holds no saved adapter (no {CARD_FILE}); 'modelgraft probe DATA --save DIR' makes one"
        )

    def refuse(what: str) -> ModelgraftError:
        return ModelgraftError(f"the card of the saved adapter {folder} ({CARD_FILE}) {what}")

    card = read_card(read_json(folder / CARD_FILE, refuse), str(folder))
    if card.backbone.name.startswith("file:"):
        raise UsageError(
            f"{folder} has its backbone in a folder of this machine ({card.backbone.name[5:]}), where nobody else finds it; "
            "push the backbone first, and train on hub:USER/REPO"
        )
    try:
        stated = {HEAD_FILE: card.head_sha256} | ({BACKBONE_FILE: card.tuned[0]} if card.tuned else {})
        files = {name: (folder / name).read_bytes() for name in (CARD_FILE, *stated)}
        for name, sha256 in stated.items():
            if digest(folder / name, "sha256") != sha256:
                raise ModelgraftError(f"{name} of {folder} is not the file that its card names; save the adapter again")
        page = folder / README_FILE
        text = page.read_text(encoding="utf-8") if page.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelgraftError(f"the saved adapter {folder} cannot be read: {error}") from None
    if text is None or text == readme(card, f"./{folder.name}"):
        text = readme(card, f"hub:{repo}")
    return {**files, README_FILE: text.encode()}


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "A saved adapter of modelgraft",
) -> str:
    """Upload a saved adapter, in one commit; the repository is made if it is not there.

    Args:
        repo: ``user/repo``.
        private: of a repository that is made.
        token: one that may write; None takes the client's own.

    Returns:
        the address of the commit.

    Raises:
        UsageError, ModelgraftError: as `contents`; the hub refuses it or cannot be reached. No text holds the token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    files = contents(folder, repo)
    if constants.is_offline_mode():
        raise ModelgraftError(f"{repo} cannot be pushed to: HF_HUB_OFFLINE is set; unset it")
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
