"""Classes as clouds of items: their means start from the zero-shot answers and move to where the items are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelgraft_adapters.transductive.checks import checked_features, checked_probabilities, checked_pull
from modelgraft_adapters.transductive.class_shares import PULL

WEIGHT: Final = 0.1
ANCHOR: Final = 10.0
TOLERANCE: Final = 1e-5
STEPS: Final = 200
FLOOR: Final = 1e-4
"""The smallest variance of a number, times their count: items that are all alike have none."""


@dataclass(frozen=True, slots=True)
class ClassMeans:
    """A Gaussian for each class, with one diagonal covariance for all."""

    means: np.ndarray
    """(C, D) float64."""
    variances: np.ndarray
    """(D,) float64."""
    shares: np.ndarray
    """(C,) float64, sum 1."""
    weight: float
    """How much of the log-likelihood counts."""
    settled: bool
    """Whether the steps came to rest."""

    def apply(self, features: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the answers (N, C) float64 for features (N, D) with zero-shot answers (N, C).

        Raises:
            UsageError: as `checked_features`, `checked_probabilities`.
        """
        given = checked_probabilities(probabilities)
        return self._answers(checked_features(features, self.means.shape[1], len(given)), np.log(given))

    def _answers(self, features: np.ndarray, prior: np.ndarray) -> np.ndarray:
        # the squares of the item are the same for all classes
        spread = self.means / self.variances
        likelihood = features @ spread.T - (self.means * spread).sum(axis=1) / 2
        logits = self.weight * likelihood + prior + np.log(self.shares)
        found = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(found / found.sum(axis=1, keepdims=True))


def class_means(
    features: np.ndarray,
    probabilities: np.ndarray,
    *,
    weight: float = WEIGHT,
    anchor: float = ANCHOR,
    pull: float = PULL,
    tolerance: float = TOLERANCE,
    steps: int = STEPS,
) -> ClassMeans:
    """Return Gaussians of the classes, found by expectation maximisation from the zero-shot answers.

    An answer is the zero-shot probability times the share of the class times the likelihood of the features, as in TransCLIP
    (Zanella, Gerin and Ben Ayed 2024) without its graph of neighbours. Beside it, the means at the start, which are weighted by
    the zero-shot answers, count as ``anchor`` items, and so does the variance of all items, since of few items each could be a
    class of its own without any; even shares count as ``pull`` times the items. The numbers of an embedding
    depend on each other, and the likelihood of all of them would drown the texts: ``weight`` of it counts.

    Args:
        features: (N, D), brought to length 1.
        probabilities: (N, C), the zero-shot answers.
        weight: how much of the log-likelihood counts; 0 leaves the shares alone, as `class_shares.estimated_shares`.
        anchor: items that the means at the start and the variance of all items count as.
        pull: how much even shares weigh against the items.
        tolerance: the largest change of an answer at rest.
        steps: at most so many.

    Raises:
        UsageError: as `checked_features`, `checked_probabilities`, `checked_pull`.
    """
    given, pull = checked_probabilities(probabilities), checked_pull(pull)
    features = checked_features(features, items=len(given))
    count, width = given.shape[1], features.shape[1]
    prior, squares = np.log(given), features**2
    start = given.T @ features / given.sum(axis=0)[:, None]
    overall, items = features.var(axis=0), len(features)
    answers, found = given, None
    for _ in range(steps):
        size = answers.sum(axis=0)
        sums = answers.T @ features
        means = (sums + anchor * start) / np.maximum(size + anchor, np.finfo(float).tiny)[:, None]
        within = squares.mean(axis=0) + (size[:, None] * means**2 - 2 * means * sums).sum(axis=0) / items
        within = (items * within + anchor * overall) / (items + anchor)
        shares = (size / items + pull / count) / (1 + pull)
        found = ClassMeans(
            means, np.maximum(within, FLOOR / width), np.maximum(shares, np.finfo(float).tiny), weight, False
        )
        following = found._answers(features, prior)
        change = np.abs(following - answers).max()
        answers = following
        if change <= tolerance:
            return ClassMeans(found.means, found.variances, found.shares, weight, True)
    assert found is not None
    return found
