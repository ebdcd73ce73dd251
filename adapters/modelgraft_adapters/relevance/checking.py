"""What all relevance scores ask of their arrays, and one line for what is wrong with them."""

from __future__ import annotations

import numpy as np
from modelgraft.errors import UsageError


def checked_features(features: np.ndarray, least: int = 2) -> np.ndarray:
    """Return features (N, D) as float64.

    Raises:
        UsageError: another shape, fewer than ``least`` items, no columns, numbers that are not finite.
    """
    found = np.asarray(features)
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise UsageError(f"features are numbers (N, D), not {found.dtype} {found.shape}")
    if len(found) < least or not found.shape[1]:
        raise UsageError(f"features {found.shape}; at least {least} items with at least one number each are needed")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).any(axis=1).sum())
        raise UsageError(f"features of {bad} of {len(found)} items are not finite; leave those items out")
    return found


def checked_labels(labels: np.ndarray, count: int, least: int = 1) -> np.ndarray:
    """Return labels (N,) as class numbers 0 ... C-1 without gaps, in the order of the values given.

    Args:
        count: N.
        least: items that each class must have.

    Raises:
        UsageError: other than N whole numbers of 0 or more, one class, a class of fewer than ``least`` items.
    """
    found = np.asarray(labels)
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise UsageError(f"labels are whole numbers ({count},), one an item, not {found.dtype} {found.shape}")
    if (found < 0).any():
        raise UsageError(f"{int((found < 0).sum())} of {count} items have no label; leave those items out")
    names, numbers, counts = np.unique(found, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise UsageError(f"all {count} items are of one class; at least two classes are needed")
    if counts.min() < least:
        raise UsageError(f"class {names[counts.argmin()]} has {counts.min()} item; each class needs at least {least}")
    return numbers.reshape(count)
