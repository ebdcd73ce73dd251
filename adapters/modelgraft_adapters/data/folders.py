"""Folders to a `Dataset`: ``[split/]class/.../file``. Tar files with such members follow the same rules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.dataset import Dataset, Modality
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.names import (
    UNLABELLED,
    clean,
    counted,
    is_like_split,
    is_split,
    renamed,
    some,
    split_names,
)
from modelgraft_adapters.media.files import MOST_TEXT_BYTES, read_regular
from modelgraft_adapters.media.formats import begins_as_picture, is_named_picture, is_picture_name
from modelgraft_adapters.media.texts import decoded, reason_against
from modelgraft_adapters.media.walking import Parts, walk


@dataclass(frozen=True, slots=True)
class Layout:
    """What the folders above each file say."""

    splits: list[str] | None
    labels: list[str | None] | None
    """None where there are no class folders at all."""
    notes: tuple[str, ...]


def read_folder(
    folder: str,
    *,
    modality: Modality | None = None,
    task: Task | None = None,
    class_level: int = 1,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Images (or text files) below a folder, a folder per class; items are paths (texts: what the files say).

    Rules, here and in tar files:

    * If all folders at the top are named after splits (train, test_set, val2017, dev, unlabelled ...), they are splits; the
      folders below are classes. Some splits beside other folders are refused.
    * Folders below a class folder belong to the class. ``class_level=2`` takes the second level as classes instead, -1 the
      folder that the file lies in.
    * One folder alone at the top that holds nothing but folders is a wrapper: what it holds counts.
    * Hidden files and files of other kinds are left out, as is a class folder without files (a note says so). Images of a format
      that is not read (HEIC, RAW ...) are items that cannot be read, so that they are told.
    * Files beside class folders, and all below a folder named ``unlabelled`` or ``unsup``, have no label.
    * No class folders: nothing is labelled. No images but ``.txt`` files: a file is a text.
    * Order: by path. Links to folders are followed, loops are not.

    Raises:
        UsageError: nothing to read, splits and classes mixed, a task that folders cannot state, links in circles without end.
        ModelgraftError: a folder that cannot be looked into: a class might be missing.
    """
    if task not in (None, "single-label"):
        raise UsageError(f"folders give a class per item; a {task} task needs a table (CSV, JSON lines, Parquet)")
    walked = walk(folder)
    walked.check_open()
    files = walked.files
    chosen, kind = _of_modality(files, modality, folder)
    kept = [parts for parts, keep in zip(files, chosen, strict=True) if keep]
    layout = layout_of(kept, walked.folders, class_level)
    paths = [os.path.join(folder, *parts) for parts in kept]
    others = [parts for parts, keep in zip(files, chosen, strict=True) if not keep]
    notes = layout.notes + left_out([parts[-1] for parts in others])
    if kind == "image" and (
        hidden := [parts[-1] for parts in others if begins_as_picture(os.path.join(folder, *parts))]
    ):
        notes += (f"{counted(len(hidden), 'file')} left out that begin as images but are not named so: {some(hidden)}",)
    if walked.loose:
        notes += (f"{counted(len(walked.loose), 'link')} to nothing left out: {some(walked.unread)}",)
    items: Sequence[Any] = paths
    if kind == "text":
        items, more = _texts(paths)
        notes += more
    return from_layout(items, paths, kind, layout, notes, classes)


def layout_of(files: Sequence[Parts], directories: Sequence[Parts] = (), class_level: int = 1) -> Layout:
    """Split and label of each file by the folders above it (rules: `read_folder`).

    Args:
        files: path of each file below the root; not empty.
        directories: all folders below the root, to find those that hold nothing.
        class_level: which folder below the split is the class: 1 the first, 2 the second ..., -1 the one the file lies in.

    Raises:
        UsageError: splits and classes mixed at the top, a ``class_level`` that no file lies so deep for.
    """
    if class_level == 0 or class_level < -1:
        raise UsageError(f"class_level={class_level}: 1 is the first folder, 2 the second ..., -1 the last")
    notes: list[str] = []
    folders = [parts[:-1] for parts in files]
    while True:  # step through wrappers, such as an archive's own folder
        top = {parts[0] if parts else None for parts in folders}
        name = next(iter(top))
        if len(top) > 1 or name is None or is_split(name) or any(len(parts) < 2 for parts in folders):
            break
        notes.append(f"the folder {name!r} holds all others: it is taken for a wrapper, not for a class")
        folders = [parts[1:] for parts in folders]
        directories = [parts[1:] for parts in directories if parts[0] == name and len(parts) > 1]
    splits: list[str] | None = None
    named = sorted({parts[0] for parts in folders if parts})
    if known := [name for name in named if is_split(name)]:
        if len(known) < len(named):
            others = some(name for name in named if name not in known)
            raise UsageError(
                f"the folders {some(known)} are splits, but {others} beside them not; put the classes below the splits"
            )
        if all(parts for parts in folders):
            roles = split_names(named)
            splits = [roles[parts[0]] for parts in folders]
            notes += renamed(roles)
            folders = [parts[1:] for parts in folders]
        elif named:
            raise UsageError(f"files lie beside the splits {some(known)}; put each below its split")
    elif (
        class_level == 1
        and len(named) > 1
        and all(map(is_like_split, named))
        and all(len(parts) > 1 for parts in folders)
    ):
        raise UsageError(
            f"the folders {some(named)} read as splits and not as classes; call them train and test (or val)"
        )
    labels = [_label(parts, class_level) for parts in folders]
    if splits:
        labels = [None if s == UNLABELLED else label for s, label in zip(splits, labels, strict=True)]
    deep = sum(len(parts) >= 2 for parts in folders)
    if class_level == 1 and deep == len(folders):
        notes.append(
            "all files lie in folders below the class folders; class_level=2 takes those for the classes instead"
        )
    if class_level > 1 and not any(labels):
        raise UsageError(f"class_level={class_level}, but no file lies so deep")
    notes += _empty(files, directories, splits is not None)
    if not any(label is not None for label in labels):
        return Layout(splits, None, tuple(notes))
    return Layout(splits, labels, tuple(notes))


def from_layout(
    items: Sequence[Any],
    identities: Sequence[str],
    modality: Modality,
    layout: Layout,
    notes: tuple[str, ...],
    classes: Sequence[str] | None,
) -> Dataset:
    """The `Dataset` of items whose folders were read."""
    targets: np.ndarray | None = None
    names: tuple[str, ...] = ()
    if layout.labels is not None:
        encoded = encode(layout.labels, "single-label", classes=classes, call=lambda index: identities[index])
        targets, names, notes = encoded.targets, encoded.classes, notes + encoded.notes
    return Dataset(
        items,
        modality,
        targets=targets,
        classes=names,
        identities=list(identities),
        split=None if layout.splits is None else np.array(layout.splits),
        notes=notes,
    )


def _label(folders: Parts, level: int) -> str | None:
    if any(split_names([name])[name] == UNLABELLED for name in folders):
        return None
    if level == -1:
        return clean(folders[-1]) if folders else None
    return clean(folders[level - 1]) if len(folders) >= level else None


def _empty(files: Sequence[Parts], directories: Sequence[Parts], split: bool) -> list[str]:
    level = 2 if split else 1
    held = {parts[:level] for parts in files}
    empty = sorted({parts for parts in directories if len(parts) == level} - held)
    return [f"no files in {some('/'.join(parts) for parts in empty)}: left out"] if empty else []


def _of_modality(files: Sequence[Parts], modality: Modality | None, folder: str) -> tuple[list[bool], Modality]:
    """Which files to read, and as what. Beside images that are read, those that are not are items too, with their reason."""
    names = [parts[-1] for parts in files]
    if modality != "text" and any(map(is_picture_name, names)):
        return [is_named_picture(name) for name in names], "image"
    texts = [os.path.splitext(name)[1].lower() == ".txt" for name in names]
    if modality != "image" and any(texts):
        return texts, "text"
    what = {"image": "images", "text": "text files (.txt)", None: "images and no text files (.txt)"}[modality]
    others = [] if modality == "text" else [name for name in names if is_named_picture(name)]
    also = f"; {counted(len(others), 'image')} in formats that are not read: {some(others)}" if others else ""
    raise UsageError(f"{folder!r} holds no {what} that are read (looked for .jpg, .png, .webp ...){also}")


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """A note on files of other kinds: a forgotten format must not go unseen."""
    if not names:
        return ()
    return (f"{counted(len(names), 'file')} of other kinds left out: {some(sorted(set(names)))}",)


def _texts(paths: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """What the files say; one that cannot be read, or is no text, is an error row later and is named in a note."""
    texts, damaged = [], []
    for path in paths:
        try:
            texts.append(decoded(read_regular(path, MOST_TEXT_BYTES)))
        except OSError:
            texts.append("")
            damaged.append(path)
        else:
            if texts[-1].strip() and reason_against(texts[-1]) is not None:
                damaged.append(path)
    if not damaged:
        return texts, ()
    return texts, (f"{counted(len(damaged), 'file')} unreadable or not in UTF-8: {some(damaged)}",)
