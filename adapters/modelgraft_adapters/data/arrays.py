"""Lists and arrays to a `Dataset`: paths, PIL images, arrays of pixels, texts, with their labels beside them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task
from PIL import Image

from modelgraft_adapters.data.cells import is_missing, no_items
from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.names import looks_like_picture, some
from modelgraft_adapters.data.own_labels import own_notes, own_order


def read_items(
    items: Any,
    labels: Any = None,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """N items and their N labels.

    Rules. PIL images, uint8 arrays (H, W), (H, W, 3) or (H, W, 4), ``Path`` objects and objects with ``read_bytes()`` are
    images. Strings are paths of images if every one ends like an image's file (``.jpg`` ...) and one of the first hundred
    exists; if every one ends so and none exists, or some exist and others are no paths, the call is refused rather than guessed;
    all else are texts. ``modality`` settles it.

    Args:
        items: a list, tuple or array of items; an array (N, H, W[, 3 or 4]) of uint8 are N images.
        labels: see `encoding.encode`; None where nothing is known.

    Raises:
        UsageError: no items, items of several kinds, as many labels as items are not there.
    """
    listed = _listed(items)
    if not listed:
        raise UsageError("no items")
    listed = [None if is_missing(item) and not isinstance(item, str) else item for item in listed]
    kind = _modality(listed, modality)
    identities = [_identity(item, index, kind) for index, item in enumerate(listed)]
    if (
        kind == "text"
        and (wrong := next((i for i, item in enumerate(listed) if not isinstance(item, str)), None)) is not None
    ):
        if listed[wrong] is not None:
            raise UsageError(f"item {wrong} is a {type(listed[wrong]).__name__}, not a text")
        listed = ["" if item is None else item for item in listed]
    notes = no_items(sum(is_missing(item) for item in listed), "a text" if kind == "text" else "an image")
    if labels is None:
        known = tuple(classes or ())
        return Dataset(listed, kind, task or "single-label", classes=known, identities=identities, notes=notes)
    labels = labels.tolist() if isinstance(labels, np.ma.MaskedArray) else labels  # None where the mask is
    raw = labels if isinstance(labels, (list, tuple)) else np.asarray(labels)
    if isinstance(labels, (str, bytes)) or (isinstance(raw, np.ndarray) and raw.ndim == 0):
        raise UsageError(f"labels={labels!r}: one label for each of the {len(listed):,} items is needed, in a list")
    if len(raw) != len(listed):
        raise UsageError(
            f"{len(listed):,} items and {len(raw):,} labels; each item needs one (None where it is not known)"
        )
    encoded = encode(raw, task, separator=label_separator, classes=classes, call=lambda index: identities[index])
    targets, names, values, notes = encoded.targets, encoded.classes, None, encoded.notes + notes
    if encoded.task == "single-label":
        plain = raw.tolist() if isinstance(raw, np.ndarray) and raw.ndim == 2 else raw
        plain = [row[0] for row in plain] if plain is not raw else plain
        targets, names, values = own_order(targets, names, plain, classes is not None)
        notes += own_notes(list(plain), values)
    return Dataset(listed, kind, encoded.task, targets, names, identities, notes=notes, values=values)


def each_item(items: Any) -> Iterable[Any]:
    """Return what is to be gone through item by item, or say that it is no collection of items but one, or something else.

    Lists, tuples and other sequences, iterators, arrays of images (N, H, W[, 3 or 4]) of uint8, arrays of objects or texts (N,),
    columns of pandas.

    Raises:
        UsageError: a single item, whatever would be gone through by its rows, keys, columns or letters; features; a set, which has
            no order.
    """
    if isinstance(items, np.ndarray):
        return _of_array(items)
    if isinstance(items, Dataset):
        return items.items
    if isinstance(items, (str, bytes, os.PathLike)):
        what = "text" if isinstance(items, str) else "path" if isinstance(items, os.PathLike) else "bytes"
        raise UsageError(f"give a list of items, not a single {what}: [item]")
    if isinstance(items, Image.Image) or hasattr(items, "read_bytes"):
        raise UsageError("give a list of images, not a single one: [image]")
    if isinstance(items, io.IOBase):
        raise UsageError("an open file is no list of items; give list(file), or what is in it")
    if isinstance(items, Mapping):
        raise UsageError(f"a {type(items).__name__} is no list of items; give a list of its values")
    if isinstance(items, (set, frozenset)):
        raise UsageError(f"a {type(items).__name__} has no order to give answers in; give a list")
    if hasattr(items, "columns") or hasattr(items, "column_names"):
        raise UsageError(f"a {type(items).__name__} is no list of items; give one of its columns")
    if not hasattr(items, "__iter__") or (hasattr(items, "ndim") and items.ndim != 1):
        raise UsageError(f"a {type(items).__name__} is no list of items")
    return items  # type: ignore[no-any-return]


def _of_array(items: np.ndarray) -> list[Any]:
    shape = f"an array of shape {items.shape} and dtype {items.dtype}"
    if items.dtype.kind in "US" or items.dtype == object:
        if items.ndim != 1 and not (items.ndim == 2 and items.shape[1] == 1):
            raise UsageError(f"{shape} is no list of items; one dimension is read, or one column (N, 1)")
        return items.ravel().tolist()
    if items.dtype.kind == "f" and items.ndim == 2:
        raise UsageError(
            f"{shape} reads as features; an adapter trains on them where model=None says that X has features"
        )
    if (
        items.dtype != np.uint8
        or items.ndim < 3
        or (items.ndim == 4 and items.shape[3] not in (3, 4))
        or items.ndim > 4
    ):
        raise UsageError(f"{shape} holds no images: (N, H, W), (N, H, W, 3) or (N, H, W, 4) of uint8 is read")
    if items.ndim == 3 and items.shape[2] in (3, 4):
        raise UsageError(f"{shape} is one image; put it into a list")
    return list(items)


def _listed(items: Any) -> list[Any]:
    return list(each_item(items))


def _modality(items: list[Any], given: Modality | None) -> Modality:
    if given is not None:
        return given
    strings = [item for item in items if isinstance(item, str) or item is None]
    for index, item in enumerate(items):
        if not (
            item is None or isinstance(item, (str, os.PathLike, Image.Image, np.ndarray)) or hasattr(item, "read_bytes")
        ):
            raise UsageError(f"item {index} is a {type(item).__name__}, neither a text nor an image that is read")
    if not strings:
        return "image"
    if len(strings) < len(items):
        if any(item is None for item in strings) and len([item for item in strings if item is not None]) == 0:
            return "image"
        if all(item is None or looks_like_picture(item) for item in strings):
            return "image"  # paths beside images
        others = sorted({type(item).__name__ for item in items if not isinstance(item, str) and item is not None})
        raise UsageError(f"items of several kinds: str and {some(others)}; all must be texts, or all images")
    present = [item for item in strings if item and item.strip()]
    paths = [item for item in present if looks_like_picture(item)]
    exists = any(os.path.exists(path.strip()) for path in paths[:100])
    if paths and len(paths) == len(present):
        if exists:
            return "image"
        raise UsageError(
            f"the items read as paths of images, but {paths[0]!r} does not exist; say modality='text' if they are texts"
        )
    if exists:
        stray = next(item for item in present if not looks_like_picture(item))
        raise UsageError(f"some items are files of images, others not ({stray[:60]!r}); say modality='image' or 'text'")
    return "text"


def _identity(item: Any, index: int, modality: Modality) -> str:
    if modality == "image" and isinstance(item, (str, os.PathLike)):
        return os.fspath(item) if isinstance(os.fspath(item), str) else f"item {index}"
    return f"item {index}"
