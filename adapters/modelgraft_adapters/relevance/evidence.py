"""LogME: the log marginal evidence of a Bayesian linear model of the labels given the features, maximised exactly.

You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (arXiv 2102.11005). Labels y (N,) are
``F w + noise`` with ``w ~ N(0, I / alpha)`` and noise of variance ``1 / beta``; the score is the largest log evidence over alpha
and beta, divided by N. The authors' fixed-point iteration stops after a few steps, and their code leaves out ``(D - rank) log
alpha``, which makes it wrong for D > N. Here beta is eliminated in closed form and the one number that is left, ``alpha / beta``,
is searched over its whole range, so that the maximum is the global one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.relevance.checking import checked_features, checked_labels

_SPAN: Final = (-28.0, 14.0)
"""Natural logarithms of ``alpha / beta`` in units of the largest squared singular value that are searched: 7e-13 to 1e6. Labels
that the features explain without any rest have no largest evidence; theirs is the one at the lower end."""
_STEPS: Final = 169
_GOLDEN: Final = (5**0.5 - 1) / 2
_BLOCK: Final = 1 << 24


def log_evidence(features: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean over K columns of the largest log evidence by item, in nats.

    Features are taken as they are, neither centred nor with an intercept, as in the paper; a common factor on them changes nothing.

    Args:
        features: (N, D), N at least 2.
        targets: (N,) or (N, K) numbers.

    Raises:
        UsageError: shapes that do not fit, numbers that are not finite, targets that are all 0, features that are all 0.
    """
    x = checked_features(features)
    y = np.asarray(targets, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != len(x) or not y.shape[1]:
        raise UsageError(f"targets {np.shape(targets)} of {len(x)} items; one or more numbers an item are needed")
    if not np.isfinite(y).all():
        raise UsageError("targets that are not finite; leave those items out")
    if (np.abs(y).max(axis=0) == 0).any():
        raise UsageError("targets that are all 0 have no largest evidence; centre them, or leave the column out")
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    if singular[0] == 0:
        raise UsageError("features that are all 0 say nothing of any label")
    kept = singular > singular[0] * max(x.shape) * np.finfo(np.float64).eps
    along = left[:, kept].T @ y
    # What no direction of the features holds; below rounding it is none.
    whole = (y**2).sum(axis=0)
    rest = whole - (along**2).sum(axis=0)
    rest = np.where(rest > whole * 1e-14, rest, 0.0)
    spectrum = (singular[kept] / singular[0]) ** 2
    return float(np.mean(_largest(spectrum, along**2, rest, len(x)))) / len(x)


def log_evidence_of_labels(features: np.ndarray, labels: np.ndarray) -> float:
    """Return LogME of a classification: the mean over C classes of `log_evidence` of "is of the class", 0 or 1.

    Args:
        features: (N, D).
        labels: (N,) class numbers.

    Raises:
        UsageError: as `log_evidence`; one class, items without a label.
    """
    x = checked_features(features)
    numbers = checked_labels(labels, len(x))
    return log_evidence(x, np.eye(int(numbers.max()) + 1)[numbers])


def _largest(spectrum: np.ndarray, squares: np.ndarray, rest: np.ndarray, count: int) -> np.ndarray:
    """(K,): the largest log evidence of each column.

    Args:
        spectrum: (R,) squared singular values, the largest 1.
        squares: (R, K) squared coordinates of the targets along the left singular vectors.
        rest: (K,) squared length of what is left of them.
    """

    def at(log_ratio: np.ndarray) -> np.ndarray:
        """(S, K) log evidence at ``log(alpha / beta)`` (S, K) with the best beta."""
        found = np.empty_like(log_ratio)
        each = max(1, _BLOCK // squares.size)
        for begin in range(0, len(log_ratio), each):
            some = slice(begin, begin + each)
            gain = 1 + spectrum[None, :, None] / np.exp(log_ratio[some])[:, None, :]  # (s, R, K)
            misfit = (squares[None] / gain).sum(axis=1) + rest
            precision = count / np.maximum(misfit, 1e-300)
            found[some] = 0.5 * (count * (np.log(precision) - np.log(2 * np.pi) - 1) - np.log(gain).sum(axis=1))
        return found

    columns = squares.shape[1]
    grid = np.repeat(np.linspace(*_SPAN, _STEPS)[:, None], columns, axis=1)
    values = at(grid)
    top = values.argmax(axis=0)
    low = grid[np.maximum(top - 1, 0), 0][None]
    high = grid[np.minimum(top + 1, _STEPS - 1), 0][None]
    for _ in range(60):  # golden section: the bracket shrinks to 1e-13 of a step
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        better = at(first) > at(second)
        low, high = np.where(better, low, first), np.where(better, second, high)
    return np.maximum(at((low + high) / 2)[0], values.max(axis=0))
