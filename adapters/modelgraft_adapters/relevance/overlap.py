"""GBC: how much the classes overlap as Gaussians in the space of the features."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.relevance.checking import checked_features, checked_labels

COMPONENTS: Final = 64
_LEAST: Final = 1e-9
"""Least variance, as a part of the features' mean variance: a class whose items are all one is a narrow Gaussian, not a point."""


def gaussian_overlap(
    features: np.ndarray,
    labels: np.ndarray,
    kind: Literal["spherical", "diagonal"] = "spherical",
    components: int | None = COMPONENTS,
) -> float:
    """Return GBC, minus the sum over ordered pairs of classes of their Bhattacharyya coefficients: 0 or below, 0 without overlap.

    Pándy et al. 2022, "Transferability Estimation using Bhattacharyya Class Separability" (arXiv 2111.12780): features are reduced
    to 64 principal components, and each class is a Gaussian whose covariance is spherical or diagonal.

    Args:
        features: (N, D).
        labels: (N,) class numbers, at least two items of each class.
        kind: of covariance.
        components: principal components that are kept; None keeps the features as they are.

    Raises:
        UsageError: shapes that do not fit, features that are not finite or all one, one class, a class of one item, no such kind.
    """
    if kind not in ("spherical", "diagonal"):
        raise UsageError(f"no kind of covariance {kind!r}; there are spherical and diagonal")
    x = checked_features(features)
    numbers = checked_labels(labels, len(x), least=2)
    x = x - x.mean(axis=0)
    spread = float((x**2).mean())
    if spread == 0:
        raise UsageError("features that are all one separate no classes")
    if components is not None and components < x.shape[1]:
        left, singular, _ = np.linalg.svd(x, full_matrices=False)
        x = (left * singular)[:, :components]
    parts = [x[numbers == n] for n in range(int(numbers.max()) + 1)]
    means = np.stack([part.mean(axis=0) for part in parts])
    variances = np.stack([part.var(axis=0, ddof=1) for part in parts])
    if kind == "spherical":
        variances = np.repeat(variances.mean(axis=1, keepdims=True), x.shape[1], axis=1)
    variances = np.maximum(variances, _LEAST * spread)
    total = 0.0
    for n in range(len(parts) - 1):
        middle = (variances[n] + variances[n + 1 :]) / 2
        apart = ((means[n] - means[n + 1 :]) ** 2 / middle).sum(axis=1) / 8
        shapes = 0.5 * (np.log(middle) - 0.5 * (np.log(variances[n]) + np.log(variances[n + 1 :]))).sum(axis=1)
        total += float(np.exp(-(apart + shapes)).sum())
    return -2 * total
