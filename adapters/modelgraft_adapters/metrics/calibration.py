"""What probabilities are worth: one temperature for all of them, and sets of classes that hold the true one as often as is asked.

Both are learned from items that the model was not trained on. Pure functions on arrays; nothing here knows a model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.metrics.intervals import wilson

KEPT: Final = 2000
"""Held-out items of which the strangeness is kept: of more some are drawn, which leaves the guarantee as it is."""
LEAST: Final = 0.05
MOST: Final = 20.0
"""Temperatures lie between. Where held-out items are all right, or all wrong, none is best."""
_TINY: Final = 1e-12
"""Probabilities below are taken for this: k-NN and others say 0 of what can be."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What held-out items say of a classifier's probabilities."""

    temperature: float
    """Probabilities become p ** (1 / temperature), made to sum to 1; above 1 they were too sure."""
    strangeness: np.ndarray
    """(n,) float64, rising: 1 less the tempered probability of the true class, of each held-out item."""
    source: str
    """Where the items came from, for people: ``folds of the training items``, ``500 items``."""

    def __post_init__(self) -> None:
        rising = self.strangeness.ndim == 1 and bool((np.diff(self.strangeness) >= 0).all())
        within = bool(((self.strangeness >= 0) & (self.strangeness <= 1)).all())
        if not (LEAST <= self.temperature <= MOST and rising and within and len(self.strangeness)):
            raise UsageError("a calibration is damaged: calibrate anew")

    def tempered(self, probabilities: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C) float32 at the temperature; the order of the classes stays."""
        return tempered(probabilities, self.temperature)

    def sets(self, probabilities: np.ndarray, coverage: float) -> np.ndarray:
        """Return (N, C) bool: the classes of each item's set, of probabilities that are tempered already.

        Args:
            coverage: the part of items, of the kind of those held out, whose set holds the true class (at least, on average).

        Raises:
            UsageError: a coverage that is none, or that so few items cannot give.
        """
        return prediction_sets(probabilities, conformal_threshold(self.strangeness, coverage))


def calibrate(probabilities: np.ndarray, targets: np.ndarray, source: str | None = None) -> Calibration:
    """Return what held-out items say.

    Args:
        probabilities: (N, C) of items that the model was not trained on; rows sum to 1.
        targets: (N,) int, the true classes; -1 is one that the model does not know, whose set never holds it.
        source: where they came from; None says how many they are.

    Raises:
        UsageError: no item, or numbers that are no probabilities.
    """
    probabilities, targets = _checked(probabilities, targets)
    temperature = best_temperature(probabilities, targets)
    found = strangeness(tempered(probabilities, temperature), targets)
    if len(found) > KEPT:
        found = np.random.default_rng(0).choice(found, KEPT, replace=False)
    return Calibration(temperature, np.sort(found), f"{len(targets):,} items" if source is None else source)


def best_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature at which the log loss of the true classes is least (Guo et al. 2017, arXiv 1706.04599).

    In 1 / temperature the loss is convex, so that the zero of its slope is found by bisection; it is held to [0.05, 20]. Items of
    an unknown class say nothing, and without any other the temperature is 1.

    Args:
        probabilities: (N, C).
        targets: (N,) int.
    """
    from scipy.optimize import brentq

    known = targets >= 0
    if not known.any() or probabilities.shape[1] < 2:
        return 1.0
    logs, rows = _logs(probabilities[known]), np.arange(int(known.sum()))
    own = logs[rows, targets[known]]

    def slope(sharpness: float) -> float:
        scaled = sharpness * logs
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        expected = (weights * logs).sum(axis=1) / weights.sum(axis=1)
        return float((expected - own).mean())

    low, high = 1 / MOST, 1 / LEAST
    if slope(low) >= 0:
        return MOST
    if slope(high) <= 0:
        return LEAST
    return 1 / float(brentq(slope, low, high, xtol=1e-10))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return (N, C) float32: softmax of the logarithms of probabilities (N, C) by the temperature."""
    if temperature == 1 or not len(probabilities):
        return probabilities.astype(np.float32)
    scaled = _logs(probabilities) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def strangeness(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (N,) float64: 1 less the true class's probability; 1 where it is none of the classes."""
    own = probabilities[np.arange(len(targets)), targets.clip(0)].astype(np.float64)
    return np.where(targets >= 0, 1 - own, 1.0).clip(0, 1)


def conformal_threshold(found: np.ndarray, coverage: float) -> float:
    """Return the strangeness up to which a class belongs to the set (split conformal prediction: Vovk et al. 2005; Sadinle et al.
    2019, arXiv 1609.00451): the ceil((n + 1) * coverage)-th smallest of held-out items.

    For items that come like those held out, the set holds the true class with a probability of at least ``coverage``.

    Args:
        found: (n,) strangeness of held-out items.

    Raises:
        UsageError: a coverage outside (0, 1), or more than n items can give: n / (n + 1).
    """
    checked_coverage(coverage)
    count = len(found)
    place = math.ceil(round((count + 1) * coverage, 9))
    if place > count:
        least = math.ceil(round(coverage / (1 - coverage), 9))
        raise UsageError(
            f"a coverage of {coverage:g} takes at least {least} items to calibrate on, and there are {count}; "
            f"ask for {count / (count + 1):.2g} or less, or calibrate on more"
        )
    return float(np.sort(found)[place - 1])


def prediction_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Return (N, C) bool: the classes whose strangeness, 1 less the probability, is at most ``threshold``."""
    return np.asarray(1 - probabilities.astype(np.float64) <= threshold)


def checked_coverage(coverage: Any) -> float:
    """Return a coverage.

    Raises:
        UsageError: none between 0 and 1.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, (int, float)) or not 0 < coverage < 1:
        raise UsageError(f"coverage={coverage!r}; the part of items whose set holds the true class: above 0, below 1")
    return float(coverage)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    return found


def _checked(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if probabilities.ndim != 2 or targets.shape != (len(probabilities),) or not len(targets):
        raise UsageError(
            f"to calibrate takes probabilities (N, C) and N classes; these are {probabilities.shape} and {targets.shape}"
        )
    sums = probabilities.sum(axis=1)
    if not np.isfinite(probabilities).all() or (probabilities < 0).any() or not np.allclose(sums, 1, atol=1e-3):
        raise UsageError("to calibrate takes probabilities: not below 0, each row with a sum of 1")
    if targets.max() >= probabilities.shape[1]:
        raise UsageError(f"a class of number {targets.max()}, and there are {probabilities.shape[1]}")
    return probabilities, targets


@dataclass(frozen=True, slots=True)
class Worth:
    """What a calibration does to items that it was not learned from."""

    items: int
    log_loss: tuple[float, float]
    """Before and after."""
    calibration_error: tuple[float, float]
    """Before and after."""
    coverage: float
    """That was asked for."""
    covered: float | None
    """Part of the items whose set holds the true class; None where there were too few items for such a coverage."""
    covered_low: float | None
    covered_high: float | None
    """Its 95 % interval (Wilson)."""
    set_size: float | None
    """Mean number of classes in a set."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def worth_of(calibration: Calibration, probabilities: np.ndarray, targets: np.ndarray, coverage: float) -> Worth:
    """Return what a calibration does to other items.

    Args:
        probabilities: (N, C), as the model gives them.
        targets: (N,) int; -1 is an unknown class.
        coverage: of the sets.

    Raises:
        UsageError: as `calibrate`, or a coverage that is none.
    """
    checked_coverage(coverage)
    after = calibration.tempered(_checked(probabilities, targets)[0])
    try:
        sets: np.ndarray | None = calibration.sets(after, coverage)
    except UsageError:
        sets = None
    return _worth(probabilities, after, targets, coverage, sets)


def cross_fitted(
    probabilities: np.ndarray, targets: np.ndarray, coverage: float, seed: int = 0, parts: int = 5
) -> Worth:
    """Return what calibrating on these items is worth: of each part of them what calibrating on the others does to it.

    Args, errors: as `worth_of`; ``seed`` draws the parts.
    """
    checked_coverage(coverage)
    probabilities, targets = _checked(probabilities, targets)
    part = np.random.default_rng(seed).permutation(len(targets)) % min(parts, len(targets))
    after, sets = np.array(probabilities, np.float32), np.zeros(probabilities.shape, bool)
    enough = part.max() > 0
    for number in range(int(part.max()) + 1):
        own, others = part == number, part != number
        if not others.any():
            break
        found = calibrate(probabilities[others], targets[others])
        after[own] = found.tempered(probabilities[own])
        try:
            sets[own] = found.sets(after[own], coverage)
        except UsageError:
            enough = False
    return _worth(probabilities, after, targets, coverage, sets if enough else None)


def _worth(
    before: np.ndarray, after: np.ndarray, targets: np.ndarray, coverage: float, sets: np.ndarray | None
) -> Worth:
    known, rows = targets >= 0, np.arange(len(targets))

    def loss(found: np.ndarray) -> float:
        own = found[rows, targets.clip(0)][known].astype(np.float64)
        return float(-np.log(own.clip(_TINY, 1)).mean()) if known.any() else math.nan

    right = before.argmax(axis=1) == targets
    errors = (calibration_error(before, right), calibration_error(after, right))
    if sets is None:
        return Worth(len(targets), (loss(before), loss(after)), errors, coverage, None, None, None, None)
    held = sets[rows, targets.clip(0)] & known
    ends = wilson(float(held.sum()), len(held))
    size = float(sets.sum(axis=1).mean())
    return Worth(len(targets), (loss(before), loss(after)), errors, coverage, float(held.mean()), *ends, size)


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins of the highest probability (Guo et al. 2017, arXiv 1706.04599)."""
    confidence = probabilities.max(axis=1)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[which == b].mean() - confidence[which == b].mean()) * (which == b).mean() for b in np.unique(which)
    ]
    return float(sum(gaps))
