"""What more labels may bring: a power law through a learning curve, and how far it can be believed.

The error falls as ``a + b n^-c`` with the number of labels n (Cortes et al. 1994, "Learning Curves: Asymptotic Values and Rate of
Convergence"; Hestness et al. 2017, arXiv 1712.00409). Its interval is a bootstrap over the items, the curve fitted anew to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

RESAMPLES: Final = 200
LEAST: Final = 4
"""Sizes that a curve of three numbers is fitted to."""
_RATES: Final = np.linspace(0.05, 2.0, 40)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The accuracy that is to be expected with so many labels."""

    labels: int
    value: float
    low: float
    high: float
    """95 % interval of the fitted curve; that accuracy follows such a curve is taken for granted."""


def forecast(sizes: Sequence[int], right: np.ndarray, wanted: Sequence[int], seed: int = 0) -> list[Forecast]:
    """Return what is to be expected of ``wanted`` numbers of labels.

    Args:
        sizes: S numbers of labels, at least `LEAST`.
        right: (S, N), 1 where an item was predicted right after training on so many labels, else 0.
        wanted: numbers of labels.
        seed: of the bootstrap.

    Raises:
        UsageError: too few sizes, rows that are not of these sizes.
    """
    n = np.asarray(sizes, np.float64)
    hits = np.asarray(right, np.float64)
    if len(set(sizes)) < LEAST or (n <= 0).any():
        raise UsageError(
            f"a learning curve is fitted to at least {LEAST} different numbers of labels, not {list(sizes)}"
        )
    if hits.ndim != 2 or len(hits) != len(n) or not hits.shape[1]:
        raise UsageError(f"answers {hits.shape} of {len(n)} numbers of labels; give a row for each")
    count = hits.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    curves = np.concatenate([[hits.mean(axis=1)], weights @ hits.T / count])
    at = np.asarray(wanted, np.float64)
    found = _fitted(n, curves, at, count)
    drawn_low, drawn_high = np.quantile(found[1:], [0.025, 0.975], axis=0)
    # At each end the wider of the percentile and the reversed percentile: errors are cut off at 0, which skews what is drawn.
    low = np.clip(np.minimum(drawn_low, 2 * found[0] - drawn_high), 0.0, 1.0)
    high = np.clip(np.maximum(drawn_high, 2 * found[0] - drawn_low), 0.0, 1.0)
    return [
        Forecast(int(labels), float(value), float(below), float(above))
        for labels, value, below, above in zip(wanted, found[0], low, high, strict=True)
    ]


def _fitted(n: np.ndarray, accuracy: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """(B, W) the accuracies at ``at`` (W,) of the best of all curves for each row of ``accuracy`` (B, S): weighed least squares
    with a and b of 0 or more, for each rate c of a grid."""
    error = 1 - accuracy
    padded = (error * count + 0.5) / (count + 1)
    weight = count / (padded * (1 - padded))
    best, out = np.full(len(error), np.inf), np.empty((len(error), len(at)))
    for rate in _RATES:
        falls = (n / n[-1]) ** -rate
        a, b = _not_below_zero(falls, error, weight)
        misfit = (weight * (a[:, None] + b[:, None] * falls - error) ** 2).sum(axis=1)
        better = misfit < best - 1e-12
        best[better] = misfit[better]
        out[better] = (1 - (a[:, None] + b[:, None] * (at / n[-1]) ** -rate))[better]
    return np.clip(out, 0.0, 1.0)


def _not_below_zero(falls: np.ndarray, error: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B,) a and (B,) b, both 0 or more, of the least squares ``error ~ a + b falls``."""
    whole = weight.sum(axis=1)
    x, y = (weight * falls).sum(axis=1) / whole, (weight * error).sum(axis=1) / whole
    squares, products = (weight * falls**2).sum(axis=1), (weight * falls * error).sum(axis=1)
    b = np.maximum((products - whole * x * y) / (squares - whole * x**2), 0.0)
    a = y - b * x
    return np.maximum(a, 0.0), np.where(a < 0, products / squares, b)
