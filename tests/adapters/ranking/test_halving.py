"""The plan of samples: sizes, how many go on, what it costs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from modelgraft_adapters.ranking.halving import Rung, cost, kept, plan


def test_twelve_candidates_cost_a_quarter() -> None:
    rungs = plan(12, 1600, 64)
    assert rungs == (Rung(100, 12), Rung(200, 6), Rung(400, 3), Rung(800, 2), Rung(1600, 2))
    assert cost(rungs) == 12 * 100 + 6 * 100 + 3 * 200 + 2 * 400 + 2 * 800
    assert cost(rungs) <= 12 * 1600 / 3


@pytest.mark.parametrize(("candidates", "times"), [(12, 3.1), (24, 4.0), (50, 5.0), (200, 6.5)])
def test_many_candidates_cost_a_few_times_one(candidates: int, times: float) -> None:
    rungs = plan(candidates, 1 << 14, 16)
    assert cost(rungs) <= times * (1 << 14)
    assert rungs[-1] == Rung(1 << 14, 2)
    assert all(b.items == 2 * a.items and b.candidates == kept(a.candidates) for a, b in pairwise(rungs))


def test_small_samples_are_not_made_smaller() -> None:
    assert plan(12, 100, 64) == (Rung(100, 12),)
    assert plan(12, 200, 64) == (Rung(100, 12), Rung(200, 6))
    assert plan(2, 1000, 64) == (Rung(1000, 2),) and plan(1, 1000, 64) == (Rung(1000, 1),)


def test_two_always_go_on() -> None:
    assert [kept(n) for n in (1, 2, 3, 4, 5, 12)] == [1, 2, 2, 2, 3, 6]
