"""H-score: how much of the features' variance, in every direction alike, is between the classes.

Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning" (ICIP):
``tr(cov(f)^-1 cov(E[f|y]))``.
"""

from __future__ import annotations

import numpy as np

from modelgraft_adapters.relevance.checking import checked_features, checked_labels


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the H-score: the sum of the squared canonical correlations of features and one-hot labels, between 0 and C - 1.

    An invertible affine map of the features changes nothing. With as many numbers an item as items every class is told apart, and
    the score is C - 1 whatever the features are: `shrunk_h_score` is for that.

    Args:
        features: (N, D), of any rank.
        labels: (N,) class numbers.

    Raises:
        UsageError: shapes that do not fit, features that are not finite, one class, items without a label.
    """
    x = checked_features(features)
    numbers = checked_labels(labels, len(x))
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    kept = singular > singular.max(initial=0.0) * max(x.shape) * np.finfo(np.float64).eps
    counts, means = _class_means(left[:, kept], numbers)
    return float((counts[:, None] * means**2).sum())


def shrunk_h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the H-score with the covariance shrunk to a multiple of the identity (Ibrahim et al. 2022, "Newer is not always
    better", arXiv 2110.06893; strength by Ledoit and Wolf 2004): defined and of use for more numbers than items.

    ``(1 - s) tr(((1 - s) cov(f) + s m I)^-1 cov(E[f|y]))``, m the mean variance. Arguments and errors as `h_score`.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    x = checked_features(features)
    numbers = checked_labels(labels, len(x))
    centred = x - x.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    if singular.max(initial=0.0) == 0:
        return 0.0
    strength = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    variances = singular**2 / len(x)
    mean = float(variances.sum()) / x.shape[1]
    shrunk = (1 - strength) * variances + strength * mean
    counts, means = _class_means(left * singular, numbers)
    between = (counts[:, None] * means**2).sum(axis=0) / len(x)
    kept = shrunk > shrunk.max() * max(x.shape) * np.finfo(np.float64).eps
    return float((1 - strength) * (between[kept] / shrunk[kept]).sum())


def _class_means(rows: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) items of each class and (C, R) their means."""
    one_hot = np.eye(int(numbers.max()) + 1)[numbers]
    counts = one_hot.sum(axis=0)
    return counts, one_hot.T @ rows / counts[:, None]
