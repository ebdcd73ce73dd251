"""95 % intervals of figures that items give: which one for which figure was chosen by simulation (`benchmarks/coverage.py`)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

CONFIDENCE: Final = 0.95
Z: Final = 1.959964
Interval = tuple[float, float]
UNKNOWN: Final[Interval] = (math.nan, math.nan)
FEW: Final = 50
"""Fewer items, and an interval other than of a plain share may hold the truth less than 93 times in 100."""
FEW_OF_A_CLASS: Final = 5
FEW_FOR_CURVES: Final = 20
"""Fewer items of a class, and an interval of macro F1 or of an AUROC may hold the truth less than 93 times in 100."""
UNEVEN: Final = 0.4
"""Skewness of the items' values by the root of their number; above it a few items decide the mean."""
HEAVY: Final = 3.5
"""Skewness of the items' values; above it, values with a heavier tail than squared normal errors (2.8) are to be expected, of
which a sample rarely holds the largest."""
MORE_SKEW: Final = 1.3
"""What a sample's skewness is multiplied by: it falls short of the truth, most of all where the tail is heavy."""
WIDER: Final = 1.2
"""By how much the interval of R2 is widened where a few items decide."""


def wilson(hits: float, count: float, z: float = Z) -> Interval:
    """Return the interval of a share of ``hits`` in ``count`` independent trials (Wilson 1927); unknown of none, or of
    numbers that are not finite.

    Raises:
        UsageError: fewer hits than none, or more than trials.
    """
    if not count or not math.isfinite(hits) or not math.isfinite(count):
        return UNKNOWN
    if not 0 <= hits <= count * (1 + 1e-9):
        raise UsageError(f"{hits:g} hits in {count:g} trials; an interval takes from 0 to all of them")
    share = min(hits / count, 1.0)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_of_shares(hits: np.ndarray, counts: np.ndarray) -> Interval:
    """Return the interval of the mean of C shares, ``hits`` of ``counts`` each (C,), counts above 0; unknown of none.

    At each end the wider of two: Wilson's intervals of the shares joined by their squares (Zou and Donner 2008), right where one
    small class decides; and Wilson's interval at the number of items that has the variance of the mean, half a hit and half a
    miss added to each class, right where there are many classes.

    Raises:
        UsageError: a count that is not above 0, or hits that are none of it.
    """
    if not len(counts) or not np.isfinite(hits).all():
        return UNKNOWN
    if not (counts > 0).all():
        raise UsageError("a mean of shares takes a count above 0 for each")
    shares = hits / counts
    mean = float(shares.mean())
    ends = np.array([wilson(h, n) for h, n in zip(hits.tolist(), counts.tolist(), strict=True)])
    low = mean - math.sqrt(((shares - ends[:, 0]) ** 2).sum()) / len(shares)
    high = mean + math.sqrt(((ends[:, 1] - shares) ** 2).sum()) / len(shares)
    padded = (hits + 0.5) / (counts + 1)
    variance = float((padded * (1 - padded) / counts).sum()) / len(shares) ** 2
    middle = float(padded.mean())
    size = max(middle * (1 - middle) / variance, 1.0)
    other = wilson(mean * size, size)
    return max(0.0, min(low, other[0])), min(1.0, max(high, other[1]))


def mean_of_losses(values: np.ndarray) -> Interval:
    """Return the interval of the mean of values (N,) that are not below 0; unknown of one, of equal ones, of some not finite.

    At each end the wider of two: Student's t with Hall's correction for skewness (Hall 1992, "On the removal of skewness by
    transformation"), and Student's t on the scale of the logarithm, right where the mean is of many small and a few large values.

    Raises:
        UsageError: a value below 0.
    """
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        return UNKNOWN
    if (values < 0).any():
        raise UsageError(f"a loss of {values.min():g}; losses are not below 0")
    one = unit_of(values)
    values = values / one
    spread, mean = float(values.std()), float(values.mean())
    if spread <= 1e-12 * mean:
        return UNKNOWN
    scale = MORE_SKEW * skewness(values) / math.sqrt(count)
    error = spread / math.sqrt(count - 1)

    def turned(t: float) -> float:
        if abs(scale) < 1e-6:
            return t
        return 3 / scale * (math.copysign(abs(1 + scale * (t - scale / 6)) ** (1 / 3), 1 + scale * (t - scale / 6)) - 1)

    t = student(count - 1)
    low, high = max(0.0, mean - turned(t) * error), mean - turned(-t) * error
    times = math.exp(t * error / mean)
    low, high = min(low, mean / times) * one, max(high, mean * times) * one
    return (low, high) if math.isfinite(high) else UNKNOWN


def few_decide(values: np.ndarray) -> bool:
    """Tell whether a few of the values (N,) decide their mean, or are likely to among more of their kind."""
    values = values / unit_of(values)
    if len(values) < 3 or not values.std() > 1e-12 * abs(values.mean()):
        return False
    skew = skewness(values)
    return skew > HEAVY or skew / math.sqrt(len(values)) > UNEVEN


def unit_of(values: np.ndarray) -> float:
    """Return the power of two by which the largest of values comes to [0.5, 1), so that squares and sums neither over- nor
    underflow; 1 where all are 0."""
    largest = float(np.abs(np.asarray(values, np.float64)).max(initial=0.0))
    return math.ldexp(1.0, min(math.frexp(largest)[1], 1023)) if 0 < largest < math.inf else 1.0


def skewness(values: np.ndarray) -> float:
    """Return the third central moment of values (N,) that are not all one, by the cube of their deviation."""
    centred = (values - values.mean()) / values.std()
    return float((centred**3).mean())


def share_with_error(value: float, error: float, count: int) -> Interval:
    """Return the interval of a figure in [0, 1] with a standard error, of ``count`` items: Student's t on the scale of log odds.

    At 0 and 1 there is no error to be seen, and it is that of a plain share. Unknown where a number is not finite.
    """
    if not math.isfinite(value) or not math.isfinite(error):
        return UNKNOWN
    if not 1e-9 < value < 1 - 1e-9 or not error > 0:
        return wilson(value * count, count)
    half = student(count - 1) * error / (value * (1 - value))
    odds = math.log(value / (1 - value))
    return tuple(1 / (1 + math.exp(-max(min(end, 700.0), -700.0))) for end in (odds - half, odds + half))  # type: ignore[return-value]


def explained(errors: np.ndarray, spreads: np.ndarray, rng: np.random.Generator, resamples: int) -> Interval:
    """Return the interval of R2, the mean over K columns of ``1 - sum(errors) / sum(spreads**2)``.

    At each end the wider of two, on the scale of the logarithm of what is not explained: the studentised bootstrap over items
    (Hall 1988), made wider by a fifth where a few items decide; and Student's t.

    Args:
        errors: (N, K), squared errors.
        spreads: (N, K), targets less their mean; no column is all 0.
    """
    count = len(errors)
    if count < 3 or not float(errors.sum()) > 0:
        return UNKNOWN
    weights = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)

    def logs(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithm of the unexplained part and its standard error, for weights (B, N)."""
        means = w @ spreads / count
        error, spread = w @ errors / count, w @ spreads**2 / count - means**2
        ratio = error / np.maximum(spread, 1e-300)
        whole = ratio.sum(axis=1)
        squares = np.zeros(len(w))
        for begin in range(0, len(w), 64):  # (64, N, K) at a time
            some = slice(begin, begin + 64)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                own = errors[None] / np.maximum(spread[some, None], 1e-300)
                moved = own - ratio[some, None] * (spreads[None] - means[some, None]) ** 2 / np.maximum(
                    spread[some, None], 1e-300
                )
                part = moved.sum(axis=2) / np.maximum(whole[some, None], 1e-300)
                squares[some] = (w[some] * part**2).sum(axis=1)
        return np.log(np.maximum(whole, 1e-300) / errors.shape[1]), np.sqrt(squares / (count * (count - 1)))

    value, error = (float(found[0]) for found in logs(np.ones((1, count))))
    drawn, errors_drawn = logs(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (drawn - value) / errors_drawn
    ratios = ratios[np.isfinite(ratios)]
    if not error > 0 or len(ratios) < max(20, resamples // 2):
        return UNKNOWN
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    t = student(count - 1)
    wider = WIDER if few_decide(errors.mean(axis=1)) or few_decide((spreads**2).mean(axis=1)) else 1.0
    low, high = min(wider * float(low), -t), max(wider * float(high), t)
    logarithms = (value - low * error, value - high * error)
    if not max(logarithms) < 700:  # a few items, one of them nearly all of the spread: nothing is known
        return UNKNOWN
    return 1 - math.exp(logarithms[0]), 1 - math.exp(logarithms[1])


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, max(freedom, 1)))
