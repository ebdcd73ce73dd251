"""What a saved adapter says of the data that it was trained on: how many, of which classes, and a digest to know them again by."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from modelgraft.errors import UnreadableItemError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.storage.keys import FileDigests, picture_digest, text_digest


def training_facts(data: Dataset, width: int, unlabelled: int) -> dict[str, Any]:
    """Facts of training data that every item of is labelled, as plain JSON types.

    Args:
        width: D, numbers in one item's features.
        unlabelled: items without a label that were trained on too.
    """
    facts: dict[str, Any] = {"items": len(data), "classes": len(data.classes), "unlabelled": unlabelled, "width": width}
    if data.targets is not None and data.task == "single-label":
        facts["per_class"] = np.bincount(data.targets, minlength=len(data.classes)).tolist()
    elif data.targets is not None and data.task == "multi-label":
        facts["per_class"] = (data.targets > 0.5).sum(axis=0).tolist()
    if data.groups is not None:
        facts["groups"] = {"column": data.group_column, "count": len(set(data.groups))}
    return facts


def fingerprint(data: Dataset) -> str:
    """SHA-256 (hexadecimal) of the content of all items, in their order, with their targets, the classes and the groups.

    Other names of the same files give the same digest. An item that has gone since counts by what it was called.
    """
    digest = hashlib.sha256()
    files = FileDigests()
    for number, item in enumerate(data.items):
        digest.update(_content(item, data, number, files))
    if data.targets is not None:
        targets = np.ascontiguousarray(data.targets)
        digest.update(targets.astype(targets.dtype.newbyteorder("<"), copy=False).tobytes())
    digest.update(json.dumps([data.modality, data.task, *data.classes]).encode())
    if data.groups is not None:  # they say which items are held out together
        digest.update(json.dumps(["groups", data.group_column, *data.groups.tolist()]).encode())
    return digest.hexdigest()


def _content(item: Any, data: Dataset, number: int, files: FileDigests) -> bytes:
    try:
        if data.modality == "text":
            return text_digest(str(item))
        if isinstance(item, str) or hasattr(item, "__fspath__"):
            return files.digest(item if isinstance(item, str) else item.__fspath__())[0]
        return picture_digest(item)[0]
    except UnreadableItemError:
        return text_digest(data.identity(number))
