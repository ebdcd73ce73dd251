"""The mean of one score over several draws of training items, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelgraft_adapters.metrics.intervals import CONFIDENCE, Z
from modelgraft_adapters.metrics.scores import Score


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The main score on the test split after training on few labels."""

    shots: int | None
    """Labelled items of each class (of a regression: items); None: all there are."""
    items: float
    """Labelled items that were trained on, the mean over the seeds."""
    mean: float
    low: float
    high: float
    """Mean over the seeds, and its 95 % interval (`mean_interval`)."""
    scores: tuple[float, ...]
    """One for each seed."""


def mean_interval(scores: Sequence[Score]) -> tuple[float, float, float]:
    """(mean, low, high): the mean of the scores of S draws of training items on one test set, and its 95 % interval.

    Two things vary, the draw and the test items. With s the standard deviation of the S scores, and e the mean of their own
    squared standard errors (half the width of the interval / 1.96: the sampling of the test items, which more draws do not
    reduce), the variance is s**2 / S + e and the interval mean +- t * sqrt(variance), with t of the degrees of freedom of Welch
    (1947) and Satterthwaite (1946), S - 1 for the draws and any number for the items. What draws and items do together is
    counted in both terms, so the interval is rather too wide than too narrow. One seed has the interval of its own score.
    """
    if len(scores) == 1:
        return scores[0].value, scores[0].low, scores[0].high
    found = mean_spread(scores)
    half = found.quantile(CONFIDENCE) * found.error
    return found.centre, found.centre - half, found.centre + half


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, and how well it is known."""

    centre: float
    error: float
    """Its standard error, over seeds and test items."""
    freedom: float
    """Degrees of freedom of the error; infinite where the test items alone make it."""

    def quantile(self, confidence: float) -> float:
        """Return how many errors the interval reaches each way."""
        from scipy.stats import norm, t

        tail = (1 + confidence) / 2
        return float(norm.ppf(tail) if math.isinf(self.freedom) else t.ppf(tail, self.freedom))


def mean_spread(scores: Sequence[Score]) -> Spread:
    """Return the mean of S scores and its error, as `mean_interval` has them; of one score the middle of its interval."""
    values = np.array([score.value for score in scores])
    items = float(np.mean([((score.high - score.low) / (2 * Z)) ** 2 for score in scores]))
    if len(scores) == 1:
        return Spread((scores[0].low + scores[0].high) / 2, math.sqrt(items), math.inf)
    draws = float(values.var(ddof=1)) / len(values)
    freedom = math.inf if draws == 0 else (draws + items) ** 2 / (draws**2 / (len(values) - 1))
    return Spread(float(values.mean()), math.sqrt(draws + items), freedom)
