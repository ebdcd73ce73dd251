"""k-means and spherical k-means on features, the number of clusters, and how clusters agree with labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from modelgraft.errors import UsageError

Method = Literal["kmeans", "spherical"]
METHODS: Final = ("kmeans", "spherical")
MOST_TRIED: Final = 20
"""The largest number of clusters that is tried where none is given."""
_STARTS: Final = 8
_ITERATIONS: Final = 300
_SAMPLE: Final = 2000


@dataclass(frozen=True, slots=True)
class Clustering:
    """A division of N items into k clusters, the largest first."""

    labels: np.ndarray
    """(N,) int64: the cluster of each item."""
    centres: np.ndarray
    """(k, D) float64; of length 1 for spherical k-means."""
    objective: float
    """What was minimised: the sum of squared distances to the centres, or for spherical k-means of 1 - cosine."""
    method: Method


@dataclass(frozen=True, slots=True)
class Agreement:
    """How clusters agree with labels. Renumbering clusters or classes changes none of it."""

    accuracy: float
    """Share of items whose class is the one that their cluster stands for, by the matching of clusters to classes, one to
    one, for which this share is largest (Kuhn 1955)."""
    nmi: float
    """Normalised mutual information, arithmetic mean (Strehl and Ghosh 2002)."""
    ari: float
    """Adjusted Rand index (Hubert and Arabie 1985): 0 for chance, 1 for equal."""
    classes: dict[int, int]
    """Cluster -> the class it is matched to."""


def kmeans(features: np.ndarray, k: int, method: Method = "spherical", seed: int = 0) -> Clustering:
    """Cluster the rows of ``features`` (N, D), which are finite.

    ``kmeans`` is scikit-learn's (Lloyd's algorithm, k-means++ starts). ``spherical`` is the k-means of directions (Dhillon and
    Modha 2001): rows are normalised, an item belongs to the centre of the largest cosine, and a centre is the normalised sum of its
    items; a cluster that has become empty starts again at the item farthest from its centre. Starts are k-means++ on the
    normalised rows, where the squared distance is twice 1 - cosine; of 8 starts the best is taken.

    Raises:
        UsageError: no such method, k below 1 or above the number of items, rows of zeros under ``spherical``.
    """
    rows = np.asarray(features, np.float64)
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if rows.ndim != 2:
        raise UsageError(f"features of shape {rows.shape}; (items, numbers) is needed")
    if not 1 <= k <= len(rows):
        raise UsageError(f"{k} clusters of {len(rows)} items; between 1 and the number of items is possible")
    if method == "kmeans":
        from sklearn.cluster import KMeans

        found = KMeans(k, n_init=_STARTS, max_iter=_ITERATIONS, random_state=seed).fit(rows)
        return _ordered(found.labels_, found.cluster_centers_, float(found.inertia_), method)
    rows = unit(rows)
    from sklearn.cluster import kmeans_plusplus

    rng = np.random.RandomState(seed)
    runs = [_spherical(rows, kmeans_plusplus(rows, k, random_state=rng)[0]) for _ in range(_STARTS)]
    labels, centres, objective = min(runs, key=lambda run: run[2])
    return _ordered(labels, centres, objective, method)


def choose_k(
    features: np.ndarray, method: Method = "spherical", seed: int = 0, ks: Sequence[int] | None = None
) -> tuple[int, list[tuple[int, float]]]:
    """The number of clusters with the largest mean silhouette (Rousseeuw 1987), and (k, silhouette) of all that were tried.

    Args:
        features: (N, D), at least 3 rows.
        ks: what to try; None is 2 to 20, at most the square root of N and at least 2 to 3.

    Raises:
        UsageError: fewer than 3 items, nothing to try.
    """
    if len(features) < 3:
        raise UsageError(f"{len(features)} items: the number of clusters cannot be chosen; 3 or more are needed")
    most = min(MOST_TRIED, max(3, math.isqrt(len(features))), len(features) - 1)
    tried = list(range(2, most + 1)) if ks is None else sorted(set(ks))
    if not tried or not all(2 <= k < len(features) for k in tried):
        raise UsageError(
            f"the silhouette needs 2 to {len(features) - 1} clusters of {len(features)} items, not {tried}"
        )
    scores = [(k, silhouette(features, kmeans(features, k, method, seed).labels, method, seed)) for k in tried]
    return max(scores, key=lambda pair: (pair[1], -pair[0]))[0], scores


def silhouette(features: np.ndarray, labels: np.ndarray, method: Method = "spherical", seed: int = 0) -> float:
    """Mean silhouette in [-1, 1] by the distance of the method (1 - cosine, or Euclidean), on at most 2,000 items.

    NaN where there is only one cluster, or as many as items.
    """
    from sklearn.metrics import silhouette_score

    index = np.arange(len(features))
    if len(features) > _SAMPLE:
        index = np.sort(np.random.default_rng(seed).choice(len(features), _SAMPLE, replace=False))
    if not 1 < len(np.unique(labels[index])) < len(index):
        return math.nan
    metric = "cosine" if method == "spherical" else "euclidean"
    return float(silhouette_score(np.asarray(features)[index], labels[index], metric=metric))


def agreement(clusters: np.ndarray, targets: np.ndarray) -> Agreement:
    """How clusters (N,) agree with class numbers (N,); items without a label (-1) are left out.

    Where there are more clusters than classes, some stand for no class and their items count as wrong; where there are fewer,
    some classes cannot be right.

    Raises:
        UsageError: no item has a label.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    known = np.asarray(targets) >= 0
    if not known.any():
        raise UsageError("no item has a label to compare the clusters with")
    names, found = np.unique(np.asarray(clusters)[known], return_inverse=True)
    classes, true = np.unique(np.asarray(targets)[known], return_inverse=True)
    table = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(table, (found, true), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return Agreement(
        float(table[rows, columns].sum() / known.sum()),
        float(normalized_mutual_info_score(true, found)),
        float(adjusted_rand_score(true, found)),
        {int(names[r]): int(classes[c]) for r, c in zip(rows, columns, strict=True) if table[r, c]},
    )


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1.

    Raises:
        UsageError: a row of zeros has no direction.
    """
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (length > 0).all():
        raise UsageError(f"the features of item {int(np.argmin(length))} are all 0: it has no direction to compare by")
    return np.asarray(rows / length)


def _spherical(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    labels = np.full(len(rows), -1)
    for _ in range(_ITERATIONS):
        cosine = rows @ centres.T
        new = cosine.argmax(axis=1)
        own = cosine[np.arange(len(rows)), new]
        for empty in np.setdiff1d(np.arange(len(centres)), new):
            farthest = int(np.where(np.bincount(new, minlength=len(centres))[new] > 1, own, np.inf).argmin())
            new[farthest], own[farthest] = empty, 1.0
        if (new == labels).all():
            break
        labels = new
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, rows)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 1e-12, sums / np.maximum(length, 1e-12), centres)  # items that cancel out: it stays
    return labels, centres, float((1 - (rows * centres[labels]).sum(axis=1)).sum())


def _ordered(labels: np.ndarray, centres: np.ndarray, objective: float, method: Method) -> Clustering:
    """The largest cluster first, so that numbers mean something and do not depend on the start."""
    order = np.argsort(-np.bincount(labels, minlength=len(centres)), kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return Clustering(number[labels], np.asarray(centres[order], np.float64), objective, method)
