"""Where to start each strength of a sweep: on the path that the optima of weaker and weaker penalties make.

Over the logarithm of the strength C the optimum moves smoothly, and where C is large nearly in a straight line. So a straight line
through the last two optima meets the next one closely, and what is left to the solver is the bend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch

from modelgraft_heads.logistic import Solution

COLUMNS: Final = 64
"""Problems times classes that are solved at once where classes are few. Narrower matrix products are slow; wider batches start
farther from where they end, and what a step reads and writes leaves the processor's caches."""
FARTHEST: Final = 1.0
"""The line is followed by at most this many times the distance of the two optima that it goes through."""

Start = tuple[torch.Tensor, torch.Tensor]
"""Weights (K, C, R) and intercepts (K, C) of K problems."""


def follow(
    strengths: Sequence[float],
    folds: int,
    classes: int,
    solve: Callable[[list[float], Start | None], Solution],
) -> Iterator[tuple[slice, Solution]]:
    """Solve strengths in groups, in rising order, and give the places of each group with its solution.

    Args:
        strengths: in rising order.
        folds: problems for each strength.
        solve: of some strengths, the problems of each strength with every fold in this order, from a start; None is the start of a
            problem of which nothing is known.
    """
    size = max(1, COLUMNS // (folds * classes))
    known: list[tuple[float, Start]] = []
    for begin in range(0, len(strengths), size):
        group = list(strengths[begin : begin + size])
        solution = solve(group, _start(known, group))
        for n, strength in list(enumerate(group))[-2:]:
            which = slice(n * folds, (n + 1) * folds)
            known.append((strength, (solution.weight[which], solution.bias[which])))
        del known[:-2]
        yield slice(begin, begin + len(group)), solution


def _start(known: Sequence[tuple[float, Start]], group: Sequence[float]) -> Start | None:
    """Where the line through the last two optima is at each strength of a group."""
    if not known:
        return None
    last, (weight, bias) = known[-1]
    if len(known) == 1:
        return weight.repeat(len(group), 1, 1), bias.repeat(len(group), 1)
    before, (old_weight, old_bias) = known[-2]
    step = math.log(last / before)
    factors = [min(math.log(strength / last) / step, FARTHEST) for strength in group]
    return (
        torch.cat([torch.lerp(old_weight, weight, 1 + factor) for factor in factors]),
        torch.cat([torch.lerp(old_bias, bias, 1 + factor) for factor in factors]),
    )
