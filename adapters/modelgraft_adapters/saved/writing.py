"""Saved adapters: a folder of a few files that is a model by name. The tensors, the card, and a page for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelgraft.errors import ModelgraftError
from modelgraft.sealed import with_checksum
from modelgraft.version import __version__
from modelgraft.weights.recognising import LARGEST

from modelgraft_adapters.calls.head_calls import brought_by
from modelgraft_adapters.saved.card import (
    BACKBONE_FILE,
    CARD_FILE,
    FORMAT,
    HEAD_FILE,
    README_FILE,
    REFERENCE_FILE,
    check_folder,
    plain,
    read_card,
    resolvable,
)
from modelgraft_adapters.saved.folder_swap import replace_files
from modelgraft_adapters.saved.model_card import readme
from modelgraft_adapters.saved.state import SavedState
from modelgraft_adapters.saved.tensors import about

if TYPE_CHECKING:
    import numpy as np
    import torch
    from modelgraft import Entry

    from modelgraft_adapters.shift.reference import Reference

OWN_FILES: Final = (CARD_FILE, HEAD_FILE, BACKBONE_FILE, REFERENCE_FILE, README_FILE)


def write(folder: Path, state: SavedState) -> Path:
    """Write a fitted adapter to a folder, which appears whole or not at all.

    A folder that holds a saved adapter is written over: its files are, whatever else lies there stays.

    Returns:
        the folder.

    Raises:
        UsageError: the folder holds something else.
        ModelgraftError: the head has state that cannot be written, or the disk cannot be written.
    """
    folder = check_folder(folder)
    record, tensors = _contents(state, folder)
    files = {**tensors, **_for_reading(record, folder)}
    try:
        replace_files(folder, files, OWN_FILES)
    except OSError as error:
        raise ModelgraftError(f"the adapter cannot be saved to {folder}: {error.strerror or error}") from None
    return folder


def rehearse(state: SavedState) -> None:
    """Make everything that would be written, and write nothing: what could not be saved is told before training.

    Raises:
        ModelgraftError: as `write`.
    """
    _for_reading(_contents(state, Path("it").absolute())[0], Path("it"))


def _for_reading(record: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The card, which is one that can be read back, and the page for people."""
    record = with_checksum(record)
    card = read_card(json.loads(json.dumps(record)), str(folder))  # what cannot be read back is not written
    content = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    if len(content) > LARGEST:
        raise ModelgraftError(
            f"the card would have {len(content):,} bytes, and no more than {LARGEST:,} are read; are the names of the "
            f"{len(card.classes)} classes really names?"
        )
    return {CARD_FILE: content, README_FILE: readme(card, f"./{folder.name}").encode("utf-8", "replace")}


def _contents(state: SavedState, folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The card and the files of tensors: the head's, and where they are there those of what was trained of the backbone, and of
    the reference."""
    from safetensors.torch import save as to_bytes

    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.tensors.items())}
    head = to_bytes(stored)
    backbone = to_bytes(dict(state.trained)) if state.trained else None
    try:
        kept = json.loads(
            json.dumps({key: plain(value) if key == "report" else value for key, value in state.settings.items()})
        )
        json.dumps(kept, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelgraftError(
            f"the head {state.head!r} cannot be saved: its settings are not plain JSON types ({error})"
        ) from None
    distribution, version = brought_by(state.head)
    record: dict[str, Any] = {
        "modelgraft_adapter": 1 if backbone is None else FORMAT,
        "created": _today(),
        "task": state.task,
        "classes": list(state.classes),
        **({} if state.values is None else {"class_values": _values(state.values)}),
        "backbone": _backbone_record(state.entry, state.pretrained, folder),
        "features": dict(state.features),
        "head": {
            "name": state.head,
            "distribution": distribution,
            "version": version,
            "settings": kept,
            "sha256": hashlib.sha256(head).hexdigest(),
            "tensors": _stated(stored),
        },
        "training": {**plain(state.training), "data": plain(state.data)},
        "evaluation": None if state.evaluation is None else plain(state.evaluation),
        "versions": {"python": platform.python_version(), "modelgraft": __version__, **state.versions},
        "notes": list(state.notes),
    }
    if backbone is not None:
        record["tuned"] = {"sha256": hashlib.sha256(backbone).hexdigest(), "tensors": _stated(state.trained)}
        if state.low_rank:
            record["tuned"]["low_rank"] = dict(state.low_rank)
    files = {HEAD_FILE: head} | ({} if backbone is None else {BACKBONE_FILE: backbone})
    if state.reference is not None:
        record["reference"], files[REFERENCE_FILE] = _reference_record(state.reference)
    if (calibration := state.calibration) is not None:
        kept = {"temperature": calibration.temperature, "strangeness": calibration.strangeness.tolist()}
        record["calibration"] = {**kept, "source": calibration.source}
    return record, files


def _reference_record(reference: Reference) -> tuple[dict[str, Any], bytes]:
    import torch
    from safetensors.torch import save as to_bytes

    tensors = {name: torch.from_numpy(array.copy()) for name, array in reference.tensors().items()}
    content = to_bytes(tensors)
    return {
        "items": reference.items,
        "sha256": hashlib.sha256(content).hexdigest(),
        "tensors": _stated(tensors),
    }, content


def _values(values: np.ndarray) -> dict[str, Any]:
    dtype = "str" if values.dtype.kind == "U" else str(values.dtype)
    return {"dtype": dtype, "values": values.tolist()}


def _stated(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    found = {name: about(tensor) for name, tensor in tensors.items()}
    return {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in found.items()}


def _backbone_record(entry: Entry, identity: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    weights = identity["weights"]
    inside = weights == "in the plugin"
    stated = entry.weights
    name = resolvable(entry.name)
    return {
        "name": name,
        **({"beside": os.path.relpath(name[5:], folder)} if name.startswith("file:") else {}),
        "revision": entry.revision,
        "commit": weights[0]["revision"] if isinstance(weights, list) and weights else entry.revision,
        "modality": entry.modality,
        "weights": None if inside else plain(weights),
        "sha256": identity.get("sha256"),
        "distribution": entry.distribution or "unknown",
        "version": identity["provider"]["version"] or "",
        "code": identity["provider"].get("code") or None,
        "licence": entry.licence,
        "repo": stated.repo if stated else None,
        "preprocessing": plain(identity["preprocessing"]),
        "input_size": plain(entry.input_size),
        "max_tokens": entry.max_tokens,
    }


def _today() -> str:
    """The UTC date; that of ``SOURCE_DATE_EPOCH`` where it is set (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%d", time.gmtime(int(epoch) if epoch.isdecimal() else None))
