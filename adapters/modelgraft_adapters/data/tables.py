"""A table's columns to a `Dataset`: which column holds the items, which the labels, which the split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import in_text_file, is_missing, texts_of
from modelgraft_adapters.data.columns import Columns, choose
from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.grouping import groups_of
from modelgraft_adapters.data.names import UNLABELLED, renamed, some, split_names
from modelgraft_adapters.data.parquet_files import BytesColumn
from modelgraft_adapters.data.paths_in_cells import paths_of
from modelgraft_adapters.data.table_files import Table
from modelgraft_adapters.media.files import MOST_PICTURE_BYTES, read_regular


@dataclass(frozen=True, slots=True)
class RowItem:
    """An image in a row of a table."""

    column: BytesColumn
    index: int
    folder: str | None

    def read_bytes(self) -> bytes:
        """The image's file.

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
        raise UnreadableItemError("the row holds no image")
    return cell


def read_columns(
    table: Table,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    item_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """The `Dataset` of a table.

    Rules. Columns that are not given are found by name (`names.TEXT_COLUMNS`, `IMAGE_COLUMNS`, `LABEL_COLUMNS`,
    `SPLIT_COLUMNS`; the first in the order there, whatever its case), else by content: the one column of image paths,
    the one column of words. A column named for images counts only if it holds images, one named for splits only if it says
    splits. Paths: see `paths_in_cells.paths_of`. Labels: see `encoding.encode`; several columns are the classes of a multi-label
    task (0 or 1 each) or the numbers of a regression. Rows without a text or path stay: they become error rows, not gaps.

    Raises:
        UsageError: a column that is not there or cannot be told, both texts and images, images that do not exist, bad labels.
    """
    if isinstance(label_column, str):
        label_column = (label_column,)
    for name in (item_column, split_column, group_column, *(label_column or ())):
        if name is not None and name not in table.columns:
            raise UsageError(f"{table.name} has no column {name!r}; it has {some(table.columns, 20)}")
    stated = [name for name in (item_column, split_column, group_column, *(label_column or ())) if name is not None]
    if len(set(stated)) < len(stated):
        raise UsageError(f"one column cannot be two things: {some(name for name in stated if stated.count(name) > 1)}")
    chosen = choose(table, modality, item_column, tuple(label_column or ()), split_column, group_column, task)
    notes = chosen.notes
    more: tuple[str, ...] = ()
    split, groups = None, None
    if chosen.split is not None:
        split, more = _splits(table, chosen.split)
    if group_column is not None:
        groups, alone = groups_of(table.columns[group_column], lambda index: table.identities[index])
        more += alone
    items, unread = _items(table, chosen)
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
    return Dataset(
        items,
        chosen.modality,
        kind,
        targets,
        names,
        list(table.identities),
        split,
        (*notes, *more, *unread),
        groups,
        group_column,
    )


def _splits(table: Table, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    values = []
    for value, identity in zip(table.columns[name], table.identities, strict=True):
        if is_missing(in_text_file(value)):
            raise UsageError(f"{identity} says no split in column {name!r}; each row needs one (train, test ...)")
        if not isinstance(value, str):
            raise UsageError(f"{identity}: {value!r} in column {name!r} is no split; write train, test or val")
        values.append(value)
    roles = split_names(values)
    return np.array([roles[value] for value in values]), renamed(roles)


def _items(table: Table, chosen: Columns) -> tuple[list[Any], tuple[str, ...]]:
    column = table.columns[chosen.item]
    if chosen.modality == "text":
        return texts_of(column, lambda index: table.identities[index])
    if isinstance(column, BytesColumn):
        return [RowItem(column, index, table.folder) for index in range(len(column))], ()
    return paths_of(column, table.folder, chosen.item, table.name)


def _labels(
    table: Table, names: tuple[str, ...], task: Task | None, classes: Sequence[str] | None
) -> tuple[Sequence[Any] | np.ndarray, Sequence[str] | None]:
    columns = [[in_text_file(value) for value in table.columns[name]] for name in names]
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
            f"{identity}: {wrong!r} in one of several label columns; they hold 0 and 1, or numbers to predict"
        )
    if task == "regression":
        return rows, names
    return np.array(rows, np.float64), names


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
