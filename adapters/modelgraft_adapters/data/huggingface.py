"""Data sets of the Hugging Face library ``datasets`` to a `Dataset`. Images stay where they are until they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import is_missing, multi_hot, texts_of
from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.grouping import groups_of
from modelgraft_adapters.data.names import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    TEXT_COLUMNS,
    UNLABELLED,
    is_split,
    plain,
    renamed,
    some,
    split_names,
)
from modelgraft_adapters.data.parquet_files import ALWAYS_ALLOWED, LARGEST_RATIO
from modelgraft_adapters.data.tables import file_bytes
from modelgraft_adapters.media.files import MOST_TEXT_BYTES, read_regular, regular_state


def is_huggingface(source: Any) -> bool:
    """Whether an object comes from the library ``datasets``, which is not imported to tell."""
    return any(kind.__module__.partition(".")[0] == "datasets" for kind in type(source).__mro__)


@dataclass(frozen=True, slots=True, eq=False)
class HubItem:
    """An image in a row of a data set."""

    rows: Any
    """The ``datasets.Dataset``, its images not decoded."""
    column: str
    index: int

    def read_bytes(self) -> bytes:
        """The image's file.

        Raises:
            UnreadableItemError: the row holds no image, or its file cannot be read.
        """
        return file_bytes(self.rows[self.index][self.column])


def load_folder(folder: str) -> Any:
    """What ``save_to_disk`` has written.

    Read by its parts: ``datasets.load_from_disk`` would take a folder's name for an address, follow names that lead out of the
    folder, and make whatever format the folder's ``state.json`` asks for.

    Raises:
        ModelgraftError: ``datasets`` is not installed, or cannot read the folder.
    """
    try:
        import datasets
    except ImportError:
        raise ModelgraftError(f"reading {folder!r} needs datasets: pip install 'modelgraft[data]'") from None
    try:
        if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
            names = [_inside(name) for name in _json(folder, "dataset_dict.json")["splits"]]
            return datasets.DatasetDict({name: _load(os.path.join(folder, name)) for name in names})
        return _load(folder)
    except Exception as error:  # the library raises what its parts raise: OSError, ValueError, Arrow's own
        raise ModelgraftError(
            f"{folder!r} is no data set that can be read: {' '.join(str(error).split())[:200]}"
        ) from None


def _load(folder: str) -> Any:
    import datasets

    paths = [os.path.join(folder, _inside(file["filename"])) for file in _json(folder, "state.json")["_data_files"]]
    info = datasets.DatasetInfo.from_dict(_json(folder, "dataset_info.json"))
    parts = []
    for path in paths:
        _check_unpacked(path)
        part = datasets.Dataset.from_file(path, info=info)
        # Arrow reads what the offsets in the file say, inside of it or not.
        part.data.table.validate(full=True)
        parts.append(part)
    return datasets.concatenate_datasets(parts)


def _check_unpacked(path: str) -> None:
    """Refuse a file that is compressed, or says once what it means often, and would fill the memory: others are not read at all."""
    import pyarrow

    budget = max(LARGEST_RATIO * regular_state(path).st_size, ALWAYS_ALLOWED)
    before = pyarrow.total_allocated_bytes()
    with pyarrow.memory_map(path) as source, pyarrow.ipc.open_stream(source) as reader:
        if any("dictionary<" in str(field.type) for field in reader.schema):
            raise ValueError("it holds dictionaries, which datasets never writes")
        batches = []
        for batch in reader:
            batches.append(batch)
            if pyarrow.total_allocated_bytes() - before > budget:
                raise ValueError(f"{path!r} would take more than {budget >> 20:,} MiB of memory")


def _json(folder: str, name: str) -> Any:
    return json.loads(read_regular(os.path.join(folder, name), MOST_TEXT_BYTES))


def _inside(name: Any) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise ValueError(f"{name!r} is no name of a file in the folder")
    return name


def _plain_parts(source: Any) -> dict[Any, Any]:
    """The splits by their names, without formats or transforms; of a data set without splits one of the name None."""
    parts = dict(source) if isinstance(source, dict) else {None: source}
    for part in parts.values():
        if not hasattr(part, "features") or not hasattr(part, "with_format") or not hasattr(part, "__len__"):
            raise UsageError(
                f"a {type(part).__name__} is read in one pass only; load it without streaming=True, or take rows into a Dataset"
            )
    return {name: part.with_format(None) for name, part in parts.items()}


def _labels_of(
    raw: list[Any], names: Any, label: str, task: Task | None, classes: Sequence[str] | None
) -> tuple[list[Any], Any]:
    """Labels with the names of the feature in the place of its numbers, and the classes that are known."""
    if names is not None and task != "regression":
        raw = raw if _is_matrix(raw, names) else [_named(value, names) for value in raw]
    elif task == "regression" and classes is None:
        classes = [label] if not any(isinstance(value, (list, tuple)) and len(value) > 1 for value in raw) else None
    return raw, classes or names


def read_huggingface(
    source: Any,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    item_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """The items of a ``datasets.Dataset``; of a ``DatasetDict`` all splits, one after the other.

    Rules. Items: the one ``Image`` column, else a string column named for texts, else the only string column. Labels: the
    column named for them, else the only ``ClassLabel``; class names in the order of the feature, -1 is no label; a list of
    labels is multi-label. A format or transform set on the data set is not applied: models bring their own preprocessing.

    Raises:
        UsageError: a streamed data set, no rows, columns that are not there or cannot be told, labels that do not fit.
    """
    parts = _plain_parts(source)
    first = next((part for part in parts.values() if len(part)), None)
    if first is None:
        raise UsageError("the data set has no rows")
    features = first.features
    for name in (item_column, label_column, group_column):
        if name is not None and name not in features:
            raise UsageError(f"the data set has no column {name!r}; it has {some(features, 20)}")
    column, modality = _item_column(features, item_column, modality)
    label = label_column or _label_column(features, column)
    if label is not None and not _states_labels(features[label]):
        raise UsageError(f"column {label!r} holds no labels but {' '.join(str(features[label]).split())[:100]}")
    _check_alike(parts, features, [column, *(name for name in (label, group_column) if name is not None)])
    roles = split_names(map(str, parts))
    items: list[Any] = []
    members: list[Any] = []
    identities: list[str] = []
    raw: list[Any] = []
    splits: list[str] = []
    for name, part in parts.items():
        if not len(part):
            continue
        items += _items(part, column, modality)
        identities += [f"{'row' if name is None else name}:{index}" for index in range(len(part))]
        splits += [roles[str(name)]] * len(part)
        if group_column is not None:
            members += part[group_column]
        if label is not None:
            present = list(part[label]) if label in part.features else [None] * len(part)
            raw += [None] * len(part) if roles[str(name)] == UNLABELLED else present
    split = None if None in parts else np.array(splits)
    groups: np.ndarray | None = None
    notes = () if split is None else renamed(roles)
    if modality == "text":
        items, more = texts_of(items, lambda index: identities[index])
        notes += more
    if group_column is not None:
        groups, more = groups_of(members, lambda index: identities[index])
        notes += more
    if None in parts:
        split, more = _split_column(parts[None], (column, label, group_column))
        notes += more
        if split is not None and label is not None:
            raw = [None if name == UNLABELLED else value for name, value in zip(split, raw, strict=True)]
    if label is None:
        note = f"no labels are read: none of the columns {some(features, 8)} is named for them; give label_column="
        kind = task or "single-label"
        return Dataset(items, modality, kind, None, (), identities, split, (*notes, note), groups, group_column)
    raw, known = _labels_of(raw, _class_names(features[label]), label, task, classes)
    encoded = encode(raw, task, separator=label_separator, classes=known, call=lambda index: identities[index])
    notes = (*encoded.notes, *notes)
    return Dataset(
        items,
        modality,
        encoded.task,
        encoded.targets,
        encoded.classes,
        identities,
        split,
        notes,
        groups,
        group_column,
    )


def _is_matrix(raw: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether lists of class numbers are no such, but 0 or 1 for each class."""
    matrix = multi_hot(raw, lambda index: f"row {index}") if len(names) > 1 else None
    return matrix is not None and matrix.shape[1] == len(names)


def _split_column(rows: Any, used: Sequence[str | None]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The split that a column of a data set without splits says, and notes."""
    names = [name for name in rows.features if plain(name) in SPLIT_COLUMNS and name not in used]
    for name in sorted(names, key=lambda name: SPLIT_COLUMNS.index(plain(name))):
        values = list(rows[name]) if _is_string(rows.features[name]) else []
        if values and all(isinstance(value, str) and is_split(value) for value in values):
            roles = split_names(values)
            return np.array([roles[value] for value in values]), renamed(roles)
    return None, tuple(
        f"column {name!r} is not read as a split: it does not say train, test or val" for name in names[:1]
    )


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _is_string(feature: Any) -> bool:
    return _kind(feature) == "Value" and feature.dtype in ("string", "large_string", "string_view")


def _item_column(features: Any, given: str | None, modality: Modality | None) -> tuple[str, Modality]:
    if given is not None:
        if _kind(features[given]) == "Image":
            return given, "image"
        if _is_string(features[given]):
            return given, modality or "text"
        raise UsageError(f"column {given!r} holds neither images nor texts but {features[given]}")
    images = [name for name, feature in features.items() if _kind(feature) == "Image"]
    strings = [name for name, feature in features.items() if _is_string(feature)]
    lower = {name.lower(): name for name in strings}
    texts = [lower[name] for name in TEXT_COLUMNS if name in lower]
    if modality is None and images and texts:
        raise UsageError(f"the data set has images ({images[0]!r}) and texts ({texts[0]!r}); say which with modality=")
    if modality != "text" and (len(images) == 1 or any(name in IMAGE_COLUMNS for name in images)):
        return next((name for name in IMAGE_COLUMNS if name in images), images[0]), "image"
    others = [name for name in strings if name.lower() not in LABEL_COLUMNS]
    if modality != "image" and not (modality is None and images) and (texts or len(others) == 1):
        return (texts or others)[0], "text"
    raise UsageError(f"cannot tell which column holds the items; there are {some(features, 20)}: give item_column=")


def _label_column(features: Any, item: str) -> str | None:
    lower = {name.lower(): name for name in features if name != item}
    named = next(
        (lower[name] for name in LABEL_COLUMNS if name in lower and _states_labels(features[lower[name]])), None
    )
    classed = [name for name in features if name != item and _class_names(features[name]) is not None]
    return named or (classed[0] if len(classed) == 1 else None)


def _states_labels(feature: Any) -> bool:
    """Whether reading a column starts no decoder: words, numbers and classes, and lists of them."""
    if isinstance(feature, (list, dict)):
        return all(map(_states_labels, feature.values() if isinstance(feature, dict) else feature))
    if _kind(feature) in ("List", "LargeList", "Sequence"):
        return _states_labels(feature.feature)
    return _kind(feature) in ("Value", "ClassLabel")


def _check_alike(parts: dict[Any, Any], features: Any, names: Sequence[str]) -> None:
    """Refuse splits in which a column is another thing, or class numbers mean other classes."""
    for split, part in parts.items():
        for name in names:
            there = part.features.get(name)
            alike = there is None or there == features[name] or _kind(there) == _kind(features[name]) == "Value"
            if len(part) and not (alike and (there is not None or name != names[0])):
                said = "is missing" if there is None else f"is {' '.join(str(there).split())[:60]}"
                raise UsageError(f"column {name!r} {said} in the split {split!r} and not in others; read each alone")


def _class_names(feature: Any) -> list[str] | None:
    """The names of a ``ClassLabel``, or of a list of them."""
    inner = getattr(feature, "feature", None)
    if isinstance(feature, list) and feature:
        inner = feature[0]
    if inner is not None and not isinstance(inner, dict):
        return _class_names(inner)
    return list(feature.names) if _kind(feature) == "ClassLabel" else None


def _named(value: Any, names: list[str]) -> Any:
    """Class numbers as names; -1 is how the hub's data sets write that a label is withheld."""
    if isinstance(value, (list, tuple)):
        return [names[number] for number in value if number is not None and number >= 0]
    return None if value is None or value < 0 else names[value]


def _items(rows: Any, column: str, modality: Modality) -> list[Any]:
    if modality == "text":
        return list(rows[column])
    if _kind(rows.features[column]) != "Image":
        return ["" if is_missing(value) else str(value) for value in rows[column]]
    import datasets

    undecoded = rows.cast_column(column, datasets.Image(decode=False)).select_columns([column])
    return [HubItem(undecoded, column, index) for index in range(len(rows))]
