"""Nearest items and items far from all others, by cosine, exactly, in bounded memory."""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.explore.clusters import unit

TILE: Final = 1 << 22
"""Cosines that are held at once."""
NEIGHBOURS: Final = 10


def nearest(
    features: np.ndarray, queries: np.ndarray | None = None, k: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """The k items of the largest cosine with each query, the nearest first; equal ones in the order of the items.

    Args:
        features: (N, D).
        queries: (M, D); None asks for the neighbours of the items themselves, each without itself.
        k: at most N (N - 1 without queries); more is cut to that.

    Returns:
        (M, k) int64 indices and (M, k) float64 cosines.

    Raises:
        UsageError: widths differ, k below 1, rows of zeros.
    """
    rows = unit(np.asarray(features, np.float64))
    asked = rows if queries is None else unit(np.asarray(queries, np.float64))
    if asked.shape[1:] != rows.shape[1:]:
        raise UsageError(f"features of {rows.shape[1]} numbers and queries of {asked.shape[1]} cannot be compared")
    most = len(rows) - (queries is None)
    if k < 1 or most < 1:
        raise UsageError(f"{k} neighbours among {most} other items; at least 1 of 1 is needed")
    k = min(k, most)
    indices, cosines = [], []
    for start in range(0, len(asked), step := max(1, TILE // len(rows))):
        cosine = asked[start : start + step] @ rows.T
        if queries is None:
            cosine[np.arange(len(cosine)), start + np.arange(len(cosine))] = -np.inf
        near = (
            np.argpartition(-cosine, k - 1, axis=1)[:, :k]
            if k < len(rows)
            else np.tile(np.arange(len(rows)), (len(cosine), 1))
        )
        near.sort(axis=1)
        near = np.take_along_axis(near, np.argsort(-np.take_along_axis(cosine, near, 1), axis=1, kind="stable"), 1)
        indices.append(near)
        cosines.append(np.take_along_axis(cosine, near, 1))
    if not indices:
        return np.zeros((0, k), np.int64), np.zeros((0, k))
    return np.concatenate(indices).astype(np.int64), np.concatenate(cosines)


def outlier_scores(features: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """(N,) float64 in [0, 2]: the mean cosine distance of each item to its k nearest others (Angiulli and Pizzuti 2002).

    Large for items unlike all others: another kind of image, noise, a blank page. Errors as `nearest`.
    """
    return np.asarray(1 - nearest(features, None, k)[1].mean(axis=1))
