"""Scores from what a model predicts for its own classes: how well those tell the labels."""

from __future__ import annotations

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.relevance.checking import checked_features, checked_labels


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return LEEP, the mean log probability of the labels under the expected empirical predictor, 0 or below, in nats.

    Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability of Learned Representations" (arXiv 2002.12462): the
    empirical joint distribution of label y and source class z is ``P(y, z) = mean_i p_i(z) [y_i = y]``, and the score
    ``mean_i log sum_z P(y_i | z) p_i(z)``.

    Args:
        probabilities: (N, Z), what the model predicts for its own Z classes; rows sum to 1.
        labels: (N,) class numbers.

    Raises:
        UsageError: rows that are no probabilities, shapes that do not fit, one class, items without a label.
    """
    p = _checked_probabilities(probabilities)
    numbers = checked_labels(labels, len(p))
    joint = np.eye(int(numbers.max()) + 1)[numbers].T @ p / len(p)  # (C, Z)
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float(np.log((given[numbers] * p).sum(axis=1)).mean())


def nce(source: np.ndarray, labels: np.ndarray) -> float:
    """Return the negative conditional entropy of the labels given the source class of each item, 0 or below, in nats.

    Tran et al. 2019, "Transferability and Hardness of Supervised Classification Tasks" (arXiv 1908.08142).

    Args:
        source: (N,) whole numbers: the class of the model's own that it predicts.
        labels: (N,) class numbers.

    Raises:
        UsageError: shapes that do not fit, one class, items without a label.
    """
    z = np.asarray(source)
    if z.ndim != 1 or z.dtype.kind not in "iu" or not len(z):
        raise UsageError(f"source classes are whole numbers (N,), not {z.dtype} {z.shape}")
    numbers = checked_labels(labels, len(z))
    _, z = np.unique(z, return_inverse=True)
    joint = np.zeros((int(numbers.max()) + 1, int(z.max()) + 1))
    np.add.at(joint, (numbers, z), 1)
    given = joint / joint.sum(axis=0)
    return float(np.log(given[numbers, z]).mean())


def _checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    p = checked_features(probabilities, 1)
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
        raise UsageError("rows that are no probabilities: they are 0 or more and sum to 1")
    return p
