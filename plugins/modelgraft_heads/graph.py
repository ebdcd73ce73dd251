"""Graphs over items, and labels spread over them (Zhou et al., "Learning with local and global consistency", NeurIPS 2004)."""

from __future__ import annotations

import numpy as np
import torch
from modelgraft.errors import ModelgraftError
from scipy import linalg, sparse

from modelgraft_heads.base import tiles

POWER = 3.0
"""Exponent on the cosine in a k-NN graph (Iscen et al., CVPR 2019, arXiv 1904.04717)."""


def nearest(vectors: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(cosines, indices), each (N, k), of the k nearest others of every row of ``vectors`` (N, D) of length 1; k < N. In tiles."""
    cosines, indices = [], []
    for rows in tiles(len(vectors), len(vectors)):
        similarity = vectors[rows] @ vectors.T
        here = torch.arange(rows.start, rows.stop, device=vectors.device)
        similarity[
            torch.arange(len(here), device=vectors.device), here
        ] = -2.0  # below any cosine: not its own neighbour
        top = similarity.topk(k, dim=1)
        cosines.append(top.values)
        indices.append(top.indices)
    return torch.cat(cosines), torch.cat(indices)


def knn_affinity(cosines: torch.Tensor, indices: torch.Tensor) -> sparse.csr_array:
    """(N, N) float64, symmetric, zero diagonal: A + Aᵀ, where A holds max(cosine, 0)³ of each item's k nearest."""
    count, k = indices.shape
    weights = cosines.double().clamp(min=0).pow(POWER).cpu().numpy().ravel()
    starts = np.arange(0, count * k + 1, k)
    directed = sparse.csr_array((weights, indices.cpu().numpy().ravel(), starts), shape=(count, count))
    return (directed + directed.T).tocsr()


def rbf_affinity(points: np.ndarray, gamma: float) -> np.ndarray:
    """(N, N) float64, zero diagonal: exp(−γ‖x − y‖²) of points (N, D)."""
    from sklearn.metrics.pairwise import rbf_kernel

    affinity = rbf_kernel(points, gamma=gamma)
    np.fill_diagonal(affinity, 0.0)
    return affinity


def normalised(affinity: np.ndarray | sparse.csr_array) -> np.ndarray | sparse.csr_array:
    """S = D^-½ W D^-½ of a symmetric affinity W with zero diagonal; an item without neighbours keeps a row of zeros."""
    degrees = np.asarray(affinity.sum(axis=1)).ravel()
    inverse = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    if isinstance(affinity, np.ndarray):
        return inverse[:, None] * affinity * inverse
    diagonal = sparse.diags_array(inverse)
    return (diagonal @ affinity @ diagonal).tocsr()


def spread(
    graph: np.ndarray | sparse.csr_array, labels: np.ndarray, alpha: float, tolerance: float = 1e-12, most: int = 10_000
) -> np.ndarray:
    """(1 − α)(I − αS)⁻¹Y, float64 (N, C): what labels become once they have spread.

    Args:
        graph: S (N, N) as `normalised` gives it. Dense: solved by Cholesky; sparse: by conjugate gradients, all columns at once.
        labels: Y (N, C) float64; a row of zeros for an item without a label.
        alpha: share taken from the neighbours, in (0, 1).
        tolerance: norm of the residual of each column, relative to Y's, at which the sparse solution stops.
        most: iterations at most.

    Raises:
        ModelgraftError: the sparse solution has not come that near within ``most`` iterations.
    """
    right = (1 - alpha) * labels
    if isinstance(graph, np.ndarray):
        return linalg.solve(np.eye(len(graph)) - alpha * graph, right, assume_a="pos")
    solution = right.copy()
    residual = right - (solution - alpha * (graph @ solution))
    direction, squared = residual.copy(), (residual**2).sum(axis=0)
    goal = tolerance**2 * (right**2).sum(axis=0)
    for _ in range(most):
        open_columns = squared > goal
        if not open_columns.any():
            return solution
        image = direction - alpha * (graph @ direction)
        curvature = (direction * image).sum(axis=0)
        step = np.divide(squared, curvature, out=np.zeros_like(squared), where=open_columns & (curvature > 0))
        solution += step * direction
        residual -= step * image
        before, squared = squared, (residual**2).sum(axis=0)
        direction = residual + np.divide(squared, before, out=np.zeros_like(squared), where=before > 0) * direction
    raise ModelgraftError(f"label spreading did not converge in {most} steps at alpha={alpha}; give a smaller alpha")


def distributions(spread_labels: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; a row that no label has reached gives all classes alike."""
    spread_labels = np.maximum(spread_labels, 0.0)  # the solver's rounding may leave -1e-18
    total = spread_labels.sum(axis=1, keepdims=True)
    even = np.full_like(spread_labels, 1 / spread_labels.shape[1])
    return np.divide(spread_labels, total, out=even, where=total > 0)
