"""The two sides of a comparison: checked once, and drawn from where there are more items than a measure needs."""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

LEAST: Final = 10
"""Items of a side. Of fewer, permutations and covariances say next to nothing."""


def checked_sides(source: np.ndarray, target: np.ndarray, least: int = LEAST) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) and (M, D) as float64, moved so that the mean of all is 0: no measure here depends on where they lie,
    and squares lose no digits.

    Raises:
        UsageError: no matrices of one width, fewer than ``least`` rows on a side, or numbers that are not finite.
    """
    sides = [np.asarray(side, np.float64) for side in (source, target)]
    for name, side in zip(("source", "target"), sides, strict=True):
        if side.ndim != 2 or not side.shape[1]:
            raise UsageError(f"the features of the {name} have the shape {side.shape}; a matrix (N, D) is needed")
        if len(side) < least:
            raise UsageError(f"the {name} has {len(side)} items, and at least {least} are needed; give more")
        if (broken := int((~np.isfinite(side)).any(axis=1).sum())) > 0:
            raise UsageError(
                f"{broken} of {len(side)} items of the {name} have features that are not finite (NaN or infinite); leave them out"
            )
    if sides[0].shape[1] != sides[1].shape[1]:
        raise UsageError(
            f"source and target have features of {sides[0].shape[1]} and {sides[1].shape[1]} numbers; take both from one model"
        )
    middle = np.concatenate(sides).mean(axis=0)
    return sides[0] - middle, sides[1] - middle


def drawn(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers (K,) of at most ``most`` of ``count`` items, in order, drawn without replacement."""
    return np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))
