"""What all methods ask of their arrays before they compute anything."""

from __future__ import annotations

from numbers import Real
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.calls.score_inputs import check_finite_rows

TINY: Final = 1e-30
"""Probabilities are at least this: one that has underflowed to 0 has no logarithm, and no factor could ever raise it."""
SLACK: Final = 1e-3
"""How far a row of probabilities may be from the sum 1: they come in float16 too."""


def checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return zero-shot probabilities (N, C) as float64, at least `TINY`, rows that sum to 1.

    Raises:
        UsageError: no matrix, no item, no class, numbers that are no probabilities, rows that do not sum to 1.
    """
    found = np.asarray(probabilities, np.float64)
    if found.ndim != 2 or not found.shape[0] or not found.shape[1]:
        raise UsageError(f"the probabilities have the shape {found.shape}, not (items, classes)")
    broken = np.flatnonzero(~((found >= 0) & (found <= 1 + SLACK)).all(axis=1))  # NaN is neither
    if len(broken):
        raise UsageError(
            f"the probabilities of {len(broken)} of {len(found)} items (the first: item {broken[0]}) are no numbers from 0 to 1; "
            "leave these items out"
        )
    if (np.abs(found.sum(axis=1) - 1) > SLACK).any():
        raise UsageError(
            "the probabilities of an item do not sum to 1; these methods take classes that exclude each other"
        )
    found = np.maximum(found, TINY)
    return found / found.sum(axis=1, keepdims=True)


def checked_features(features: np.ndarray, width: int | None = None, items: int | None = None) -> np.ndarray:
    """Return features (N, D) as float64 of length 1.

    Args:
        width: D, where it is known from elsewhere.
        items: N, where it is.

    Raises:
        UsageError: another shape, no item, numbers that are not finite.
    """
    found = np.asarray(features, np.float64)
    if found.ndim != 2 or not found.shape[0]:
        raise UsageError(f"the features have the shape {found.shape}, not (items, numbers)")
    for name, wanted, there in (("numbers", width, found.shape[1]), ("items", items, len(found))):
        if wanted is not None and wanted != there:
            raise UsageError(f"the features have {there} {name} where there are {wanted}; take both from one model")
    check_finite_rows(found)
    return unit(found)


def checked_pull(pull: Any) -> float:
    """Return how strongly even shares pull.

    Raises:
        UsageError: no finite number of 0 or more.
    """
    if isinstance(pull, bool) or not isinstance(pull, Real) or not 0 <= float(pull) < float("inf"):
        raise UsageError(f"pull={pull!r}: a number of 0 or more, the weight of even shares against that of the items")
    return float(pull)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1 along the last axis; one of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
