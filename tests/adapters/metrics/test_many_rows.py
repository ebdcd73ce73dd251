"""Tables of many rows: how often one of equally good rows is said to be worse, and that a row that is worse is seen."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft_adapters.metrics import many_rows
from modelgraft_adapters.metrics.many_rows import corrected
from modelgraft_adapters.metrics.paired import Answers, difference


def table(rng: np.random.Generator, accuracies: list[float], draws: int, items: int = 150) -> list[list[Answers]]:
    """Rows, best first, with errors partly in common."""
    hard, nothing, rows = rng.normal(size=items), np.zeros((0, 0)), []
    for accuracy in accuracies:
        level = np.quantile(np.random.default_rng(0).normal(0, 2**0.5, 20_000), accuracy)
        rows.append(
            [
                Answers("single-label", (hard + rng.normal(size=items) < level).astype(float), nothing, nothing)
                for _ in range(draws)
            ]
        )
    return sorted(rows, key=lambda row: -float(np.mean([learnt.score for learnt in row])))


def false_flags(count: int, draws: int, tables: int) -> tuple[float, float]:
    """(corrected, row by row): the part of tables of equally good rows with a row that is said to be worse."""
    rng = np.random.default_rng(count)
    together = alone = 0
    for _ in range(tables):
        rows = table(rng, [0.8] * count, draws)
        together += any(one is not None and one.worse for one in corrected(rows))
        alone += any(difference(row, rows[0]).high < 0 for row in rows[1:])
    return together / tables, alone / tables


@pytest.mark.full
@pytest.mark.parametrize(("count", "draws"), [(5, 1), (12, 1), (5, 3)])
def test_equally_good_rows_are_seldom_said_to_be_worse(count: int, draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_rows, "DRAWS", 1000)
    together, alone = false_flags(count, draws, 120)
    assert together <= 0.10, "5 %, and what 120 tables leave to chance"
    if draws == 1:  # without the correction: each row by its own interval
        assert alone > 0.2


def test_a_row_that_is_worse_is_seen_among_many() -> None:
    rng = np.random.default_rng(3)
    seen = sum(corrected(table(rng, [0.85] * 9 + [0.55], 1))[-1].worse for _ in range(20))  # type: ignore[union-attr]
    assert seen >= 18


def test_two_rows_need_no_correction() -> None:
    rows = table(np.random.default_rng(1), [0.9, 0.7], 1)
    _, found = corrected(rows)
    own = difference(rows[1], rows[0])
    assert found is not None and found.rows == 2
    assert (found.low, found.high) == pytest.approx((own.low, own.high), abs=1e-6)


def test_the_correction_widens_and_grows_with_the_rows() -> None:
    rng = np.random.default_rng(2)
    rows = table(rng, [0.9, 0.8, *[0.7] * 10], 1)
    few, many = corrected(rows[:3])[1], corrected(rows)[1]
    own = difference(rows[1], rows[0])
    assert few is not None and many is not None
    assert many.low < few.low < own.low and few.p < many.p


def test_the_same_row_twice_differs_in_nothing() -> None:
    row = table(np.random.default_rng(4), [0.8], 1)[0]
    found = corrected([row, row, row])
    assert found[0] is None
    assert all(one is not None and one.low < 0 < one.high and one.p > 0.9 for one in found[1:])


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_are_corrected_too(task: str) -> None:
    rng = np.random.default_rng(5)
    targets = (rng.random((80, 3)) < 0.4).astype(float)
    rows = [
        [Answers(task, np.zeros(0), targets + rng.normal(0, noise, targets.shape), targets)]  # type: ignore[arg-type]
        for noise in (0.2, 0.21, 1.5)
    ]
    _, near, far = corrected(rows)
    assert near is not None and far is not None
    assert far.worse and far.p < 0.05
    assert not near.worse or near.high > far.high
