"""Where the weights of an entry are on disk, fetched first if need be; what can go wrong there is told in one line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from modelgraft.entry import Entry
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.hub import first_line, telling
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from safetensors import safe_open


def ask_for(entry: Entry) -> None:
    """Find out at once whether the weights can be had: in the cache, or in a repository that answers. Errors as `fetch`.

    huggingface_hub retries a file for half a minute before it says that there is no network; this asks once.
    """
    where = entry.weights
    if where is None or where.repo is None or constants.is_offline_mode():
        return
    revision = entry.revision or where.revision
    held = (try_to_load_from_cache(where.repo, name, revision=revision) for name in _file_names(where.filename))
    if not any(isinstance(path, str) for path in held):
        with told(entry, where.repo):
            HfApi().model_info(where.repo, revision=revision, timeout=10)


def fetch(entry: Entry) -> tuple[Path, str]:
    """The file with the entry's weights, and the repository or address it came from.

    Safetensors where the repository has them, as open_clip prefers them.

    Raises:
        WeightsUnavailableError: offline, unreachable, gated or gone; the text says what to do.
        UsageError: a revision of weights that have none.
    """
    where = entry.weights
    if where is None or where.repo is None:
        if where is None or where.url is None:
            raise WeightsUnavailableError(f"{entry.name}: open_clip states no place for its weights")
        if entry.revision is not None:
            raise UsageError(f"{entry.name} has no revisions: its weights are one file, {where.url}")
        with told(entry, where.url):
            return Path(open_clip.download_pretrained({"url": where.url})), where.url
    with told(entry, where.repo):
        return _download(where.repo, _file_names(where.filename), entry.revision or where.revision), where.repo


def _download(repo: str, names: list[str], revision: str | None) -> Path:
    """The first of the files that the repository has; with no network, the first that the cache has."""
    for name in names[:-1]:
        try:
            return Path(hf_hub_download(repo, name, revision=revision))
        except LocalEntryNotFoundError:  # no network: asking for the next one would only wait as long again
            for other in names[1:]:
                if isinstance(held := try_to_load_from_cache(repo, other, revision=revision), str):
                    return Path(held)
            raise
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(repo, names[-1], revision=revision))


def trained_scale_and_bias(checkpoint: Path) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """``logit_scale`` (a logarithm) and ``logit_bias`` as trained, float32 scalars, out of a checkpoint file."""
    if checkpoint.suffix == ".safetensors":
        with safe_open(checkpoint, framework="pt") as file:
            held: dict[str, Any] = {key: file.get_tensor(key) for key in _SCALARS if key in file.keys()}  # noqa: SIM118
    else:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        held = loaded.get("state_dict", loaded)
        held = {key.removeprefix("module."): value for key, value in held.items()}
    scale, bias = (held[key].float().reshape(()) if key in held else None for key in _SCALARS)
    return scale, bias


_SCALARS = ("logit_scale", "logit_bias")


def _file_names(stated: str | None) -> list[str]:
    """Candidates in open_clip's order of preference."""
    if stated is None or stated == HF_WEIGHTS_NAME:
        return [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    if stated.endswith((".bin", ".pth")):
        return [stated[:-4] + ".safetensors", stated]
    return [stated]


def _also(source: str) -> Callable[[Exception], str | None]:
    """What `telling` does not know: weights at a plain address."""

    def reason(error: Exception) -> str | None:
        if "://" in source and isinstance(error, OSError):
            return f"its weights are at {source} alone, which could not be fetched ({first_line(error)})"
        return None

    return reason


def told(entry: Entry, source: str, what: str = "weights") -> AbstractContextManager[None]:
    """`telling` for open_clip: ``source`` may be an address as well as a hub repository."""
    return telling(entry, source, what=what, also=_also(source))
