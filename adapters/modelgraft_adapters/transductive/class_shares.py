"""Zero-shot probabilities under other shares of the classes: as frequent as the items say, or as the user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelgraft_adapters.transductive.checks import checked_probabilities, checked_pull

PULL: Final = 0.5
TOLERANCE: Final = 1e-7
STEPS: Final = 5000


@dataclass(frozen=True, slots=True)
class ClassFactors:
    """A factor on the probability of each class."""

    values: np.ndarray
    """(C,) float64, positive, sum 1."""
    shares: np.ndarray
    """(C,) float64: the mean of the corrected probabilities of the items that the rule was fitted to."""
    settled: bool
    """Whether the steps came to rest."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return corrected probabilities (N, C) float64.

        Raises:
            UsageError: as `checked_probabilities`.
        """
        return _times(checked_probabilities(probabilities), self.values)


def estimated_shares(
    probabilities: np.ndarray, *, pull: float = PULL, tolerance: float = TOLERANCE, steps: int = STEPS
) -> ClassFactors:
    """Return factors that are the classes' shares among the items, estimated without labels.

    Expectation maximisation of Saerens, Latinne and Decaestecker (2002): answers under the shares so far, their mean as the next
    shares, until they rest. The zero-shot answers are taken as those under even shares. Of a model that is unsure of itself this
    can let a class die out; even shares therefore count as ``pull`` times as many items as there are (the mode under a Dirichlet
    prior). With ``pull`` 0 it is the estimate as published.

    Args:
        probabilities: (N, C), rows that sum to 1.
        pull: how much even shares weigh against the items.
        tolerance: the largest change of a share at rest.
        steps: at most so many.

    Raises:
        UsageError: as `checked_probabilities`, `checked_pull`.
    """
    given, pull = checked_probabilities(probabilities), checked_pull(pull)
    count = given.shape[1]
    shares, settled = np.full(count, 1 / count), False
    for _ in range(steps):
        following = (_times(given, shares).mean(axis=0) + pull / count) / (1 + pull)
        settled = bool(np.abs(following - shares).max() <= tolerance)
        shares = following
        if settled:
            break
    return ClassFactors(shares, _times(given, shares).mean(axis=0), settled)


def even_shares(probabilities: np.ndarray, *, tolerance: float = 1e-4, steps: int = STEPS) -> ClassFactors:
    """Return factors under which every class has the same share of the items: for who knows that it is so.

    Rows that sum to 1 and columns that sum to N / C, in turn (Sinkhorn and Knopp 1967). Where the classes are not equally
    frequent this forces answers on items that are none.

    Args:
        probabilities: (N, C), rows that sum to 1.
        tolerance: the largest difference of a share from 1 / C, as a part of it, at rest.
        steps: at most so many.

    Raises:
        UsageError: as `checked_probabilities`.
    """
    given = checked_probabilities(probabilities)
    count = given.shape[1]
    factors, settled = np.full(count, 1 / count), False
    shares = given.mean(axis=0)
    for _ in range(steps):
        settled = bool(np.abs(shares * count - 1).max() <= tolerance)
        if settled:
            break
        factors = factors / shares
        factors = factors / factors.sum()
        shares = _times(given, factors).mean(axis=0)
    return ClassFactors(factors, shares, settled)


def _times(probabilities: np.ndarray, factors: np.ndarray) -> np.ndarray:
    found = probabilities * factors
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=probabilities.copy(), where=total > 0)
