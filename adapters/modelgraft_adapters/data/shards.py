"""Tar files to a `Dataset`, read where they lie: WebDataset samples, or class folders in a tar. Nothing is extracted."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import is_missing
from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.folders import from_layout, layout_of, left_out
from modelgraft_adapters.data.names import (
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    TEXT_COLUMNS,
    UNLABELLED,
    counted,
    is_split,
    renamed,
    some,
    split_names,
)
from modelgraft_adapters.data.tar_files import TarItem, list_members
from modelgraft_adapters.data.uncompressing import uncompressed
from modelgraft_adapters.media.files import MOST_TEXT_BYTES
from modelgraft_adapters.media.formats import is_named_picture, is_picture_name
from modelgraft_adapters.media.texts import decoded
from modelgraft_adapters.media.walking import is_hidden

FIELDS: Final = frozenset({"cls", "json", "txt", *LABEL_COLUMNS})
"""Extensions of what lies beside the image in a WebDataset sample."""


def read_shards(
    paths: Sequence[str],
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    class_level: int = 1,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """The items of one or more tars, in the order of the tars and of their members.

    A compressed tar cannot be read at a place in its middle: it is uncompressed once into modelgraft's cache (``shards``), a note
    says where. Links, devices, and names that are absolute or hold ``..`` are left out with a note.

    *Class folders* if no file lies beside another of the same key: the rules of `folders.read_folder`.

    *WebDataset* (https://github.com/webdataset/webdataset) otherwise: members of one key (the name up to the first dot of its last
    part) are one sample. The item is the image; without images the ``.txt``, else the text in the ``.json``. The label is
    the ``.cls``, else the ``.json``'s field (``label``, ``class`` ...; ``label_column`` names another field or extension),
    else the ``.txt`` beside an image if its texts repeat (a text of its own for each image is a caption), else the folder.
    The split is the ``.json``'s ``split``, a first folder named after one, or the tar's own name (``train-0001.tar``).

    Raises:
        UsageError: no tar, nothing in it that is read, labels that do not fit the task.
        ModelgraftError: a tar that is damaged or cut off.
    """
    members: list[TarItem] = []
    shown: dict[str, str] = {}
    notes: list[str] = []
    for path in paths:
        plain, note = uncompressed(path)
        notes += [note] if note else []
        shown[plain] = os.path.basename(path)
        found, more = _members(plain, path)
        members += found
        notes += more
    if not members:
        raise UsageError(f"no files in {some(paths)}")
    if not _is_webdataset(members):
        if task not in (None, "single-label") or label_column or label_separator:
            raise UsageError(
                "class folders in a tar give one class per item; a label column or another task needs a table"
            )
        return _folders(members, shown, modality, class_level, classes, notes)
    data = _samples(members, shown, modality, task, label_column, label_separator, classes, list(notes))
    if data.targets is None and task in (None, "single-label"):
        # Captions or other data beside the images of class folders: then the folders say the class.
        beside = _folders(members, shown, data.modality, class_level, classes, notes)
        return beside if beside.targets is not None else data
    return data


def _members(plain: str, path: str) -> tuple[list[TarItem], list[str]]:
    found: dict[str, TarItem] = {}
    refused: list[str] = []
    twice: list[str] = []
    listed = list_members(plain, path)
    for member in listed.members:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if member.kind == tarfile.DIRTYPE or not parts or any(is_hidden(part) for part in parts if part != ".."):
            continue
        regular = member.kind in tarfile.REGULAR_TYPES and not member.sparse
        if not regular or ".." in parts or member.name.startswith(("/", "\\")):
            refused.append(member.name)
            continue
        name = "/".join(parts)
        if name in found:
            twice.append(name)
        # Of two members of one name the later counts, as when a tar is unpacked.
        found[name] = TarItem(plain, name, member.offset, member.size, listed.state)
    notes = []
    if refused:
        left = f"{counted(len(refused), 'member')} of {path!r} left out"
        notes.append(f"{left} (links, devices, names that lead outside): {some(refused)}")
    if twice:
        notes.append(f"{counted(len(twice), 'member')} of {path!r} replaced by a later one of its name: {some(twice)}")
    return list(found.values()), notes


def _key(name: str) -> tuple[str, str]:
    """Key and extension of a WebDataset member: the last part is cut at its first dot."""
    folder, _, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}/{stem}" if folder else stem, extension.lower()


def _is_webdataset(members: Sequence[TarItem]) -> bool:
    extensions: dict[tuple[str, str], set[str]] = {}
    for member in members:
        key, extension = _key(member.name)
        extensions.setdefault((member.path, key), set()).add(extension)
    return any(len(found) > 1 and (found & FIELDS) for found in extensions.values()) or all(
        found == {"json"} for found in extensions.values()
    )


def _folders(
    members: Sequence[TarItem],
    shown: dict[str, str],
    modality: Modality | None,
    class_level: int,
    classes: Sequence[str] | None,
    notes: Sequence[str],
) -> Dataset:
    pictures = [member for member in members if is_picture_name(member.name)]
    texts = [member for member in members if member.name.lower().endswith(".txt")]
    kind: Modality = modality or ("image" if pictures or not texts else "text")
    if kind == "image" and pictures:  # of formats that are not read too: rows with their reason
        pictures = [member for member in members if is_named_picture(member.name)]
    kept = pictures if kind == "image" else texts
    if not kept:
        what = "images" if kind == "image" else "text files (.txt)"
        raise UsageError(f"{some(sorted(set(shown.values())))} holds no {what}")
    kept = sorted(kept, key=lambda member: member.name.split("/"))
    layout = layout_of([tuple(member.name.split("/")) for member in kept], class_level=class_level)
    chosen = set(kept)
    rest = left_out([member.name for member in members if member not in chosen])
    items: list[Any] = list(kept) if kind == "image" else [_text(member) for member in kept]
    identities = [f"{shown[member.path]}:{member.name}" for member in kept]
    return from_layout(items, identities, kind, layout, (*notes, *layout.notes, *rest), classes)


def _text(member: TarItem) -> str:
    if member.size > MOST_TEXT_BYTES:
        raise UnreadableItemError(
            f"{member.path}: {member.name} has {member.size:,} bytes; a text has at most {MOST_TEXT_BYTES:,}"
        )
    return decoded(member.read_bytes())


@dataclass(slots=True)
class _Sample:
    key: str
    shard: str
    fields: dict[str, TarItem]
    record: dict[str, Any]

    @property
    def picture(self) -> TarItem | None:
        return next((member for member in self.fields.values() if is_picture_name(member.name)), None)

    def field(self, name: str) -> Any:
        """A field of the JSON, else the text of the member with this extension."""
        if name in self.record:
            return self.record[name]
        if name == "json" or name not in self.fields:
            return None
        return _text(self.fields[name]).strip()


def _samples(
    members: Sequence[TarItem],
    shown: dict[str, str],
    modality: Modality | None,
    task: Task | None,
    label_column: str | None,
    label_separator: str | None,
    classes: Sequence[str] | None,
    notes: list[str],
) -> Dataset:
    samples: dict[tuple[str, str], _Sample] = {}
    for member in members:
        key, extension = _key(member.name)
        sample = samples.setdefault((member.path, key), _Sample(key, shown[member.path], {}, {}))
        sample.fields[extension] = member
        if extension == "json":
            sample.record = _record(member, shown)
    pictures = modality != "text" and any(sample.picture for sample in samples.values())
    found = list(samples.values())
    items: list[Any] = [sample.picture for sample in found] if pictures else [_own_text(sample) for sample in found]
    kept = [n for n, item in enumerate(items) if item is not None]
    if not kept:
        raise UsageError(
            f"no sample of {some(sorted(set(shown.values())))} holds {'an image' if modality == 'image' else 'a text'}"
        )
    if len(kept) < len(items):
        what = "an image" if pictures else "a text"
        notes.append(f"{counted(len(items) - len(kept), 'sample')} without {what} left out")
    found, items = [found[n] for n in kept], [items[n] for n in kept]
    identities = [f"{sample.shard}:{sample.key}" for sample in found]
    raw, more = _labels(found, pictures, label_column)
    splits, renaming = _splits(found)
    kind: Task = task or "single-label"
    targets: np.ndarray | None = None
    names: tuple[str, ...] = ()
    if raw is not None:
        if splits is not None:
            raw = [None if split == UNLABELLED else label for label, split in zip(raw, splits, strict=True)]
        encoded = encode(raw, task, separator=label_separator, classes=classes, call=lambda index: identities[index])
        targets, names, kind, more = encoded.targets, encoded.classes, encoded.task, more + encoded.notes
    split = None if splits is None else np.array(splits)
    return Dataset(
        items, "image" if pictures else "text", kind, targets, names, identities, split, (*notes, *renaming, *more)
    )


def _record(member: TarItem, shown: dict[str, str]) -> dict[str, Any]:
    try:
        record = json.loads(_text(member))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown[member.path]}:{member.name} is not JSON: {error}") from None
    return record if isinstance(record, dict) else {LABEL_COLUMNS[0]: record}


def _own_text(sample: _Sample) -> str | None:
    if "txt" in sample.fields:
        return _text(sample.fields["txt"])
    return next((str(sample.record[name]) for name in TEXT_COLUMNS if isinstance(sample.record.get(name), str)), None)


def _labels(
    samples: Sequence[_Sample], pictures: bool, label_column: str | None
) -> tuple[list[Any] | None, tuple[str, ...]]:
    names = [label_column] if label_column else ["cls", *(name for name in LABEL_COLUMNS if name != "cls")]
    name = next((n for n in names if any(n in s.fields or n in s.record for s in samples)), None)
    if name is not None:
        return [sample.field(name) for sample in samples], ()
    if label_column:
        raise UsageError(f"no sample has a member or a JSON field {label_column!r}")
    if pictures and any("txt" in sample.fields for sample in samples):
        texts = [sample.field("txt") for sample in samples]
        if 2 * len({text for text in texts if not is_missing(text)}) <= len(texts):
            return texts, ("labels are read from the .txt beside each image: their texts repeat",)
        return None, (
            "no labels: the .txt beside each image is a caption of its own; label_column='txt' takes it for one",
        )
    return None, ()


def _splits(samples: Sequence[_Sample]) -> tuple[list[str] | None, tuple[str, ...]]:
    """The split of each sample, by its record, its first folder or its tar's name; and a note on other names.

    Raises:
        UsageError: of some samples it is known, of others not.
    """
    stated = [_stated(sample) for sample in samples]
    first = [sample.key.partition("/")[0] for sample in samples]
    words = [next((w for w in re.split(r"[-_.]", sample.shard) if is_split(w)), None) for sample in samples]
    if any(split is not None for split in stated):
        found = stated
    elif all("/" in sample.key for sample in samples) and all(map(is_split, first)):
        found = list(first)
    else:
        found = words
    if not any(split is not None for split in found):
        return None, ()
    names = [name for name in found if name is not None]
    if len(names) < len(found):
        known, other = found.index(names[0]), found.index(None)
        raise UsageError(
            f"{samples[known].shard}:{samples[known].key} is of the split {names[0]!r}, and of "
            f"{samples[other].shard}:{samples[other].key} nothing says the split; it is said of all samples, or of none"
        )
    roles = split_names(names)
    return [roles[name] for name in names], renamed(roles)


def _stated(sample: _Sample) -> str | None:
    """What a sample's record says of its split."""
    for name in SPLIT_COLUMNS:
        value = sample.record.get(name)
        if isinstance(value, str) and value.strip() and (name == "split" or is_split(value)):
            return value
    return None
