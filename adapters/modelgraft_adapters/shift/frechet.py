"""Frechet distance of two samples, taken as Gaussians: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelgraft_adapters.shift.sides import checked_sides

SHUFFLES: Final = 5


@dataclass(frozen=True, slots=True)
class Frechet:
    """The squared Frechet distance |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))."""

    value: float
    """Of the samples as they are. Too large where they are small: it is far above 0 for two samples of one distribution."""
    by_chance: float
    """Mean of the same number of items dealt to the sides at random: about what ``value`` is without any difference."""
    of_means: float
    """The first term."""

    @property
    def beyond_chance(self) -> float:
        """``value`` less what chance alone gives, and not below 0."""
        return max(self.value - self.by_chance, 0.0)


def frechet(
    source: np.ndarray, target: np.ndarray, *, seed: int = 0, shuffles: int = SHUFFLES, least: int = 2
) -> Frechet:
    """Return the squared Frechet distance of features (N, D) and (M, D), beside what chance gives at these N and M.

    Its bias goes with 1 / N (Chong and Forsyth 2020, arXiv 1911.07023), and below D items it can be most of the value: figures of
    other numbers of items are not to be compared.

    Args:
        shuffles: how often items are dealt anew for ``by_chance``; 0 leaves it NaN.

    Raises:
        UsageError: as `checked_sides`.
    """
    one, other = checked_sides(source, target, max(least, 2))
    value, means = _distance(one, other)
    rows, rng, chance = np.concatenate([one, other]), np.random.default_rng(seed), []
    for _ in range(shuffles):
        order = rng.permutation(len(rows))
        chance.append(_distance(rows[order[: len(one)]], rows[order[len(one) :]])[0])
    return Frechet(value, float(np.mean(chance)) if chance else float("nan"), means)


def _distance(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The squared distance and its first term.

    With centred rows A and B over the root of their degrees of freedom, tr (S1 S2)^(1/2) is the sum of singular values of A B^T:
    no root of a matrix is taken, and no covariance is formed.
    """
    apart = one.mean(axis=0) - other.mean(axis=0)
    means = float(apart @ apart)
    halves = [_half(side) for side in (one, other)]
    spread = sum(float((half**2).sum()) for half in halves)
    common = float(np.linalg.svd(halves[0] @ halves[1].T, compute_uv=False).sum())
    return max(means + spread - 2 * common, means), means


def _half(side: np.ndarray) -> np.ndarray:
    """(K, D), K at most N and D, whose products with itself are the covariance."""
    centred = (side - side.mean(axis=0)) / np.sqrt(len(side) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))
