"""Class shares of a target without labels, from what a classifier of the source says of it: black-box shift estimation,
Lipton et al. 2018 (arXiv 1802.03916)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from modelgraft.errors import UsageError
from scipy.optimize import nnls

RESAMPLES: Final = 500
TOLD_APART: Final = 0.05
"""Least singular value of the shares of answers that is solved by. Below it one class is hardly told from others, and an error of
the shares is multiplied by more than 20."""
_TOGETHER: Final = 1e4
"""Weight of the line that says that shares sum to 1, beside those of the answers."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassShares:
    """Estimated shares of C classes in a target."""

    shares: np.ndarray
    """(C,) not below 0, of sum 1."""
    low: np.ndarray
    """(C,) lower ends of the 95 % intervals of each share by itself: percentiles over resamples of both sides' items."""
    high: np.ndarray
    source: np.ndarray
    """(C,) shares in the source."""
    told_apart: float
    """Least singular value of the matrix that was solved: 1 where the classifier makes no error."""


def target_shares(
    truth: np.ndarray, said: np.ndarray, target: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> ClassShares:
    """Return the class shares of a target.

    Solves ``A q = m``: A (C, C) shares of answers given the true class, on source items that the classifier was not trained on; m
    the shares of its answers on the target. This is right if items of a class look alike on both sides, and only the frequencies
    of classes differ. A solution outside of the shares that can be is replaced by the nearest one that can (least squares).

    Args:
        truth: (N,) true class of source items, 0 to C - 1; each class must be there.
        said: (N,) the classifier's answers on them.
        target: (M, C) its answers on target items as shares: a row for each item, of sum 1 (several classifiers may have answered).
        resamples: 0 leaves the intervals NaN.

    Raises:
        UsageError: a class without items, answers that do not fit, or a classifier that does not tell the classes apart.
    """
    count = target.shape[1] if target.ndim == 2 else 0
    if len(truth) != len(said) or not len(truth) or not len(target) or count < 2:
        raise UsageError(
            f"{len(truth)} classes, {len(said)} answers and shares of the shape {target.shape} do not go together"
        )
    if not ((truth >= 0) & (truth < count) & (said >= 0) & (said < count)).all():
        raise UsageError(f"classes and answers are from 0 to {count - 1}")
    table = np.zeros((count, count))
    np.add.at(table, (said, truth), 1)
    if (empty := int((table.sum(axis=0) == 0).sum())) > 0:
        raise UsageError(f"{empty} of {count} classes have no item in the source; leave them out")
    answers = table / table.sum(axis=0)
    smallest = float(np.linalg.svd(answers, compute_uv=False)[-1])
    if smallest < TOLD_APART:
        raise UsageError(
            f"the classifier does not tell the {count} classes of the source apart (least singular value {smallest:.3f} of its "
            f"table of answers, {TOLD_APART:g} is needed), so their shares in the target are not known; take another model, or "
            "fewer classes"
        )
    shares = solved(answers, target.mean(axis=0))
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    if resamples:
        found = np.stack([_again(table, target, rng) for rng in np.random.default_rng(seed).spawn(resamples)])
        low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return ClassShares(shares, low, high, table.sum(axis=0) / table.sum(), smallest)


def solved(answers: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the shares q (C,), not below 0 and of sum 1, for which ``answers`` (C, C) q is nearest to ``seen`` (C,)."""
    system = np.vstack([answers, np.full((1, answers.shape[1]), _TOGETHER)])
    found, _ = nnls(system, np.append(seen, _TOGETHER))
    return np.asarray(found / found.sum())


def _again(table: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shares after both sides' items were drawn anew with replacement. A class that is drawn no item of keeps its column."""
    counts = rng.multinomial(int(table.sum()), (table / table.sum()).ravel()).reshape(table.shape).astype(float)
    drawn = counts.sum(axis=0)
    counts = np.where(drawn > 0, counts, table)
    rows = rng.integers(0, len(target), len(target))
    return solved(counts / counts.sum(axis=0), target[rows].mean(axis=0))
