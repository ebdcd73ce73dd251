"""Groups of items that belong together (of one patient, author, video) and stay on one side of every split.

Items of one group are more alike than others: with some of them in training, a score on the rest says how well the group is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import in_text_file, is_missing, names_of
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import counted, some

_BINS: Final = 5
"""Stretches of sorted numbers that are shared out like classes."""


def groups_of(values: Sequence[Any], call: Callable[[int], str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the group of each item, (N,) of str, and notes. An item without one is a group of its own.

    Raises:
        UsageError: no item has one; a value that is no name.
    """
    cells = [None if is_missing(in_text_file(value)) else value for value in values]
    there = [index for index, cell in enumerate(cells) if cell is not None]
    if not there:
        raise UsageError("no item has a group")
    for index in there:
        if isinstance(cells[index], (list, tuple, dict, set, np.ndarray)):
            raise UsageError(f"the group of {call(index)} is a {type(cells[index]).__name__}, not a name")
    found = np.array([f"\0{index}" for index in range(len(cells))], dtype=object)
    found[there] = names_of([cells[index] for index in there])
    if len(there) == len(cells):
        return found, ()
    return found, (f"{counted(len(cells) - len(there), 'item')} without a group: each is a group of its own",)


def with_groups(data: Dataset, groups: Any) -> Dataset:
    """Return data with the group of each item, given beside them.

    Raises:
        UsageError: not one for each item; as `groups_of`.
    """
    if isinstance(groups, (str, bytes)) or not hasattr(groups, "__iter__"):
        raise UsageError(f"groups={groups!r}: one group for each of the {len(data):,} items is needed, in a list")
    listed = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(listed) != len(data):
        raise UsageError(
            f"{len(data):,} items and {len(listed):,} groups; each item needs one (None where it has none)"
        )
    found, notes = groups_of(listed, data.identity)
    return replace(data, groups=found, group_column="groups", notes=(*data.notes, *notes))


def across(groups: np.ndarray, split: np.ndarray, column: str) -> tuple[str, ...]:
    """Return a note for each split that has groups of the split ``train``."""
    notes = []
    train = set(groups[split == "train"])
    for name in sorted(set(split.tolist()) - {"train", "unlabelled"}):
        mine = groups[split == name]
        if shared := train & set(mine):
            items = sum(group in shared for group in mine)
            notes.append(
                f"{counted(len(shared), 'group')} of {column!r} {'is' if len(shared) == 1 else 'are'} in 'train' and in {name!r} "
                f"({some(sorted(shared), 2)}; {items:,} of the {len(mine):,} items of {name!r}): the score may flatter"
            )
    return tuple(notes)


def few_groups(groups: np.ndarray | None, n_folds: int, column: str | None) -> tuple[str, ...]:
    """Return a note where there are fewer groups than folds that are wished for."""
    count = n_folds if groups is None else len(set(groups))
    if count >= n_folds:
        return ()
    does = "nothing is chosen by folds" if count < 2 else f"{count} folds in place of {n_folds}"
    return (f"{counted(count, 'group')} of {column!r} to train on: {does}",)


def share_out(
    groups: np.ndarray, targets: np.ndarray, task: Task, shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Return the part of each item, (N,) int64: whole groups, so that each part has near its share of items and of every class.

    The largest group goes first; each to the part where it leaves the least squared distance to the shares, by share, summed
    over the classes (of numbers: over stretches of the sorted values) and the items. A part that would stay empty gets the group
    that costs least. Two groups or more, and no more parts than groups.

    Args:
        groups: (N,) names.
        targets: as `Dataset.targets`; rows without a label count as items only.
        task: what they are.
        shares: of each part, summing to 1.
        rng: draws the order of equal groups, and the part among equal ones.
    """
    names, number = np.unique(groups.astype(str), return_inverse=True)
    columns = np.concatenate([_one_hot(targets, task), np.ones((len(groups), 1))], axis=1)
    counts = np.zeros((len(names), columns.shape[1]))
    np.add.at(counts, number, columns)
    weights = counts / np.maximum(columns.sum(axis=0), 1)
    wanted = np.asarray(shares, np.float64)[:, None]
    have = np.zeros((len(wanted), weights.shape[1]))
    part = np.empty(len(names), np.int64)
    order = rng.permutation(len(names))
    for group in order[np.argsort(-counts[order, -1], kind="stable")]:
        cost = (weights[group] * (2 * (have - wanted) + weights[group]) / wanted).sum(axis=1)
        best = np.flatnonzero(cost <= cost.min() + 1e-12)
        part[group] = rng.choice(best)
        have[part[group]] += weights[group]
    for empty in np.setdiff1d(np.arange(len(wanted)), part):
        sizes = np.bincount(part, minlength=len(wanted))
        movable = [group for group in rng.permutation(len(names)) if sizes[part[group]] > 1]
        # What a class has nowhere else is missed most where it was.
        part[min(movable, key=lambda group: (int((weights[group, :-1] > 1 - 1e-9).sum()), counts[group, -1]))] = empty
    return part[number]


def _one_hot(targets: np.ndarray, task: Task) -> np.ndarray:
    """(N, C) of 0 and 1, zeros where there is no label."""
    if task == "single-label":
        known = targets >= 0
        values, number = np.unique(targets[known], return_inverse=True)
        out = np.zeros((len(targets), len(values)))
        out[np.flatnonzero(known), number] = 1
        return out
    known = ~np.isnan(targets).reshape(len(targets), -1).any(axis=1)
    if task == "multi-label":
        return np.where(known[:, None], targets > 0, 0).astype(np.float64)
    values = targets[known].reshape(int(known.sum()), -1).astype(np.float64)
    spread = values.std(axis=0)
    order = np.argsort(((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)).sum(axis=1), kind="stable")
    out = np.zeros((len(targets), _BINS))
    for stretch, rows in enumerate(np.array_split(np.flatnonzero(known)[order], _BINS)):
        out[rows, stretch] = 1
    return out
