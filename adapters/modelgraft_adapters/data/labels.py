"""Whether there is something to learn, and what is done about labels that are missing, unknown, constant or alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data import cells
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import UNLABELLED, counted, some

_LEAST: Final = 1e-30
"""Numbers that differ by less have weights that float32 does not hold."""


def check_for_training(dataset: Dataset) -> Dataset:
    """The data ready to train on, with a note for each rule that was applied.

    Rules:

    * Items of ``train`` (or of all, where nothing is split) without a label move to the split ``unlabelled``.
    * Classes that ``train`` has no item of are not trained. Those that nothing else has either are dropped; those that other splits
      have come last among ``classes``, and their items count as wrong: no prediction can be right. What is trained are the first
      `learnt_classes` classes.
    * A class with one item stays in ``train``: it is trained, but no fold can check it.
    * Names that differ in case, blanks or invisible signs alone stay different classes; a note asks.
    * In a multi-label task a class that all items of ``train`` have, or none has, is kept, with a note.

    Raises:
        UsageError: no training part, no labels, or nothing to train: one class, one value, numbers that differ by next to nothing.
    """
    train = np.ones(len(dataset), bool) if dataset.split is None else dataset.split == "train"
    if not train.any():
        raise UsageError(
            "no items"
            if dataset.split is None
            else f"no split 'train' to train on; there are {some(dataset.split_names)}"
        )
    labelled = dataset.labelled
    if dataset.targets is None or not (labelled & train).any():
        raise UsageError(
            "nothing to train: no item" + ("" if dataset.split is None else " of the split 'train'") + " has a label; "
            "folders give one by their names, tables by label_column=, lists by labels="
        )
    notes = list(dataset.notes)
    if missing := int((train & ~labelled).sum()):
        split = dataset.splits()
        split[train & ~labelled] = UNLABELLED
        dataset = replace(dataset, split=split)
        notes.append(f"{counted(missing, 'item')} without a label left out of training (split {UNLABELLED!r})")
        train = train & labelled
    elsewhere = ~train & ~labelled & (dataset.split != UNLABELLED if dataset.split is not None else False)
    if count := int(np.sum(elsewhere)):
        notes.append(f"{counted(count, 'item')} of other splits without a label: predicted, not scored")
    if dataset.task == "single-label":
        dataset, more = _single(dataset, train)
    elif dataset.task == "multi-label":
        more = _multi(dataset, train)
    else:
        more = _numbers(dataset, train)
    return replace(dataset, notes=tuple(dict.fromkeys([*notes, *more])))


def learnt_classes(dataset: Dataset) -> int:
    """How many of the classes of checked data are trained: the first so many."""
    assert dataset.targets is not None
    if dataset.task != "single-label":
        return len(dataset.classes)
    part = dataset if dataset.split is None else dataset.train
    assert part.targets is not None
    return int(part.targets.max()) + 1


def _single(dataset: Dataset, train: np.ndarray) -> tuple[Dataset, list[str]]:
    assert dataset.targets is not None
    targets = dataset.targets
    counts = np.bincount(targets[train], minlength=len(dataset.classes))
    anywhere = np.bincount(targets[targets >= 0], minlength=len(dataset.classes))
    known = np.flatnonzero(counts)
    if len(known) < 2:
        raise UsageError(
            f"nothing to train: all {counts.sum():,} items to train on are of the class {dataset.classes[known[0]]!r}; "
            "two classes are needed (class_level= and label_column= say where the classes are)"
        )
    unseen = np.flatnonzero((counts == 0) & (anywhere > 0))
    absent = [dataset.classes[n] for n in np.flatnonzero(anywhere == 0)]
    names = dataset.classes
    notes = []
    if absent:
        notes.append(f"{_classes(len(absent))} without any item not trained: {some(absent)}")
    if len(unseen):
        items = int(anywhere[unseen].sum())
        notes.append(
            f"{_classes(len(unseen))} without an item to train on: {some(names[n] for n in unseen)}; "
            f"{counted(items, 'item')} of other splits {'counts' if items == 1 else 'count'} as wrong"
        )
    if len(single := np.flatnonzero(counts == 1)):
        notes.append(
            f"{_classes(len(single))} with one item to train on: {some(names[n] for n in single)}; "
            "trained, but checked by no fold"
        )
    notes += _cases([names[n] for n in known])
    order = np.concatenate([known, unseen])
    if not np.array_equal(order, np.arange(len(names))):
        number = np.full(len(names) + 1, -1, np.int64)  # the last one is for -1, no label
        number[order] = np.arange(len(order))
        dataset = replace(
            dataset,
            targets=number[targets],
            classes=tuple(names[n] for n in order),
            values=None if dataset.values is None else dataset.values[order],
        )
    return dataset, notes


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _cases(names: list[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(cells.alike(name), []).append(name)
    pairs = [" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    if not pairs:
        return []
    more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return [
        f"classes that differ in case, blanks or invisible signs alone are different classes: {', '.join(pairs[:3])}{more}"
    ]


def _multi(dataset: Dataset, train: np.ndarray) -> list[str]:
    assert dataset.targets is not None
    share = dataset.targets[train].mean(axis=0)
    constant = (share == 0) | (share == 1)
    if constant.all():
        raise UsageError(
            f"nothing to train: each of the {len(dataset.classes)} classes is there for all items, or for none"
        )
    notes = []
    if constant.any():
        names = some(name for name, same in zip(dataset.classes, constant, strict=True) if same)
        notes.append(f"{_classes(int(constant.sum()))} that all items to train on have, or none has: {names}")
    return notes + _cases(list(dataset.classes))


def _numbers(dataset: Dataset, train: np.ndarray) -> list[str]:
    assert dataset.targets is not None
    values = dataset.targets[train]
    constant = (values == values[0]).all(axis=0)
    if constant.all():
        raise UsageError(f"nothing to train: all {len(values):,} items to train on have the value {values[0].tolist()}")
    apart = values.max(axis=0) - values.min(axis=0)
    if (tiny := ~constant & (apart < _LEAST)).any():
        raise UsageError(
            f"the numbers of {dataset.classes[int(tiny.argmax())]!r} differ by {apart[tiny.argmax()]:.1e} at most, too little to "
            "be trained in float32; give them in a smaller unit"
        )
    names = [name for name, same in zip(dataset.classes, constant, strict=True) if same]
    return [f"columns with one value only: {some(names)}"] if names else []
