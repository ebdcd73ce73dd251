"""The classes of two sides: how frequent they are, counted or estimated, and how far each of them has moved."""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.estimators.probes import LinearProbe
from modelgraft_adapters.metrics.intervals import wilson
from modelgraft_adapters.runs.gap_result import ClassShare, ClassShift, LabelShift
from modelgraft_adapters.shift.apart import FOLDS
from modelgraft_adapters.shift.labels import target_shares
from modelgraft_adapters.shift.mmd import holm, mmd
from modelgraft_adapters.shift.sides import LEAST, drawn

MOST: Final = 1000
"""Items of a side that are compared, drawn where there are more."""
MOST_TRAINED: Final = 2000
"""Items of the source that the classifier for class shares is trained on."""
LEAST_OF_A_CLASS: Final = 5
MOST_CLASSES: Final = 100
"""Classes that are compared one by one: those with the most items."""
_FEW_ASSIGNMENTS: Final = 40
"""Permutations for each class that is compared: p-values of K classes must be able to fall below their level over K."""


def has_classes(data: Dataset) -> bool:
    """Return whether items have one class each, or some of them."""
    return data.task == "single-label" and bool(data.labelled.any()) and data.targets is not None


def _names(data: Dataset) -> np.ndarray:
    """(K,) of str: the class of each labelled item."""
    assert data.targets is not None
    return np.array(data.classes)[data.targets[data.labelled]]


def _one_hot(numbers: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(np.eye(count)[numbers])


def _as_frequent(one: np.ndarray, other: np.ndarray, count: int, permutations: int, seed: int) -> float:
    """The p-value of a permutation test that class numbers are as frequent on both sides."""
    rng = np.random.default_rng(seed)
    sides = [_one_hot(numbers[drawn(len(numbers), MOST, rng)], count) for numbers in (one, other)]
    if min(map(len, sides)) < 2:
        return 1.0
    p_value = mmd(sides[0], sides[1], kernel="linear", permutations=permutations, seed=seed).p_value
    assert p_value is not None
    return p_value


def counted(source: Dataset, target: Dataset, permutations: int, seed: int) -> LabelShift:
    """Return how frequent the classes are where both sides have labels."""
    one, other = _names(source), _names(target)
    names, numbers = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = numbers[: len(one)], numbers[len(one) :]
    before, after = (np.bincount(side, minlength=len(names)) for side in (first, second))
    shares = [
        ClassShare(str(name), float(n / len(one)), float(m / len(other)), *wilson(float(m), float(len(other))))
        for name, n, m in zip(names, before.tolist(), after.tolist(), strict=True)
    ]
    return LabelShift("counted", tuple(shares), _as_frequent(first, second, len(names), permutations, seed))


def classes(
    one: np.ndarray,
    other: np.ndarray,
    source: Dataset,
    target: Dataset,
    bandwidth: float | None,
    permutations: int,
    seed: int,
    notes: list[str],
) -> tuple[tuple[ClassShift, ...], tuple[str, ...]]:
    """The shift of each class that both sides have, and the classes that only the target has."""
    sides = [(one[source.labelled], _names(source)), (other[target.labelled], _names(target))]
    counts = [dict(zip(*np.unique(names, return_counts=True), strict=True)) for _, names in sides]
    both = [name for name in counts[0] if name in counts[1]]
    enough = [name for name in both if min(counts[0][name], counts[1][name]) >= LEAST_OF_A_CLASS]
    if len(enough) < len(both):
        notes.append(
            f"{len(both) - len(enough)} of {len(both)} classes have fewer than {LEAST_OF_A_CLASS} items on a side and are not "
            "compared one by one"
        )
    if len(enough) > MOST_CLASSES:
        notes.append(f"{MOST_CLASSES} of {len(enough)} classes are compared one by one, those with the most items")
        enough = sorted(enough, key=lambda name: -min(counts[0][name], counts[1][name]))[:MOST_CLASSES]
    rng, found = np.random.default_rng(seed), []
    for name in enough:
        rows = [features[names == name] for features, names in sides]
        rows = [of_class[drawn(len(of_class), MOST // 2, rng)] for of_class in rows]
        tests = max(permutations, _FEW_ASSIGNMENTS * len(enough))
        result = mmd(rows[0], rows[1], bandwidth=bandwidth, permutations=tests, seed=seed)
        found.append((str(name), (int(counts[0][name]), int(counts[1][name])), result))
    corrected = holm([result.p_value for _, _, result in found])  # type: ignore[misc]
    shifts = [ClassShift(name, n, r.value, p) for (name, n, r), p in zip(found, corrected, strict=True)]
    only = tuple(str(name) for name in counts[1] if name not in counts[0])
    return tuple(sorted(shifts, key=lambda shift: -shift.mmd)), only


def estimated(
    source_features: np.ndarray,
    target_features: np.ndarray,
    source: Dataset,
    permutations: int,
    seed: int,
    wanted: bool,
    notes: list[str],
) -> LabelShift | None:
    """The class shares of a target without labels, by a classifier of the source; None, and a note, where that cannot be."""
    names, numbers = np.unique(_names(source), return_inverse=True)
    counts = np.bincount(numbers)
    frequent = counts >= LEAST_OF_A_CLASS
    try:
        if frequent.sum() < 2:
            raise UsageError(
                f"label shift needs two classes of {LEAST_OF_A_CLASS} items or more in the source, which has "
                f"{int(frequent.sum())}"
            )
        if not frequent.all():
            notes.append(
                f"{int((~frequent).sum())} of {len(names)} classes have fewer than {LEAST_OF_A_CLASS} items in the source and are "
                "left out of the estimate of class shares"
            )
        keep = np.flatnonzero(frequent[numbers])
        keep = keep[drawn(len(keep), MOST_TRAINED, np.random.default_rng(seed))]
        truth = np.unique(numbers[keep], return_inverse=True)[1]
        said, answers, single = _answers(source_features[source.labelled][keep], truth, target_features, seed)
        shares = target_shares(truth, said, answers, seed=seed)
    except UsageError as error:
        if wanted:
            raise
        notes.append(f"no estimate of class shares: {error}")
        return None
    all_shares = counts[frequent] / counts[frequent].sum()
    rows = [
        ClassShare(str(name), float(s), float(share), float(low), float(high))
        for name, s, share, low, high in zip(
            names[frequent], all_shares, shares.shares, shares.low, shares.high, strict=True
        )
    ]
    notes.append("class shares of the target are estimated; that holds if items of a class look alike on both sides")
    p_value = _as_frequent(said, single, len(rows), permutations, seed)
    explains = _explains(
        source_features[source.labelled][keep], truth, shares.shares, target_features, permutations, seed
    )
    return LabelShift("estimated", tuple(rows), p_value, explains)


def _explains(
    features: np.ndarray, truth: np.ndarray, shares: np.ndarray, target: np.ndarray, permutations: int, seed: int
) -> float | None:
    """The p-value of a test that a part of the source with the estimated class shares is like the target; None where the source
    has too few items of some class for such a part."""
    rng, most = np.random.default_rng(seed), float(MOST)
    members = [rng.permutation(np.flatnonzero(truth == number)) for number in range(len(shares))]
    for of_class, share in zip(members, shares.tolist(), strict=True):
        most = min(most, len(of_class) / share) if share > 0 else most
    chosen = np.concatenate([of_class[: round(most * s)] for of_class, s in zip(members, shares.tolist(), strict=True)])
    if len(chosen) < LEAST:
        return None
    others = target[drawn(len(target), MOST, rng)]
    return mmd(features[chosen], others, permutations=permutations, seed=seed).p_value


def _answers(
    features: np.ndarray, truth: np.ndarray, target: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers (N,) on source items by classifiers that were not trained on them, the same classifiers' answers on the target as
    shares (M, C), and one of them for each target item (M,): the test compares answers of one classifier each."""
    count = int(truth.max()) + 1
    strength = LinearProbe(None, seed=seed, device="cpu").fit(features, truth).report_["chosen"]["C"]
    part = folds(truth, "single-label", FOLDS, seed)
    said, shares = np.empty(len(truth), np.int64), np.zeros((len(target), count))
    single, dealt = np.empty(len(target), np.int64), np.random.default_rng(seed).permutation(len(target))
    for fold in range(int(part.max()) + 1):
        held = part == fold
        probe = LinearProbe(None, C=strength, seed=seed, device="cpu").fit(features[~held], truth[~held])
        said[held] = probe.predict(features[held])
        answers = np.asarray(probe.predict(target), np.int64)
        shares += _one_hot(answers, count)
        mine = dealt % (int(part.max()) + 1) == fold
        single[mine] = answers[mine]
    return said, shares / shares.sum(axis=1, keepdims=True), single
