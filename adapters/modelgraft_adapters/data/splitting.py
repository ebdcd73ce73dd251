"""Train and test, folds, and few shots: drawn so that each part has its share of every class. One seed, one split, everywhere.

Draws use NumPy's PCG64 through its ``Generator``, whose streams do not depend on the platform.
"""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.grouping import share_out
from modelgraft_adapters.data.names import UNLABELLED, counted, some
from modelgraft_adapters.defaults import is_whole


def stratified_split(dataset: Dataset, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """The same items with a split: ``test_fraction`` of the labelled ones are ``test``, the rest ``train``.

    Of data without a split all items are divided; otherwise those of ``train``, and the other splits stay as they are. In a
    single-label task each class gives its share to within one item, and never its last one. In a multi-label task shares are
    those of iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), in a regression those of the sorted values. Items
    without a label stay in ``train``. Groups stay whole, with their items without a label, and shares are as near as they allow
    (`grouping.share_out`).

    Raises:
        UsageError: a fraction outside (0, 1), a ``test`` split that is there already, too few items for both parts.
    """
    if not isinstance(test_fraction, Real) or not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction={test_fraction!r}; it lies between 0 and 1, such as 0.2")
    if "test" in dataset.split_names:
        raise UsageError("the data has a split 'test' already; it is not drawn anew")
    if dataset.split is not None and "train" not in dataset.split_names:
        raise UsageError(
            f"the data has no split 'train' to take a test part from; there are {some(dataset.split_names)}"
        )
    split = dataset.splits()
    where = np.flatnonzero(dataset.labelled & (split == "train"))
    if not dataset.labelled.any():
        raise UsageError(
            f"none of the {counted(len(dataset), 'item')} has a label; folders give one by their names, tables by "
            "label_column= (--label-column), lists by labels="
        )
    if dataset.targets is None or len(where) < 2:
        raise UsageError(f"{counted(len(where), 'labelled item')} cannot be split into train and test")
    targets = dataset.targets[where]
    rng = _rng(seed)
    if dataset.groups is not None:
        return _grouped_split(dataset, split, test_fraction, rng)
    if dataset.task == "single-label":
        chosen = _share(targets, test_fraction, rng)
    elif dataset.task == "multi-label":
        chosen = _iterative(targets, np.array([1 - test_fraction, test_fraction]), rng) == 1
    else:
        chosen = _share_of_sorted(targets, test_fraction, rng)
    if not 0 < chosen.sum() < len(where):
        raise UsageError(
            f"test_fraction={test_fraction} of {len(where)} items leaves {int(chosen.sum())} to test on; "
            "more items are needed, or another fraction"
        )
    split[where[chosen]] = "test"
    return replace(dataset, split=split)


def _grouped_split(dataset: Dataset, split: np.ndarray, test_fraction: float, rng: np.random.Generator) -> Dataset:
    assert dataset.groups is not None and dataset.targets is not None
    where = np.flatnonzero(split == "train")
    labelled = set(dataset.groups[where[dataset.labelled[where]]])
    if len(labelled) < 2:
        raise UsageError(
            f"{counted(len(labelled), 'group')} of {dataset.group_column!r} with labels cannot be split into train and test"
        )
    where = where[[group in labelled for group in dataset.groups[where]]]
    shares = (1 - test_fraction, test_fraction)
    part = share_out(dataset.groups[where], dataset.targets[where], dataset.task, shares, rng)
    split[where[part == 1]] = "test"
    share = (part == 1).mean()
    notes = dataset.notes
    if abs(share - test_fraction) > 0.05:
        notes += (f"whole groups of {dataset.group_column!r} make a test part of {share:.0%}, not {test_fraction:.0%}",)
    return replace(dataset, split=split, notes=notes)


def folds(
    targets: np.ndarray, task: Task, n_folds: int = 5, seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """The fold of each item, for cross-validation inside the training part.

    Single-label: each class, and the whole, is spread over the folds to within one item; there are no more folds than items of the
    largest class. So what is trained on all folds but one knows every class that has two items or more; a class of one item is
    unknown to the fold that holds it, which cannot be helped. Multi-label: iterative stratification. Regression: neighbours
    among the sorted values (of several columns: of their standardised sum) go to different folds. Groups stay whole, and there are
    no more folds than groups (`grouping.share_out`).

    Args:
        targets: (N,) int64 class numbers, (N, C) 0 or 1, or (N, K) numbers; all labelled.
        task: what they are.
        n_folds: wished number of folds, at least 2.
        seed: of the draw.
        groups: (N,) names of what belongs together.

    Returns:
        (N,) int64 in 0 ... F-1; all 0 where there is nothing to choose by (no class has two items; fewer than four numbers; one
        group).

    Raises:
        UsageError: fewer than two folds, items without a label.
    """
    if n_folds < 2:
        raise UsageError(f"n_folds={n_folds}; cross-validation takes at least 2")
    values = np.asarray(targets)
    missing = values < 0 if task == "single-label" else np.isnan(values).reshape(len(values), -1).any(axis=1)
    if missing.any():
        raise UsageError(f"{counted(int(missing.sum()), 'item')} without a label cannot be put into folds")
    rng = _rng(seed)
    if len(values) == 0:
        return np.zeros(0, np.int64)
    if groups is not None:
        n_folds = min(n_folds, len(set(groups)))
        if n_folds < 2:
            return np.zeros(len(values), np.int64)
    if task == "single-label":
        count = min(n_folds, int(np.bincount(values).max()))
        if count < 2:
            return np.zeros(len(values), np.int64)
        return _dealt(values, count, rng) if groups is None else _in_groups(values, task, groups, count, rng)
    if task == "multi-label":
        count = min(n_folds, len(values))
        if count < 2 or not (values.sum(axis=0) >= 2).any():
            return np.zeros(len(values), np.int64)
        if groups is not None:
            return _in_groups(values, task, groups, count, rng)
        return _iterative(values, np.full(count, 1 / count), rng)
    count = min(n_folds, len(values) // 2)
    if count < 2:
        return np.zeros(len(values), np.int64)
    if groups is not None:
        return _in_groups(values, task, groups, count, rng)
    order = _sorted(values, rng)
    out = np.empty(len(values), np.int64)
    for start in range(0, len(order), count):  # each run of neighbours is dealt to different folds
        block = order[start : start + count]
        out[block] = rng.permutation(count)[: len(block)]
    return out


def _in_groups(values: np.ndarray, task: Task, groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return share_out(groups, values, task, [1 / count] * count, rng)


def checked_shots(shots: Any) -> int:
    """Return a number of labels of each class.

    Raises:
        UsageError: no whole number, or fewer than one.
    """
    if not is_whole(shots) or shots < 1:
        raise UsageError(f"shots={shots!r}; a whole number, at least 1")
    return int(shots)


def few_shot(dataset: Dataset, shots: int, seed: int = 0, *, keep_rest: bool = False) -> Dataset:
    """``shots`` labelled items of each class (of a regression ``shots`` items), the other splits as they are.

    Draws are nested: with one seed the items of fewer shots are among those of more. A class with fewer items gives all it has, and
    a note says so. In a multi-label task classes take turns, the rarest first, until each has ``shots`` items or no more; items
    that bring several classes count for each.

    Args:
        dataset: only its split ``train`` is drawn from, or all of it where nothing is split.
        shots: 1 or more.
        seed: of the draw.
        keep_rest: keep the items that were not drawn, without their labels, as the split ``unlabelled``.

    Raises:
        UsageError: fewer than one shot, no labelled items.
    """
    shots = checked_shots(shots)
    train = np.ones(len(dataset), bool) if dataset.split is None else dataset.split == "train"
    where = np.flatnonzero(dataset.labelled & train)
    if dataset.targets is None or not len(where):
        raise UsageError("no labelled items to draw from" + ("" if dataset.split is None else " in the split 'train'"))
    targets = dataset.targets[where]
    notes: list[str] = []
    if dataset.task == "single-label":
        drawn = np.zeros(len(where), bool)
        for number in np.unique(targets):
            members = np.flatnonzero(targets == number)
            drawn[_rng(seed, int(number)).permutation(members)[:shots]] = True
            if len(members) < shots:
                notes.append(f"class {dataset.classes[number]!r} has {len(members)} of the {shots} items asked for")
    elif dataset.task == "multi-label":
        drawn = _turns(targets, shots, _rng(seed))
    else:
        drawn = np.zeros(len(where), bool)
        drawn[_rng(seed).permutation(len(where))[:shots]] = True
    taken = np.zeros(len(dataset), bool)
    taken[where[drawn]] = True
    notes = notes if len(notes) <= 3 else [f"{len(notes)} classes have fewer than the {shots} items asked for"]
    out = replace(dataset, notes=(*dataset.notes, *notes))
    if not keep_rest:
        return out.take(taken | ~train)
    split = dataset.splits()
    split[train & ~taken] = UNLABELLED
    hidden = dataset.targets.copy()
    hidden[train & ~taken] = -1 if dataset.task == "single-label" else np.nan
    return replace(out, split=split, targets=hidden)


def _rng(seed: int, *more: int) -> np.random.Generator:
    if not is_whole(seed) or seed < 0:
        raise UsageError(f"seed={seed!r}; a seed is a whole number, 0 or more")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *more])))


def _share(targets: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: ``fraction`` of each class to within one item, round(N * fraction) in all where that can be."""
    classes, counts = np.unique(targets, return_counts=True)
    exact = counts * fraction
    take = np.floor(exact).astype(np.int64)
    # Largest remainders first; equal ones in random order. No class gives its last item.
    order = rng.permutation(len(classes))
    order = order[np.argsort(-(exact - take)[order], kind="stable")]
    wanted = round(len(targets) * fraction)
    for number in order:
        if take.sum() >= wanted:
            break
        take[number] += take[number] + 1 < counts[number] and exact[number] > take[number]
    chosen = np.zeros(len(targets), bool)
    for number, count in zip(classes, take, strict=True):
        chosen[rng.permutation(np.flatnonzero(targets == number))[:count]] = True
    return chosen


def _dealt(targets: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Each class shuffled and dealt to the folds in turn; the next class goes on where the last one ended."""
    out = np.empty(len(targets), np.int64)
    turn = 0
    names = rng.permutation(count)
    for number in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == number))
        out[members] = names[(turn + np.arange(len(members))) % count]
        turn += len(members)
    return out


def _sorted(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices by rising value, equal ones in random order; of several columns by their standardised sum."""
    columns = values.reshape(len(values), -1).astype(np.float64)
    spread = columns.std(axis=0)
    score = ((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1)).sum(axis=1)
    order = rng.permutation(len(values))
    return order[np.argsort(score[order], kind="stable")]


def _share_of_sorted(values: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: one item of each of round(N * fraction) stretches of the sorted values."""
    order = _sorted(values, rng)
    chosen = np.zeros(len(values), bool)
    for stretch in np.array_split(order, max(round(len(values) * fraction), 1)):
        if len(stretch):
            chosen[rng.choice(stretch)] = True
    return chosen


def _iterative(targets: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) int64: the part of each item. Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011, algorithm 1).

    The label with the fewest items left is dealt first; each of its items goes to the part that wants the label most, then the
    part that wants items most, then by chance. Items without any label fill up the parts.
    """
    positive = np.asarray(targets) > 0
    left = np.ones(len(positive), bool)
    out = np.empty(len(positive), np.int64)
    wanted = len(positive) * shares
    wanted_of = shares[:, None] * positive.sum(axis=0)[None, :]
    remaining = positive.sum(axis=0)
    while remaining.any():
        label = int(np.argmin(np.where(remaining > 0, remaining, np.iinfo(np.int64).max)))
        for item in rng.permutation(np.flatnonzero(left & positive[:, label])):
            part = _neediest(wanted_of[:, label], wanted, rng)
            out[item], left[item] = part, False
            wanted_of[part, positive[item]] -= 1
            wanted[part] -= 1
            remaining = remaining - positive[item]
    for item in rng.permutation(np.flatnonzero(left)):
        out[item] = part = _neediest(wanted, wanted, rng)
        wanted[part] -= 1
    return out


def _neediest(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> int:
    # Shares are sums of fractions: what differs by rounding alone is equal.
    best = np.flatnonzero(first >= first.max() - 1e-9)
    best = best[second[best] >= second[best].max() - 1e-9]
    return int(best[0] if len(best) == 1 else rng.choice(best))


def _turns(targets: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: in each round every class that has fewer items than the round's number gets one more, the rarest class first."""
    positive = targets > 0
    order = rng.permutation(len(positive))
    rarest = np.argsort(positive.sum(axis=0), kind="stable")
    queues = [iter(order[positive[order, label]]) for label in range(positive.shape[1])]
    drawn = np.zeros(len(positive), bool)
    have = np.zeros(positive.shape[1], np.int64)
    for round_number in range(1, shots + 1):
        for label in rarest:
            if have[label] >= round_number:
                continue
            item = next((item for item in queues[label] if not drawn[item]), None)
            if item is not None:
                drawn[item] = True
                have += positive[item]
    return drawn
