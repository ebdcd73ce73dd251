"""Scores of single-label answers that count the classes alike, with the standard errors that their intervals come of.

Both errors are by the influence of each item on the figure (for areas under the curve DeLong, DeLong and Clarke-Pearson 1988,
joined over the classes; for F1 the delta method), but no less than a formula has it that knows of few items.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Figure = tuple[float, float, int, int]
"""Value and standard error, NaN where the items do not define it; how many classes it is the mean of; and of how many items, in
effect, the error is known."""


def macro_f1(targets: np.ndarray, predicted: np.ndarray, classes: int) -> Figure:
    """Return the mean of the classes' F1 scores, as scikit-learn's over the classes that are true or predicted of some item.

    Args:
        targets: (N,) int; -1 is no class, and a miss of whatever was predicted.
        predicted: (N,) int.
        classes: how many there are.
    """
    known = targets >= 0
    true = np.bincount(targets[known], minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    hits = np.bincount(predicted[targets == predicted], minlength=classes)
    there = np.flatnonzero(true + said)
    if not len(there):
        return math.nan, math.nan, 0, 0
    # F1 is 2J / (1 + J) of the share J of hits in the items that are of a class or said to be (the others are wrong).
    either = np.maximum(true + said - hits, 1)
    whole = np.maximum(true + said, 1)
    scores = 2 * hits / whole
    hit, miss = (2 - 2 * scores) / whole, -scores / whole
    padded = (hits + 0.5) / (either + 1)
    least = padded * (1 - padded) / either * (2 / (1 + padded) ** 2) ** 2
    wider = _wider(least, hits * hit**2 + (either - hits) * miss**2)
    right = targets == predicted
    influence = np.where(right, hit[predicted], miss[predicted]) * wider[predicted]
    missed = known & ~right
    influence[missed] += (miss * wider)[targets[missed]]
    error = math.sqrt(float((influence**2).sum())) / len(there)
    return float(scores[there].mean()), error, len(there), _items(least[there], either[there])


def area_under_curve(targets: np.ndarray, outputs: np.ndarray) -> Figure:
    """Return the mean over the classes of the area under the curve of hits against false alarms, each class against all others;
    of two classes it is that of one. Classes that no item has, or all have, are left out.

    Args:
        targets: (N,) int; -1 is none of the classes.
        outputs: (N, C): what ranks the items for a class.
    """
    from scipy.stats import rankdata

    count = len(targets)
    total, influence, judged = 0.0, np.zeros(count), 0
    parts: list[tuple[float, int]] = []
    for c in range(1 if outputs.shape[1] == 2 and (targets >= 0).all() else outputs.shape[1]):
        on = targets == c
        positive = int(on.sum())
        if not 0 < positive < count:
            continue
        # How many of the other kind an item is ranked above, ties by half: its rank among all less that among its own.
        above = rankdata(outputs[:, c])
        above[on] -= rankdata(outputs[on, c])
        above[~on] -= rankdata(outputs[~on, c])
        share = np.where(on, above / (count - positive), 1 - above / positive)
        value = float(share[on].mean())
        total, judged = total + value, judged + 1
        sizes = np.where(on, positive, count - positive)
        own = (share - value) / np.sqrt(sizes * np.maximum(sizes - 1, 0.5))
        influence += own
        parts += [(float((own[side] ** 2).sum()), int(side.sum())) for side in (on, ~on)]
    if not judged:
        return math.nan, math.nan, 0, 0
    error = math.sqrt(float((influence**2).sum())) / judged
    return total / judged, error, judged, _items(*np.array(parts).T)


def _items(variances: np.ndarray, counts: np.ndarray) -> int:
    """Of how many items the sum of some variances is known, each of so many (Welch 1947, Satterthwaite 1946)."""
    whole = float((variances**2 / np.maximum(counts - 1, 0.5)).sum())
    return max(int(float(variances.sum()) ** 2 / whole) + 1, 2) if whole > 0 else int(counts.min())


def _wider(least: Any, found: Any) -> Any:
    """By how much influences are raised whose squares sum to ``found``: a class of few items shows less than its true spread."""
    return np.sqrt(np.maximum(least / np.maximum(found, 1e-300), 1)) * (found > 0) + (found <= 0)
