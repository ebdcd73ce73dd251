"""Samples of growing size that hold each other, each with its share of every class."""

from __future__ import annotations

import numpy as np


def nested_order(targets: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return an order of N items whose first n are a stratified sample, for every n: each class has its share to within an item.

    Args:
        targets: (N,) class numbers, all 0 or more.
        seed: of the draw.

    Returns:
        (N,) int64, each index once. The first items are one of each class, so that no class is missing from a sample of C or more.
    """
    rng = np.random.default_rng(seed)
    place, turn = np.empty(len(targets)), np.empty(len(targets), np.int64)
    for number in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == number))
        place[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
        turn[members] = np.arange(len(members)) > 0
    return np.lexsort((place, turn)).astype(np.int64)
