"""The files of a model on disk, fetched first if need be; what can go wrong there is told in one line."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

from huggingface_hub import snapshot_download
from modelgraft.entry import Entry
from modelgraft.hub import telling

WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "*.h5", "*.onnx"]
"""Weights in formats that are not read here."""
_WEIGHTLESS = frozenset({"Pooling", "Normalize", "Dropout", "BoW"})


def fetch(entry: Entry) -> Path:
    """A folder with everything `SentenceTransformer` reads of the entry's model, complete at one commit.

    The library asks for its files one by one and takes a missing one (the pooling, the prompts, the text length) for a
    default, silently: another model. So the folder is made whole here. Of two formats, safetensors is taken.

    Raises:
        WeightsUnavailableError: offline, unreachable, gated, gone or incomplete; the text says what to do.
    """
    assert entry.weights is not None and entry.weights.repo is not None  # every entry of the catalogue has them
    repo = entry.weights.repo
    revision = entry.revision or entry.weights.revision
    with told(entry, repo):
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=WANTED, ignore_patterns=UNWANTED))
        if pickled := _without_safetensors(folder):
            snapshot_download(repo, revision=revision, allow_patterns=pickled)
            if lacking := _without_safetensors(folder, ("*.safetensors", "pytorch_model*.bin")):
                raise FileNotFoundError(f"no weights at {lacking[0].rpartition('/')[0] or 'the top'} of {repo}")
    return folder


def _without_safetensors(folder: Path, formats: tuple[str, ...] = ("*.safetensors",)) -> list[str]:
    """Patterns for the pickled weights of those modules of a model that have none in the given formats."""
    listed = folder / "modules.json"
    if not listed.is_file():
        raise FileNotFoundError("modules.json is missing: not a Sentence Transformers model")
    modules = json.loads(listed.read_text(encoding="utf-8"))
    places = [m["path"] for m in modules if m["type"].rpartition(".")[2] not in _WEIGHTLESS]
    lacking = [place for place in places if not any(any((folder / place).glob(f)) for f in formats)]
    return [f"{place}/pytorch_model*.bin".lstrip("/") for place in lacking]


def _also(error: Exception) -> str | None:
    return (
        "it brings Python code of its own, which modelgraft does not run" if "trust_remote_code" in str(error) else None
    )


def told(entry: Entry, repo: str) -> AbstractContextManager[None]:
    """`telling` for Sentence Transformers, which refuses remote code in words of its own."""
    return telling(entry, repo, also=_also)
