"""The principal directions of the source turned to those of the target."""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.alignment.checks import checked_domains
from modelgraft_adapters.defaults import is_whole

_SHARE: Final = 0.9
"""Part of the variance that the directions hold where their number is not given."""


def subspace_alignment(source: np.ndarray, target: np.ndarray, dimension: int | None = None) -> np.ndarray:
    """Return the source (N, D) float64 in the subspace of the target (M, D), as features like the target's.

    Subspace alignment (Fernando, Habrard, Sebban and Tuytelaars, ICCV 2013) compares ``(x_S - mean_S) P_S P_S' P_T`` with
    ``(x_T - mean_T) P_T``, where P holds the first d principal directions of a domain. Here both are multiplied by ``P_T'``,
    and the mean of the target is added: a linear head whose penalty is a norm has its weights in the span of what it is trained
        on, so it is
    the head of the d coordinates, and the target needs no projection.

    Args:
        source: features of the labelled domain.
        target: features of the other.
        dimension: d; None is the fewest directions with 90 % of the variance, of the domain that needs fewer.

    Raises:
        UsageError: as `checked_domains`; a dimension that is no whole number from 1 to what both domains have.
    """
    source, target = checked_domains(source, target)
    (share_s, axes_s), (share_t, axes_t) = _directions(source), _directions(target)
    most = min(len(axes_s), len(axes_t))
    if not most:
        raise UsageError("all items of a domain have the same features: there is no subspace to align")
    if dimension is None:
        dimension = min(most, *(int(np.searchsorted(share, _SHARE - 1e-12)) + 1 for share in (share_s, share_t)))
    if not is_whole(dimension) or not 1 <= dimension <= most:
        raise UsageError(
            f"dimension={dimension!r}: a whole number from 1 to {most}, the directions that both domains have"
        )
    basis_s, basis_t = axes_s[:dimension], axes_t[:dimension]
    coordinates = (source - source.mean(axis=0)) @ basis_s.T @ (basis_s @ basis_t.T)
    found: np.ndarray = coordinates @ basis_t + target.mean(axis=0)
    return found


def _directions(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the variance (K,) that the first directions hold together, and the directions (K, D), the largest first."""
    _, sizes, axes = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    alive = sizes > sizes[0] * 1e-10
    variance = sizes[alive] ** 2
    return np.cumsum(variance) / max(variance.sum(), 1e-300), axes[alive]
