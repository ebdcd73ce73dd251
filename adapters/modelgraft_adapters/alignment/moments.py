"""Means and covariances of the source made those of the target."""

from __future__ import annotations

from numbers import Real

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.alignment.checks import checked_domains

_RANK: float = 1e-10
"""Eigenvalues below this part of the largest are directions in which nothing varies."""


def mean_shift(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the source (N, D) float64 with the mean of the target (M, D). Errors as `checked_domains`."""
    source, target = checked_domains(source, target)
    return source - source.mean(axis=0) + target.mean(axis=0)


def coral(source: np.ndarray, target: np.ndarray, shrinkage: float | None = None) -> np.ndarray:
    """Return the source (N, D) float64 with the covariance and the mean of the target (M, D).

    Correlation alignment (Sun, Feng and Saenko 2016, arXiv 1511.05547): ``(x - mean_S) C_S^(-1/2) C_T^(1/2) + mean_T``. The
    paper's method alone leaves the gap of the means, which the last term closes. Directions in which the source does not vary
    (with fewer items than numbers and no shrinkage there are some) stay without variance.

    Args:
        source: features of the labelled domain.
        target: features of the other.
        shrinkage: part of each covariance that is taken from a multiple of the identity, in place of the paper's ``C + I``, which
            depends on the features' unit; 0 makes the covariances equal; None is Ledoit and Wolf's (2004) of each, its columns
            standardised.

    Raises:
        UsageError: as `checked_domains`; a shrinkage outside [0, 1].
    """
    source, target = checked_domains(source, target)
    if shrinkage is not None and (
        isinstance(shrinkage, bool) or not isinstance(shrinkage, Real) or not 0 <= shrinkage <= 1
    ):
        raise UsageError(f"shrinkage={shrinkage!r}: a number from 0 to 1, or None for Ledoit and Wolf's")
    whitening = _power(covariance(source, shrinkage), -0.5)
    colouring = _power(covariance(target, shrinkage), 0.5)
    return (source - source.mean(axis=0)) @ (whitening @ colouring) + target.mean(axis=0)


def covariance(features: np.ndarray, shrinkage: float | None) -> np.ndarray:
    """Return the covariance (D, D) float64 of features (N, D), divided by N; ``shrinkage`` as in `coral`."""
    from sklearn.covariance import empirical_covariance, ledoit_wolf, shrunk_covariance

    if shrinkage is None:  # of the standardised columns: none of them is shrunk because of its unit
        spread = features.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        found: np.ndarray = ledoit_wolf((features - features.mean(axis=0)) / spread)[0] * np.outer(spread, spread)
        return found
    empirical = empirical_covariance(features)
    return empirical if shrinkage == 0 else np.asarray(shrunk_covariance(empirical, shrinkage))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix without negative eigenvalues; of its null space 0, whatever the exponent."""
    values, vectors = np.linalg.eigh(matrix)
    alive = values > _RANK * max(values[-1], 0.0)
    powers = np.zeros_like(values)
    powers[alive] = values[alive] ** exponent
    found: np.ndarray = (vectors * powers) @ vectors.T
    return found
