"""Saved adapters: a folder of three files that is a model by name. The head as safetensors, the card, and a page for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.sealed import with_checksum
from modelgraft.version import __version__
from modelgraft.weights.recognising import LARGEST

from modelgraft_adapters.card import (
    BACKBONE_FILE,
    CARD_FILE,
    FORMAT,
    HEAD_FILE,
    README_FILE,
    check_folder,
    plain,
    read_card,
    resolvable,
)
from modelgraft_adapters.loading import brought_by
from modelgraft_adapters.loading import load_adapter as load_adapter
from modelgraft_adapters.placing import replace_files
from modelgraft_adapters.tuned import about, low_rank_record, trained_tensors

if TYPE_CHECKING:
    import numpy as np
    import torch
    from modelgraft import Entry

    from modelgraft_adapters.adapter import Adapter

OWN_FILES: Final = (CARD_FILE, HEAD_FILE, BACKBONE_FILE, README_FILE)


def save(adapter: Adapter, folder: Path) -> Path:
    """Write a fitted adapter to a folder, which appears whole or not at all.

    A folder that holds a saved adapter is written over: its three files are, whatever else lies there stays.

    Returns:
        the folder.

    Raises:
        UsageError: nothing was learnt yet, or the folder holds something else.
        ModelgraftError: the head has state that cannot be written, or the disk cannot be written.
    """
    if adapter.head_ is None:
        raise UsageError(f"this {type(adapter).__name__} has learnt nothing yet; call fit first")
    if adapter._on_features:
        raise UsageError("an adapter on features has no model to be saved with; pickle it, or train one with a model")
    folder = check_folder(folder)
    record, head, backbone = _contents(adapter, folder)
    files = {
        HEAD_FILE: head,
        **({} if backbone is None else {BACKBONE_FILE: backbone}),
        **_for_reading(record, folder),
    }
    try:
        replace_files(folder, files, OWN_FILES)
    except OSError as error:
        raise ModelgraftError(f"the adapter cannot be saved to {folder}: {error.strerror or error}") from None
    return folder


def rehearse(adapter: Adapter) -> None:
    """Make everything that would be written for an adapter, and write nothing: what could not be saved is told before training.

    Raises:
        ModelgraftError: as `save`.
    """
    _for_reading(_contents(adapter, Path("it").absolute())[0], Path("it"))


def _for_reading(record: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The card, which is one that can be read back, and the page for people."""
    from modelgraft_adapters.hub_card import readme

    record = with_checksum(record)
    card = read_card(json.loads(json.dumps(record)), str(folder))  # what cannot be read back is not written
    content = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    if len(content) > LARGEST:
        raise ModelgraftError(
            f"the card would have {len(content):,} bytes, and no more than {LARGEST:,} are read; are the names of the "
            f"{len(card.classes)} classes really names?"
        )
    return {CARD_FILE: content, README_FILE: readme(card, f"./{folder.name}").encode("utf-8", "replace")}


def _contents(adapter: Adapter, folder: Path) -> tuple[dict[str, Any], bytes, bytes | None]:
    """The card and the bytes of the head's file, and of what was trained of the backbone."""
    from safetensors.torch import save as to_bytes

    assert adapter.head_ is not None
    tensors, settings = adapter.head_.state()
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    head = to_bytes(stored)
    trained = trained_tensors(adapter)
    backbone = to_bytes(trained) if trained else None
    try:
        kept = json.loads(
            json.dumps({key: plain(value) if key == "report" else value for key, value in settings.items()})
        )
        json.dumps(kept, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelgraftError(
            f"the head {adapter.head_name!r} cannot be saved: its settings are not plain JSON types ({error})"
        ) from None
    data = adapter.trained_on_ = adapter._with_fingerprint()
    distribution, version = brought_by(adapter.head_name)
    identity = adapter.extractor.card
    pretrained = identity if adapter.tuned_ is None else adapter.tuned_.identity
    precision = identity["precision"]["dtype"]
    known = adapter.saved_
    if adapter.evaluation_ is not None:
        evaluation = plain(adapter.evaluation_.record())
    else:
        evaluation = dict(known.evaluated) if known is not None and known.evaluated else None
    record = {
        "modelgraft_adapter": 1 if backbone is None else FORMAT,
        "created": _today(),
        "task": adapter.task,
        "classes": list(adapter.classes),
        **({} if adapter.values_ is None else {"class_values": _values(adapter.values_)}),
        "backbone": _backbone_record(adapter.entry, pretrained, folder),
        "features": {
            "modality": identity["modality"],
            "layer": adapter.extractor.layer,
            "dtype": None if " " in precision else precision,
            "device": identity["device"],
            "reading": identity["reading"],
            "width": adapter.trained_on_.get("width") or (known.width if known is not None else None),
        },
        "head": {
            "name": adapter.head_name,
            "distribution": distribution,
            "version": version,
            "settings": kept,
            "sha256": hashlib.sha256(head).hexdigest(),
            "tensors": _stated(stored),
        },
        "training": {**plain(adapter.training_record()), "data": plain(data)},
        "evaluation": evaluation,
        "versions": {"python": platform.python_version(), "modelgraft": __version__, **identity["versions"]},
        "notes": list(dict.fromkeys([*(known.notes if known is not None else ()), *adapter.notes_])),
    }
    if backbone is not None:
        record["tuned"] = {"sha256": hashlib.sha256(backbone).hexdigest(), "tensors": _stated(trained)}
        if low_rank := low_rank_record(adapter):
            record["tuned"]["low_rank"] = low_rank
    return record, head, backbone


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
