"""The one door that data comes in by: whatever the user has, to a `Dataset`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data import arrays, folders, huggingface, parquet_files, shards, table_files, tables, tar_files
from modelgraft_adapters.data.dataset import Dataset, Modality, join
from modelgraft_adapters.data.grouping import across, with_groups
from modelgraft_adapters.data.names import UNLABELLED, counted, is_split, renamed, some, split_names
from modelgraft_adapters.media.files import Unread
from modelgraft_adapters.media.formats import is_picture_name
from modelgraft_adapters.media.walking import is_hidden, matching

MOST_FILES: Final = 100_000
"""A pattern ``{0..N}`` names no more files than this."""


def read_data(
    source: Any,
    labels: Any = None,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    item_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    groups: Sequence[Any] | None = None,
    label_separator: str | None = None,
    separator: str | None = None,
    class_level: int | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Read data from wherever it is.

    Args:
        source: a folder (`folders.read_folder`; one of shards, of tables named after splits, or one that ``datasets`` has saved,
            is read as such), a table (`tables.read_columns`: CSV, TSV, JSON lines, JSON, Parquet), tars (`shards.read_shards`; also
            a list of them, ``shards-{0000..0003}.tar`` or ``shards-*.tar``), a list or array of items (`arrays.read_items`), a list
            of dicts (the rows of a table), a data set of the library ``datasets`` (`huggingface.read_huggingface`), a pandas or
            Arrow table, a mapping of splits to any of these, or a `Dataset`, which is returned as it is.
        labels: of a list or array of items, one for each; of a mapping a mapping.
        modality: settles what the items are where it cannot be told.
        task: settles what the labels are (`encoding.encode`).
        item_column, label_column, split_column: columns of a table; several ``label_column`` s for multi-label and regression.
        group_column: of a table, what says which items belong together (patient, author, video): they stay on one side of every
            split that is drawn.
        groups: the same of a list or array of items, one for each; of a mapping a mapping.
        label_separator: what parts several labels in one field.
        separator: what parts the columns of a CSV.
        class_level: which folder is the class, where folders are nested.
        classes: class names in the order to number them.

    Raises:
        UsageError: nothing is there, it cannot be told what it is, or an option does not go with it.
        ModelgraftError: it is there and cannot be read.
    """
    options: dict[str, Any] = {
        "modality": modality,
        "task": task,
        "item_column": item_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_column": group_column,
        "label_separator": label_separator,
        "separator": separator,
        "class_level": class_level,
        "classes": classes,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if modality not in (None, "image", "text"):
        raise UsageError(f"modality={modality!r}; there are 'image' and 'text'")
    if isinstance(source, Dataset):
        _only(given, (), "a Dataset")
        _no_labels(labels, groups, "a Dataset has its own")
        return source
    return _told(_read(source, labels, groups, given))


def _told(data: Dataset) -> Dataset:
    """The data with notes on what the splits make of them."""
    notes: tuple[str, ...] = ()
    if data.split is not None:
        for name in data.split_names:
            if name not in ("train", "test", UNLABELLED):
                count = counted(int((data.split == name).sum()), "item")
                looks = "; fine-tuning with patience= looks at it" if name == "val" else ""
                notes += (f"the split {name!r} ({count}) is not trained on and not tested on{looks}",)
        if data.groups is not None:
            notes += across(data.groups, data.split, str(data.group_column))
    return replace(data, notes=tuple(dict.fromkeys((*data.notes, *notes)))) if notes else data


def _read(source: Any, labels: Any, groups: Any, given: dict[str, Any]) -> Dataset:
    if huggingface.is_huggingface(source):
        _no_labels(labels, groups, "the data set has its own; label_column= and group_column= name them")
        return huggingface.read_huggingface(source, **_only(given, _HUB, "a data set of the library datasets"))
    if isinstance(source, Mapping):
        return _mapping(source, labels, groups, given)
    if isinstance(source, (str, os.PathLike)):
        _no_labels(labels, groups, "what is read from disk has its own; label_column= and group_column= name them")
        return _path(os.fspath(source), given)
    if (table := _frame(source)) is not None:
        _no_labels(labels, groups, "a table has its own; label_column= and group_column= name them")
        return tables.read_columns(table, **_only(given, _COLUMNS, "a table"))
    if isinstance(source, (list, tuple)) and source and labels is None and all(_names_tar(item) for item in source):
        _no_labels(labels, groups, "tar files have none")
        return shards.read_shards([os.fspath(item) for item in source], **_shard_options(given))
    _check_rows(source, labels, groups)
    data = arrays.read_items(source, labels, **_only(given, _ITEMS, "a list of items"))
    return data if groups is None else with_groups(data, groups)


def _check_rows(*given: Any) -> None:
    """Refuse pandas' series of different rows: they are paired by place, and were meant by name.

    Raises:
        UsageError: they are.
    """
    rows = [one.index for one in given if type(one).__module__.partition(".")[0] == "pandas" and hasattr(one, "index")]
    if any(not rows[0].equals(other) for other in rows[1:]):
        raise UsageError(
            "items, labels and groups are series of different rows (their index differs); reset_index first"
        )


_ITEMS: Final = ("modality", "task", "label_separator", "classes")
_HUB: Final = (*_ITEMS, "item_column", "label_column", "group_column")
_COLUMNS: Final = (*_HUB, "split_column")
_SHARDS: Final = (*_ITEMS, "label_column", "class_level")
_FOLDERS: Final = ("modality", "task", "class_level", "classes")


def _only(given: dict[str, Any], known: Sequence[str], what: str) -> dict[str, Any]:
    if strangers := [name for name in given if name not in known]:
        takes = f"it takes {', '.join(known)}" if known else "it takes no options"
        raise UsageError(f"{strangers[0]}= does not go with {what}; {takes}")
    return given


def _no_labels(labels: Any, groups: Any, why: str) -> None:
    for name, value in (("labels", labels), ("groups", groups)):
        if value is not None:
            raise UsageError(f"{name}= goes with a list or array of items; {why}")


def _shard_options(given: dict[str, Any]) -> dict[str, Any]:
    options = _only(given, _SHARDS, "tar files")
    if not isinstance(options.get("label_column", ""), str):
        raise UsageError("tar files take one label_column")
    return options


def _mapping(source: Mapping[Any, Any], labels: Any, groups: Any, given: dict[str, Any]) -> Dataset:
    if not source or not all(isinstance(name, str) for name in source):
        raise UsageError("a mapping of data names its splits: {'train': ..., 'test': ...}")
    for what, value in (("labels", labels), ("groups", groups)):
        if value is not None and (not isinstance(value, Mapping) or set(value) != set(source)):
            raise UsageError(f"{what}= of a mapping is a mapping with the same splits: {some(source)}")
    if not all(is_split(name) for name in source) and any(
        isinstance(value, (list, tuple)) for value in source.values()
    ):
        raise UsageError(f"a mapping of data names its splits (train, test, val), not its columns: {some(source)}")
    roles = split_names(source)
    if twice := [name for name, role in roles.items() if list(roles.values()).count(role) > 1]:
        raise UsageError(f"{some(twice)} are one split, {roles[twice[0]]!r}; give it once")
    parts = {
        roles[name]: read_data(part, (labels or {}).get(name), groups=(groups or {}).get(name), **given)
        for name, part in source.items()
    }
    data = join(parts)
    return replace(data, notes=(*renamed(roles), *data.notes))


def _path(path: str, given: dict[str, Any]) -> Dataset:
    if os.path.isdir(path):
        return _folder(path, given)
    if not os.path.lexists(path):
        files = _pattern(path)
        if all(map(tar_files.is_tar, files)):
            return shards.read_shards(files, **_shard_options(given))
        if len(files) > 1 and all(map(is_picture_name, files)):
            return arrays.read_items(files, **_only({"modality": "image", **given}, _ITEMS, "a list of images"))
        if len(files) > 1:
            raise UsageError(f"{path!r} names {len(files)} files that are not all tars or images: {some(files)}")
        path = files[0]
    if tar_files.is_tar(path):
        return shards.read_shards([path], **_shard_options(given))
    if table_files.is_table(path):
        options = dict(_only(given, (*_COLUMNS, "separator"), "a table"))
        table = table_files.read_table(path, options.pop("separator", None))
        return tables.read_columns(table, **options)
    if path.lower().endswith(".zip"):
        raise UsageError(f"{path!r} is an archive: unzip it and give the folder")
    raise UsageError(
        f"{path!r} is no data that is read: a folder, a table ({', '.join(table_files.SUFFIXES)}) or a tar; "
        "put single files into a list"
    )


def _folder(path: str, given: dict[str, Any]) -> Dataset:
    names = sorted(name for name in os.listdir(path) if not is_hidden(name))
    if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names):
        return huggingface.read_huggingface(
            huggingface.load_folder(path), **_only(given, _HUB, "a data set of the library datasets")
        )
    files = [name for name in names if os.path.isfile(os.path.join(path, name))]
    if files and len(files) == len(names):
        if tars := [os.path.join(path, name) for name in files if tar_files.is_tar(name)]:
            return shards.read_shards(tars, **_shard_options(given))
        found = [name for name in files if table_files.is_table(name)]
        if found and not any(map(is_picture_name, files)):
            stems = {os.path.splitext(name)[0]: os.path.join(path, name) for name in found}
            if len(found) == 1:
                return _path(os.path.join(path, found[0]), given)
            if len(stems) == len(found) and all(map(is_split, stems)):
                return _mapping(stems, None, None, given)
            raise UsageError(
                f"the folder {path!r} holds several tables: {some(found)}; give one, or name them after splits"
            )
    return folders.read_folder(path, **_only(given, _FOLDERS, "a folder of classes"))


def _pattern(path: str) -> list[str]:
    """The files that a path with ``{0000..0003}``, ``{a,b}`` or glob signs names, in order.

    Raises:
        UsageError: one of a numbered series is missing, or no file is named.
    """
    names = list(dict.fromkeys(_braces(path)))  # braces inside braces name some files twice
    files: list[str] = []
    for name in names:
        if os.path.lexists(name):
            files.append(name)
        elif glob.has_magic(name) and (found := _matching(name)):
            files += found
        elif len(names) > 1 or glob.has_magic(name):
            raise UsageError(f"no file {name!r}" + (f" (of the pattern {path!r})" if len(names) > 1 else " matches"))
        else:
            raise UsageError(f"no file or folder {path!r} (in Python, texts and single items are given as a list)")
    return files


def _matching(pattern: str) -> list[str]:
    unread: list[Unread] = []
    found = matching(pattern, unread)
    if unread:
        raise ModelgraftError(f"{str(unread[0])!r} is {unread[0].reason}; the pattern {pattern!r} looks into it")
    return found


def _braces(path: str) -> list[str]:
    if not (match := re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", path)):
        return [path]
    first, last, words = match.groups()
    if words is not None:
        choices = words.split(",")
    else:
        if not 0 <= int(last) - int(first) < MOST_FILES:
            raise UsageError(f"{match.group()} in {path!r} names no files, or more than {MOST_FILES:,}")
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [name for choice in choices for name in _braces(path[: match.start()] + choice + path[match.end() :])]


def _names_tar(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike)) and tar_files.is_tar(str(item)) and os.path.isfile(item)


def _frame(source: Any) -> table_files.Table | None:
    """Records, or a pandas or Arrow table, as columns; told by where the class comes from, so that neither library is imported."""
    if isinstance(source, (list, tuple)) and source and all(isinstance(row, dict) for row in source):
        identities = [f"row {n}" for n in range(len(source))]
        return table_files.Table(table_files.from_records(source, identities), identities, "the list of rows")
    home = type(source).__module__.partition(".")[0]
    if home == "pandas" and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        columns: dict[str, Sequence[Any]] = {name: source.iloc[:, n].tolist() for n, name in enumerate(names)}
        rows = len(source)
    elif home == "pyarrow" and hasattr(source, "column_names"):
        names = list(source.column_names)
        columns = {name: parquet_files.column_of(column) for name, column in zip(names, source.columns, strict=True)}
        rows = source.num_rows
    else:
        return None
    if len(columns) < len(names):
        raise UsageError(f"the table has two columns of one name: {some(names, 20)}")
    if not rows:
        raise UsageError("the table has no rows")
    return table_files.Table(columns, [f"row {n}" for n in range(rows)], "the table")
