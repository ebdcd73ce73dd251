"""Successive halving: all candidates on a small sample, the better half on one of twice the size, and so on.

Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (arXiv 1502.07943). The rule:

* There are at most ``1 + log2(K)`` samples for K candidates, rounded up. The last one has all N items, each one before it half as
  many, but none fewer than what the scores need.
* After each sample but the last the worse half is dropped, by the score on that sample: ``ceil(K / 2)`` go on, and always two.

Samples hold each other, so a candidate that goes on has embedded half of the next sample already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

FINALISTS: Final = 2
"""So many are always scored on all items: the best one is compared with another on equal terms."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One sample."""

    items: int
    candidates: int
    """How many are scored on it, if none fails."""


def plan(candidates: int, items: int, least: int) -> tuple[Rung, ...]:
    """Return the samples for K candidates and N items, the smallest first.

    Args:
        candidates: K, 1 or more.
        items: N.
        least: items of the smallest sample, where there are so many.
    """
    most = 1 + math.ceil(math.log2(candidates)) if candidates > FINALISTS else 1
    sizes = [items]
    while len(sizes) < most and sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    rungs = []
    for size in reversed(sizes):
        rungs.append(Rung(size, candidates))
        candidates = kept(candidates)
    return tuple(rungs)


def kept(candidates: int) -> int:
    """Return how many of so many candidates go on."""
    return min(candidates, max(FINALISTS, math.ceil(candidates / 2)))


def cost(rungs: tuple[Rung, ...]) -> int:
    """Return how many items are embedded in all."""
    before, total = 0, 0
    for rung in rungs:
        total += rung.candidates * (rung.items - before)
        before = rung.items
    return total
