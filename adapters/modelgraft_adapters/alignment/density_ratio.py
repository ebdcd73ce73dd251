"""How much more frequent each source item is in the target: weights under which the source has the target's inputs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.alignment.checks import checked_domains

CLIP: Final = 10.0
STRENGTHS: Final = tuple(10.0**power for power in range(-5, 2))
FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class Importance:
    """Weights of the source items, and how far they can be believed."""

    weights: np.ndarray
    """(N,) float64 with mean 1."""
    effective: float
    """Items that an unweighted mean of the same variance would have: Kish's ``(sum w)^2 / sum w^2``."""
    separable: float
    """Share of items whose domain the classifier tells on folds it was not trained on, both domains counting alike: 0.5 where the
    domains cannot be told apart, 1 where they have nothing in common and weights say nothing."""


def importance(source: np.ndarray, target: np.ndarray, *, seed: int = 0, clip: float = CLIP) -> Importance:
    """Return the density ratio ``p_T(x) / p_S(x)`` at each source item, by a logistic classifier of the domains.

    The odds of a classifier that tells target from source are the ratio of the densities times M / N (Bickel, Brueckner and
    Scheffer 2007; Sugiyama, Suzuki and Kanamori 2012). Each item is asked of a classifier that has not seen it (5 folds), at
    the strength with the best log loss on the same folds; seen items of many numbers are told apart whatever they are, and
    their odds mean nothing.

    Args:
        source: (N, D), features of the labelled domain.
        target: (M, D), those of the other.
        seed: of the folds.
        clip: the largest weight, where the mean is 1, before the mean is made 1 again: a few items must not be all that counts.

    Raises:
        UsageError: as `checked_domains` (a domain needs as many items as there are folds); a clip that is no number of 1 or more.
    """
    source, target = checked_domains(source, target, FOLDS)
    if isinstance(clip, bool) or not isinstance(clip, Real) or not clip >= 1:
        raise UsageError(f"clip={clip!r}: a number of 1 or more, the largest weight in means")
    from sklearn.model_selection import StratifiedKFold

    both = np.concatenate([source, target])
    spread = both.std(axis=0)
    both = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    domain = np.repeat([0, 1], [len(source), len(target)])
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(both, domain))
    odds = min((_held_out(both, domain, folds, c) for c in STRENGTHS), key=lambda found: _log_loss(found, domain))
    raw = np.exp(np.clip(odds[: len(source)] - odds[: len(source)].max(), -700, 0))
    weights = raw / raw.mean()
    weights = np.minimum(weights, clip)
    weights = weights / weights.mean()
    right = (odds > 0) == (domain == 1)
    separable = (right[domain == 0].mean() + right[domain == 1].mean()) / 2
    return Importance(weights, float(weights.sum() ** 2 / (weights**2).sum()), float(separable))


def _held_out(
    features: np.ndarray, domain: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], strength: float
) -> np.ndarray:
    """(N + M,) float64: the logarithm of the odds of each item for the target, by a classifier that has not seen its fold."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    odds = np.zeros(len(features))
    for inside, held in folds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a ratio of densities is not known to four digits
            found = LogisticRegression(C=strength, max_iter=300).fit(features[inside], domain[inside])
        odds[held] = found.decision_function(features[held])
    return odds


def _log_loss(odds: np.ndarray, domain: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(domain == 1, -odds, odds)).mean())
