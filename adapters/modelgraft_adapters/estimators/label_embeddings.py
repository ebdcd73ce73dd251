"""Class embeddings from label names, kept on disk so that a second run does not encode the same prompts again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from modelgraft import __version__
from modelgraft.contract import TextBackbone, Tokenises
from modelgraft.errors import DamagedFileError
from modelgraft.paths import cache_dir
from modelgraft.sealed import read_sealed, write_sealed
from torch.nn import functional as F

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.estimators.prompt_templates import fill
from modelgraft_adapters.features.identity import backbone_identity, builds, is_known, settings_identity, versions

TEXTS_PER_BATCH: Final = 64
MOST_FILES: Final = 500


def label_texts(
    labels: Sequence[str], templates: Sequence[str], descriptions: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """The texts that stand for each label: its own descriptions if it has some, else every template filled with it."""
    return [[fill(t, label) for t in descriptions.get(label) or templates] for label in labels]


def embed_labels(backbone: TextBackbone, texts: Sequence[Sequence[str]]) -> torch.Tensor:
    """Class embeddings (C, D) float32 of length 1: each text normalised, their mean, normalised again (CLIP's recipe).

    Where the model scores by the dot product nothing is normalised: the mean of the texts' embeddings as they are.

    Args:
        texts: for each class, its texts (`label_texts`).
    """
    cosine = plugin_calls.score_rule(backbone).similarity == "cosine"
    path = _path(backbone, texts) if isinstance(backbone, Tokenises) else None
    cached = _read(path, (len(texts), backbone.embed_dim)) if path else None
    if cached is not None:
        return cached.to(backbone.device)
    flat = [text for group in texts for text in group]
    distinct = list(dict.fromkeys(flat))
    parts = range(0, len(distinct), TEXTS_PER_BATCH)
    rows = torch.cat(
        [plugin_calls.encode_texts(backbone, distinct[start : start + TEXTS_PER_BATCH]) for start in parts]
    )
    plugin_calls.finite_texts(backbone, rows, distinct)
    by_text = dict(zip(distinct, F.normalize(rows, dim=-1) if cosine else rows, strict=True))
    weight = torch.stack([torch.stack([by_text[text] for text in group]).mean(dim=0) for group in texts])
    if cosine:
        weight = F.normalize(weight, dim=-1)
    if path:
        _write(path, weight)
    return weight


def _path(backbone: TextBackbone, texts: Sequence[Sequence[str]]) -> Path | None:
    """A file name from everything the embeddings depend on: weights, code, libraries, texts and how the model reads them.

    The weights are the loaded ones and not those of a file, because a name can come to mean others. None where the code cannot be
    known.
    """
    assert isinstance(backbone, Tokenises)
    read = [plugin_calls.tokens(backbone, group) for group in texts]
    about = backbone_identity(backbone)
    if not is_known(about):
        return None
    what = [
        about,
        settings_identity("text", None, backbone.device, None),
        torch.__version__,  # with the build
        versions(backbone.entry.distribution),
        builds(backbone.entry.distribution),
        __version__,
        plugin_calls.score_rule(backbone).similarity,
        [list(group) for group in texts],
        read,
    ]
    digest = hashlib.sha256(json.dumps(what, ensure_ascii=True).encode()).hexdigest()
    return cache_dir() / "labels" / f"{digest[:32]}.sealed"


def _read(path: Path, shape: tuple[int, int]) -> torch.Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weight = load(read_sealed(path))["labels"]
        with contextlib.suppress(OSError):
            os.utime(path)  # least recently used goes first
    except (OSError, KeyError, SafetensorError, DamagedFileError):
        return None  # never written, or damaged: encoded anew
    return weight if tuple(weight.shape) == shape and bool(weight.isfinite().all()) else None


def _write(path: Path, weight: torch.Tensor) -> None:
    from safetensors.torch import save

    try:
        write_sealed(path, save({"labels": weight.cpu().contiguous()}))
        files = sorted(path.parent.glob("*.sealed"), key=lambda p: p.stat().st_mtime)
        for old in files[:-MOST_FILES]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # a read-only home costs time, not the result
