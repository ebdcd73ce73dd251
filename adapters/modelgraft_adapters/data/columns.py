"""Which column of a table holds the items, which the labels, which says the split: by name, else by content."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import in_text_file, is_missing
from modelgraft_adapters.data.dataset import Modality
from modelgraft_adapters.data.names import (
    GROUP_COLUMNS,
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    TEXT_COLUMNS,
    is_split,
    looks_like_picture,
    plain,
    some,
    split_names,
)
from modelgraft_adapters.data.parquet_files import BytesColumn
from modelgraft_adapters.data.table_files import Table

LOOKED_AT: Final = 1000
"""Rows that are looked at to tell what a column holds."""
_MOST_DISTINCT: Final = 20
"""Rows from which a column with another value in each is taken for names of rows, not for labels."""
_ROW_NAMES: Final = re.compile(r"|unnamed\d+|indexlevel\d+")
_ROW_NUMBERS: Final = ("index", "id", "idx", "rowid", "rownumber", "uid", "uuid", "guid")
_SPLIT_FLAGS: Final = ("istrain", "istest", "isval", "isvalid", "istraining", "train", "test", "intrain", "intest")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what."""

    item: str
    modality: Modality
    labels: tuple[str, ...]
    split: str | None
    group: str | None = None
    notes: tuple[str, ...] = ()


def choose(
    table: Table,
    modality: Modality | None,
    item: str | None,
    labels: tuple[str, ...],
    split: str | None,
    group: str | None = None,
    task: Task | None = None,
) -> Columns:
    """Return which columns to read; what is given is kept (rules: `tables.read_columns`).

    Raises:
        UsageError: it cannot be told which column holds the items, or the first line of a CSV is data; the text lists the columns.
    """
    notes: list[str] = []
    used = {name for name in (item, split, group, *labels) if name is not None}
    if split is None:
        split, more = _split_column(table, used)
        notes += more
    free = [name for name in table.columns if name not in (*used, split) and not _names_rows(table, name)]
    stated = item is not None or bool(labels)
    if item is None:
        item, found = _item_column(table, [n for n in free if n.lower() not in LABEL_COLUMNS] or free, modality)
        stated = stated or item.strip().lower() in (*TEXT_COLUMNS, *IMAGE_COLUMNS)
        modality = modality or found
    elif modality is None:
        modality = "image" if holds_pictures(table.columns[item]) else "text"
    free = [name for name in free if name != item]
    if not labels:
        named = [name for name in _named(table, LABEL_COLUMNS) if name in free]
        others = [name for name in free if not _says_splits(table.columns[name])]
        if named:
            labels, stated = (named[0],), True
            if len(named) > 1:
                notes.append(f"labels are read from column {named[0]!r}; label_column= takes {some(named[1:])} instead")
        elif len(others) == 1 and (task == "regression" or not _differs_everywhere(table.columns[others[0]])):
            labels = (others[0],)
            notes.append(f"labels are read from column {others[0]!r}, the only one left; label_column= names another")
        elif left := [name for name in table.columns if name not in (*used, item, split)]:
            notes.append(
                f"no labels are read: none of the columns {some(left, 8)} is named for them; give label_column="
            )
    if not stated:
        _check_header(table, (item, *labels))
    if group is None and split is None:
        notes += _unused_groups(table, {item, *labels})
    return Columns(item, modality, labels, split, group, tuple(notes))


def _named(table: Table, names: Iterable[str]) -> list[str]:
    """The columns of these names, in the order of the names; of names that differ in case, in the order of the table."""
    lower: dict[str, list[str]] = {}
    for name in table.columns:
        lower.setdefault(name.strip().lower(), []).append(name)
    return [column for name in names for column in lower.get(name, ())]


def _item_column(table: Table, free: Sequence[str], modality: Modality | None) -> tuple[str, Modality]:
    pictures = [name for name in free if holds_pictures(table.columns[name])]
    texts = [name for name in free if name not in pictures and _holds_strings(table.columns[name])]
    named_pictures = [name for name in _named(table, IMAGE_COLUMNS) if name in pictures]
    named_texts = [name for name in _named(table, TEXT_COLUMNS) if name in texts]
    if modality is None and named_texts and (named_pictures or pictures):
        raise UsageError(
            f"{table.name} has texts ({named_texts[0]!r}) and images ({(named_pictures or pictures)[0]!r}); "
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
    what = {"image": "images", "text": "texts", None: "items"}[modality]
    raise UsageError(
        f"cannot tell which column of {table.name} holds the {what}; it has {some(table.columns, 20)}: give item_column= "
        "(the first line of a CSV must name the columns)"
    )


def _head(column: Sequence[Any]) -> list[Any]:
    """The first values that are there."""
    return [column[n] for n in range(min(LOOKED_AT, len(column))) if not is_missing(column[n])]


def holds_pictures(column: Sequence[Any]) -> bool:
    """Return whether a column holds images, or paths of such."""
    if isinstance(column, BytesColumn):
        return True
    present = _head(column)
    return bool(present) and all(looks_like_picture(value) for value in present)


def _holds_strings(column: Sequence[Any]) -> bool:
    if isinstance(column, BytesColumn):
        return False
    head = column[:LOOKED_AT]
    return any(isinstance(v, str) for v in head) and all(isinstance(v, str) or is_missing(v) for v in head)


def _is_wordy(column: Sequence[Any]) -> bool:
    present = _head(column) if _holds_strings(column) else []
    return sum(len(value.split()) > 1 for value in present) * 2 > len(present)


def _names_rows(table: Table, name: str) -> bool:
    """Whether a column numbers the rows, as pandas writes it, or names them: it is neither item nor label."""
    if len(table.columns) == 1 or isinstance(table.columns[name], BytesColumn):
        return False
    if _ROW_NAMES.fullmatch(plain(name)):
        return not holds_pictures(table.columns[name]) and not _is_wordy(table.columns[name])
    return (
        plain(name) in _ROW_NUMBERS
        and _all_differ(table.columns[name])
        and not holds_pictures(table.columns[name])
        and not _is_wordy(table.columns[name])
    )


def _all_differ(column: Sequence[Any]) -> bool:
    present = [str(value) for value in column if not is_missing(value)]
    return len(set(present)) == len(present)


def _differs_everywhere(column: Sequence[Any]) -> bool:
    """Whether each row has another word or whole number: names of rows. (Fractions are measurements, which `encode` asks about.)"""
    if isinstance(column, BytesColumn) or len(column) < _MOST_DISTINCT or not _all_differ(column):
        return False
    return not all(_NUMBER.fullmatch(str(value).strip()) for value in _head(column)) or all(
        re.fullmatch(r"[+-]?\d+", str(value).strip()) for value in _head(column)
    )


def _split_column(table: Table, used: Collection[str]) -> tuple[str | None, list[str]]:
    """The column that says the split, and notes on those that look like one and are not used."""
    notes = []
    by_name = {name: plain(name) for name in table.columns if name not in used}
    for name in sorted(by_name, key=lambda name: _place(by_name[name])):
        if by_name[name] not in SPLIT_COLUMNS:
            continue
        words = _words(table.columns[name])
        roles = {split_names(words)[word] for word in words if is_split(word)}
        known = bool(words) and all(map(is_split, words))
        stated = by_name[name] == "split" and _holds_strings(table.columns[name])
        if known or stated or ("train" in roles and len(roles) > 1):
            return name, []
        notes.append(f"column {name!r} is not read as a split: its values are {some(sorted(words) or ['no words'], 4)}")
    for name, word in by_name.items():
        if word not in SPLIT_COLUMNS and (_says_splits(table.columns[name]) or _is_flag(table, name, word)):
            notes.append(f"column {name!r} looks like a split and is not used; split_column= names a column that is")
    return None, notes


def _place(name: str) -> int:
    return SPLIT_COLUMNS.index(name) if name in SPLIT_COLUMNS else len(SPLIT_COLUMNS)


def _words(column: Sequence[Any]) -> set[str]:
    if not _holds_strings(column):
        return set()
    return {value.strip() for value in column if isinstance(value, str) and not is_missing(in_text_file(value))}


def _says_splits(column: Sequence[Any]) -> bool:
    """Whether a column says nothing but train, test and the like."""
    if not _holds_strings(column) or not all(is_split(value) for value in _head(column)):
        return False
    words = _words(column)
    roles = set(split_names(words).values())
    return "train" in roles and len(roles) > 1 and all(map(is_split, words))


def _is_flag(table: Table, name: str, word: str) -> bool:
    if word not in _SPLIT_FLAGS or isinstance(table.columns[name], BytesColumn):
        return False
    return all(
        str(value).strip().casefold() in ("0", "1", "true", "false", "0.0", "1.0")
        for value in _head(table.columns[name])
    )


def _unused_groups(table: Table, used: Collection[str]) -> list[str]:
    """A note on columns that name patients, authors and the like: items of one of them are more alike than others."""
    found = [
        name
        for name, column in table.columns.items()
        if plain(name) in GROUP_COLUMNS
        and name not in used
        and not isinstance(column, BytesColumn)
        and not _all_differ(column)
    ]
    return [f"column {found[0]!r} is not used; group_column={found[0]!r} keeps its groups together"] if found else []


def _check_header(table: Table, names: Sequence[str]) -> None:
    """Refuse a CSV of which the first line is data: columns that were found by what they hold, and are called like it.

    Raises:
        UsageError: one is.
    """
    if not table.name.lower().endswith((".csv", ".tsv")):
        return
    if list(table.columns) == [str(number) for number in range(len(table.columns))]:
        return  # as pandas calls columns that have no names
    for name in names:
        column = table.columns[name]
        number = _NUMBER.fullmatch(name) and all(_NUMBER.fullmatch(str(value).strip()) for value in _head(column))
        if number or looks_like_picture(name) or any(value.strip() == name for value in column):
            raise UsageError(
                f"the first line of {table.name} reads as data ({some(table.columns, 4)}); it must name the columns, "
                "such as text,label"
            )
