"""How sure an order is, and the Pareto front."""

from __future__ import annotations

import numpy as np
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.ranking.results import Row, mark_front, ranks


def test_ranks_of_clear_and_of_equal_candidates() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.random(200) < 0.9, rng.random(200) < 0.4
    low, high, first = ranks(np.stack([good, bad]).astype(float))
    assert low.tolist() == [1, 2] and high.tolist() == [1, 2] and first.tolist() == [1.0, 0.0]
    low, high, first = ranks(np.stack([good, good, bad]).astype(float))
    assert first.tolist() == [0.5, 0.5, 0.0] and low.tolist()[:2] == [1, 1] and high.tolist()[:2] == [2, 2]
    alike = (rng.random((2, 100)) < 0.5).astype(float)
    low, high, first = ranks(alike)
    assert (low == 1).all() and (high == 2).all() and abs(first.sum() - 1) < 1e-9


def test_the_front() -> None:
    def row(score: float | None, seconds: float | None) -> Row:
        first = None if score is None else Score("accuracy", score, 0.0, 1.0)
        return Row("a/b", None, "ranked", first=first, seconds_per_item=seconds)

    rows = [row(0.9, 2.0), row(0.8, 1.0), row(0.8, 1.0), row(0.7, 1.5), row(0.9, 3.0), row(None, 0.1), row(0.5, None)]
    mark_front(rows)
    assert [one.pareto for one in rows] == [True, True, True, False, False, False, False]
