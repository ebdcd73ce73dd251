"""Proxy A-distance: how well a linear classifier tells the two sides apart. Ben-David et al. 2007, "Analysis of representations for
domain adaptation"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.shift.sides import checked_sides

FOLDS: Final = 5
_STRENGTHS: Final = tuple(10.0**power for power in range(-4, 7))


@dataclass(frozen=True, slots=True)
class Apart:
    """What a linear classifier of the sides does on items that it was not trained on."""

    distance: float
    """2 (1 - 2 e), between 0 (no better than chance) and 2 (no error)."""
    error: float
    """e: the mean of the two sides' shares of items taken for the other side's. Chance is one half, however many each side has."""
    wrong: tuple[int, int]
    """Items of the source, and of the target, that were taken for the other side's."""
    items: tuple[int, int]


def proxy_a_distance(
    source: np.ndarray, target: np.ndarray, *, folds: int = FOLDS, seed: int = 0, least: int = 2
) -> Apart:
    """Return the proxy A-distance of features (N, D) and (M, D).

    The classifier is ridge regression on standardised features, both sides weighed alike, its penalty chosen by the exact
    leave-one-out error of the items it is trained on: nothing is chosen by the items that are counted.

    Args:
        folds: parts that are held out in turn; of each side alike.

    Raises:
        UsageError: as `checked_sides`; fewer folds than 2, or items of a side than folds.
    """
    from sklearn.linear_model import RidgeClassifierCV

    if folds < 2:
        raise UsageError(f"folds={folds}: 2 or more, as items are told apart that were not trained on")
    one, other = checked_sides(source, target, max(least, folds))
    rows = np.concatenate([one, other])
    side = np.repeat([0, 1], [len(one), len(other)])
    part = _dealt(side, folds, seed)
    said = np.empty(len(rows), np.int64)
    for fold in range(folds):
        held = part == fold
        middle, spread = rows[~held].mean(axis=0), rows[~held].std(axis=0)
        spread[spread <= 1e-12 * spread.max(initial=0.0)] = np.inf  # what never varies says nothing
        scaled = (rows - middle) / spread
        classifier = RidgeClassifierCV(_STRENGTHS, class_weight="balanced").fit(scaled[~held], side[~held])
        said[held] = classifier.predict(scaled[held])
    wrong = (int((said[side == 0] == 1).sum()), int((said[side == 1] == 0).sum()))
    error = (wrong[0] / len(one) + wrong[1] / len(other)) / 2
    return Apart(a_distance(error), error, wrong, (len(one), len(other)))


def a_distance(error: float) -> float:
    """Return 2 (1 - 2 e) of an error, and 0 of one that is worse than chance."""
    return max(2 * (1 - 2 * error), 0.0)


def _dealt(side: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) the fold of each item; each side is dealt evenly."""
    rng, part = np.random.default_rng(seed), np.empty(len(side), np.int64)
    for value in (0, 1):
        members = rng.permutation(np.flatnonzero(side == value))
        part[members] = np.arange(len(members)) % folds
    return part
