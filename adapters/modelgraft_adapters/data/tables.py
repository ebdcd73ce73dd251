"""A table's columns to a `Dataset`: which column holds the items, which the labels, which the split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode, is_missing
from modelgraft_adapters.data.names import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    TEXT_COLUMNS,
    UNLABELLED,
    is_split,
    looks_like_picture,
    some,
    split_name,
)
from modelgraft_adapters.data.parquet_files import BytesColumn
from modelgraft_adapters.data.table_files import Table
from modelgraft_adapters.files import MOST_PICTURE_BYTES, read_regular

LOOKED_AT = 1000
"""Rows that are looked at to tell what a column holds."""


@dataclass(frozen=True, slots=True)
class RowItem:
    """A picture in a row of a table."""

    column: BytesColumn
    index: int
    folder: str | None

    def read_bytes(self) -> bytes:
        """The picture's file.

        Raises:
            UnreadableItemError: the row holds none.
        """
        return file_bytes(self.column[self.index], self.folder)


def file_bytes(cell: Any, folder: str | None = None) -> bytes:
    """The file of a cell: bytes, or ``{"bytes": ..., "path": ...}`` where either may be missing.

    Raises:
        UnreadableItemError: neither is there, or the path cannot be read.
    """
    if isinstance(cell, dict):
        path, cell = cell.get("path"), cell.get("bytes")
        if cell is None and isinstance(path, str) and path:
            try:
                return read_regular(os.path.join(folder or ".", path), MOST_PICTURE_BYTES)
            except OSError as error:
                raise UnreadableItemError(f"{path}: {error.strerror or error}") from None
    if not isinstance(cell, bytes):
        raise UnreadableItemError("the row holds no picture")
    return cell


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what."""

    item: str
    modality: Modality
    labels: tuple[str, ...]
    split: str | None
    notes: tuple[str, ...] = ()


def read_columns(
    table: Table,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    item_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """The `Dataset` of a table.

    Rules. Columns that are not given are found by name (`names.TEXT_COLUMNS`, `IMAGE_COLUMNS`, `LABEL_COLUMNS`,
    `SPLIT_COLUMNS`; the first in the order there, whatever its case), else by content: the one column of picture paths,
    the one column of words. A column named for pictures counts only if it holds pictures. Paths are relative to the table's
    folder. Labels: see `encoding.encode`; several columns are the classes of a multi-label task (0 or 1 each) or the numbers of
    a regression.
    Empty texts stay: they become error rows, not gaps.

    Raises:
        UsageError: a column that is not there or cannot be told, both texts and pictures, pictures that do not exist, bad labels.
    """
    if isinstance(label_column, str):
        label_column = (label_column,)
    for name in (item_column, split_column, *(label_column or ())):
        if name is not None and name not in table.columns:
            raise UsageError(f"{table.name} has no column {name!r}; it has {some(table.columns, 20)}")
    chosen = choose(table, modality, item_column, tuple(label_column or ()), split_column)
    notes = chosen.notes
    split = None if chosen.split is None else _splits(table, chosen.split)
    items = _items(table, chosen)
    targets: np.ndarray | None = None
    names: tuple[str, ...] = ()
    kind: Task = task or "single-label"
    if chosen.labels:
        raw, names_given = _labels(table, chosen.labels, task, classes)
        if split is not None:
            raw = _without(raw, split)
        encoded = encode(
            raw, task, separator=label_separator, classes=names_given, call=lambda index: table.identities[index]
        )
        targets, names, kind, notes = encoded.targets, encoded.classes, encoded.task, notes + encoded.notes
        if len(encoded.classes) > 100 and 2 * len(encoded.classes) > len(items) and encoded.task == "single-label":
            notes += (f"column {chosen.labels[0]!r} has {len(names):,} different labels: is it the column of labels?",)
    return Dataset(items, chosen.modality, kind, targets, names, list(table.identities), split, notes)


def choose(
    table: Table, modality: Modality | None, item: str | None, labels: tuple[str, ...], split: str | None
) -> Columns:
    """Which columns to read; what is given is kept (rules: `read_columns`).

    Raises:
        UsageError: it cannot be told which column holds the items; the text lists the columns.
    """
    notes: list[str] = []
    if split is None:
        split = next(
            (name for name in _named(table, SPLIT_COLUMNS) if name not in (item, *labels) and _is_split(table, name)),
            None,
        )
    free = [name for name in table.columns if name not in (item, split, *labels)]
    if item is None:
        item, found = _item_column(table, [n for n in free if n.lower() not in LABEL_COLUMNS] or free, modality)
        modality = modality or found
    elif modality is None:
        modality = "image" if _holds_pictures(table.columns[item]) else "text"
    free = [name for name in free if name != item]
    if not labels:
        named = [name for name in _named(table, LABEL_COLUMNS) if name in free]
        if named:
            labels = (named[0],)
            if len(named) > 1:
                notes.append(f"labels are read from column {named[0]!r}; label_column= takes {some(named[1:])} instead")
        elif len(free) == 1:
            labels = (free[0],)
            notes.append(f"labels are read from column {free[0]!r}, the only one left; label_column= names another")
        elif free:
            notes.append(
                f"no labels are read: none of the columns {some(free, 8)} is named for them; give label_column="
            )
    return Columns(item, modality, labels, split, tuple(notes))


def _named(table: Table, names: Sequence[str]) -> list[str]:
    """The columns of these names, in the order of the names."""
    lower = {name.strip().lower(): name for name in reversed(list(table.columns))}
    return [lower[name] for name in names if name in lower]


def _item_column(table: Table, free: Sequence[str], modality: Modality | None) -> tuple[str, Modality]:
    pictures = [name for name in free if _holds_pictures(table.columns[name])]
    texts = [name for name in free if name not in pictures and _holds_strings(table.columns[name])]
    named_pictures = [name for name in _named(table, IMAGE_COLUMNS) if name in pictures]
    named_texts = [name for name in _named(table, TEXT_COLUMNS) if name in texts]
    if modality is None and named_texts and (named_pictures or pictures):
        raise UsageError(
            f"{table.name} has texts ({named_texts[0]!r}) and pictures ({(named_pictures or pictures)[0]!r}); "
            "say which with modality= or item_column="
        )
    if modality != "text":
        if named_pictures or len(pictures) == 1:
            return (named_pictures or pictures)[0], "image"
        if modality == "image" and (names := [name for name in _named(table, IMAGE_COLUMNS) if name in texts]):
            return names[0], "image"  # paths without a suffix
    if modality != "image":
        if named_texts:
            return named_texts[0], "text"
        wordy = [name for name in texts if _is_wordy(table.columns[name])]
        if len(wordy) == 1 and not (modality is None and pictures):
            return wordy[0], "text"
    what = {"image": "pictures", "text": "texts", None: "items"}[modality]
    raise UsageError(
        f"cannot tell which column of {table.name} holds the {what}; it has {some(table.columns, 20)}: give item_column= "
        "(the first line of a CSV must name the columns)"
    )


def _head(column: Sequence[Any]) -> list[Any]:
    return [column[n] for n in range(min(LOOKED_AT, len(column)))]


def _holds_pictures(column: Sequence[Any]) -> bool:
    if isinstance(column, BytesColumn):
        return True
    present = [value for value in _head(column) if not is_missing(value)]
    return bool(present) and all(looks_like_picture(value) for value in present)


def _holds_strings(column: Sequence[Any]) -> bool:
    present = [] if isinstance(column, BytesColumn) else [value for value in _head(column) if value is not None]
    return bool(present) and all(isinstance(value, str) for value in present)


def _is_wordy(column: Sequence[Any]) -> bool:
    present = [value for value in _head(column) if value and value.strip()] if _holds_strings(column) else []
    return sum(len(value.split()) > 1 for value in present) * 2 > len(present)


def _is_split(table: Table, name: str) -> bool:
    column = table.columns[name]
    return _holds_strings(column) and (name.lower() == "split" or all(is_split(value) for value in column))


def _splits(table: Table, name: str) -> np.ndarray:
    values = table.columns[name]
    for value, identity in zip(values, table.identities, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{identity} says no split in column {name!r}; each row needs one (train, test ...)")
    return np.array([split_name(value) for value in values])


def _items(table: Table, chosen: Columns) -> list[Any]:
    column = table.columns[chosen.item]
    if chosen.modality == "text":
        return ["" if value is None else str(value) for value in column]
    if isinstance(column, BytesColumn):
        return [RowItem(column, index, table.folder) for index in range(len(column))]
    urls = [value for value in column if isinstance(value, str) and value.startswith(("http://", "https://"))]
    if urls:
        raise UsageError(
            f"column {chosen.item!r} of {table.name} holds addresses ({urls[0]}); download the pictures first"
        )
    folder = table.folder or "."
    paths = [os.path.join(folder, str(value).strip()) if not is_missing(value) else "" for value in column]
    if not any(os.path.lexists(path) for path in paths):
        raise UsageError(
            f"none of the {len(paths):,} pictures of {table.name} exists, the first is {some(paths[:1])}; "
            "paths are relative to the table's folder"
        )
    return paths


def _labels(
    table: Table, names: tuple[str, ...], task: Task | None, classes: Sequence[str] | None
) -> tuple[Sequence[Any] | np.ndarray, Sequence[str] | None]:
    columns = [[_cell(value) for value in table.columns[name]] for name in names]
    if len(names) == 1:
        return columns[0], classes or (names if task == "regression" else None)
    if classes:
        raise UsageError("classes= and several label columns: the columns are the classes")
    if task == "single-label":
        raise UsageError(f"{len(names)} label columns for a single-label task; give one")
    rows = [[_number(cells[index]) for cells in columns] for index in range(len(columns[0]))]
    if any(isinstance(cell, str) for row in rows for cell in row):
        wrong, identity = next(
            (cell, identity)
            for row, identity in zip(rows, table.identities, strict=True)
            for cell in row
            if isinstance(cell, str)
        )
        raise UsageError(
            f"{identity}: {wrong!r} in one of several label columns; they hold 0 and 1, or numbers to learn"
        )
    if task == "regression":
        return rows, names
    return np.array(rows, np.float64), names


def _cell(value: Any) -> Any:
    """In a text file NaN and null are spelled out."""
    return None if isinstance(value, str) and value.strip().lower() in ("nan", "null") else value


def _number(value: Any) -> Any:
    """A cell of several label columns as a number; NaN where nothing stands, the string itself where it is none."""
    if is_missing(value):
        return float("nan")
    if isinstance(value, str):
        if value.strip().lower() in ("true", "false"):
            return float(value.strip().lower() == "true")
        try:
            return float(value)
        except ValueError:
            return value
    try:
        return float(value) if isinstance(value, (int, float)) else str(value)
    except OverflowError:  # a whole number of hundreds of digits
        return str(value)


def _without(raw: Sequence[Any] | np.ndarray, split: np.ndarray) -> Sequence[Any] | np.ndarray:
    """What stands as the label of an unlabelled split is none."""
    unlabelled = split == UNLABELLED
    if not unlabelled.any():
        return raw
    if isinstance(raw, np.ndarray):
        raw = raw.copy()
        raw[unlabelled] = np.nan
        return raw
    return [None if hidden else value for value, hidden in zip(raw, unlabelled, strict=True)]
