"""A timm model with its pretrained weights, through timm's own loading; what can go wrong there, said in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from modelgraft.entry import Entry
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.hub import cannot_connect, damaged, first_line, telling, unsafe
from timm.models import _builder, set_pretrained_check_hash
from timm.models._hub import check_cached_file, get_cache_dir

from modelgraft_timm.configs import pretrained_config, weights_url
from modelgraft_timm.names import timm_name

# What timm looks for in a repository, in this order.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
# A digest in a file's name, as torch.hub reads it, but not a word such as the "300e" of "IN1K-vit.h.14-300e.pth.tar".
_DIGEST_IN_NAME = re.compile(r"-[0-9a-f]{8,}\.[a-z]+$")


def create(entry: Entry) -> torch.nn.Module:
    """The entry's model with pretrained weights, float32, eval mode, on the CPU.

    The classifier of the checkpoint stays in (timm checks the weights strictly only then): ``model(x)`` gives its
    logits, embeddings are taken before it. Hub weights are read as safetensors where the repository has them, else as
    a pickle with ``weights_only``, which runs no code.

    Raises:
        WeightsUnavailableError: offline, unreachable, gated, gone, damaged or not fitting; the text says what to do.
        UsageError: a revision of weights that have none, or a name that the installed timm does not know.
    """
    name = timm_name(entry)
    if not timm.is_model_pretrained(name):
        raise UsageError(f"timm {timm.__version__} has no pretrained {name!r}; 'pip install -U timm' may bring it")
    config = pretrained_config(entry.loader.get("built_as", name))
    url = weights_url(config)
    overlay: dict[str, Any] = {}
    if entry.revision is not None:
        if not config.hf_hub_id:
            raise UsageError(f"{entry.name} has no revisions: its weights are one file, {url}")
        # Naming a source resets custom_load, so it is carried along.
        overlay = {"hf_hub_id": f"{config.hf_hub_id}@{entry.revision}", "custom_load": config.custom_load}
    with _told(entry, config.hf_hub_id, url), _checked_digest(url):
        if config.hf_hub_id:
            _knock(config.hf_hub_id, entry.revision)
        elif url:
            _check_cached(entry, url)
        model: torch.nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    return model.eval()


def _knock(repo: str, revision: str | None) -> None:
    """Raise at once where nothing is cached and nobody answers: the client would retry for three quarters of a minute."""
    if any(isinstance(try_to_load_from_cache(repo, file, revision=revision), str) for file in _HUB_FILES):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repo, _HUB_FILES[0], revision=revision))
    except Exception as error:
        if cannot_connect(error):
            raise
        # Whatever else is wrong, loading meets it again, after the retries that help there.


def _check_cached(entry: Entry, url: str) -> None:
    """Refuse a directly downloaded file whose digest is not the one in its name; say at once what offline lacks."""
    if check_cached_file(url, check_hash=False):
        if _DIGEST_IN_NAME.search(url) and not check_cached_file(url, check_hash=True):
            raise RuntimeError("invalid hash value")  # as torch.hub says of a fresh download
    elif constants.is_offline_mode():
        raise WeightsUnavailableError(
            f"{entry.name}: its weights are not in {_torch_cache()} and HF_HUB_OFFLINE is set; "
            f"unset it, or put {url} there"
        )


@contextmanager
def _checked_digest(url: str | None) -> Iterator[None]:
    """Have timm compare a fresh direct download with the digest in its name, where there is one."""
    checked = url is not None and _DIGEST_IN_NAME.search(url) is not None
    before = _builder._CHECK_HASH  # timm can set this but not tell it
    set_pretrained_check_hash(checked or before)
    try:
        yield
    finally:
        set_pretrained_check_hash(before)


def _told(entry: Entry, repo: str | None, url: str | None) -> AbstractContextManager[None]:
    """`telling` for timm, some of whose weights lie at a plain address."""
    if repo:
        return telling(entry, repo, also=lambda error: _no_weights(error, repo))
    return telling(entry, str(url), also=lambda error: _url_reason(error, str(url)))


def _no_weights(error: Exception, repo: str) -> str | None:
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{repo} holds no weights that timm can read ({' or '.join(_HUB_FILES)})"
    return None


def _url_reason(error: Exception, url: str) -> str | None:
    if unsafe(error):
        return (
            f"the file from {url} is damaged or a pickle that could run code, which is never opened; "
            f"delete it from {_torch_cache()}"
        )
    if damaged(error):
        return (
            f"the file from {url} is damaged or does not fit this timm ({first_line(error)}); "
            f"delete it from {_torch_cache()}"
        )
    if isinstance(error, OSError):
        return (
            f"its weights are at {url} alone, which could not be fetched ({first_line(error)}); "
            f"check the network, or put that file into {_torch_cache()}"
        )
    return None


def _torch_cache() -> str:
    return str(get_cache_dir())
