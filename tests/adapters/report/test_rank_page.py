"""The page of a ranking: what it says, and that nothing breaks where little is known."""

from __future__ import annotations

import math
from dataclasses import replace

from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.ranking.results import Row
from modelgraft_adapters.report.rank_page import build_ranking

from tests.adapters.ranking.images import made_up


def test_says_what_was_found() -> None:
    page = build_ranking(made_up(), "flowers", "modelgraft rank flowers")
    assert "best does best by accuracy of a linear probe. Not told apart from it by these items: next." in page
    assert "next (transfer hurts)" in page and "Not ranked" in page and "its process ended by signal 9" in page
    assert page.count('<svg class="chart"') == 3 and "500 items, of 600" in page and "200 by random weights" in page


def test_a_ranking_of_figures_without_intervals() -> None:
    found = made_up()
    for row in found.rows[:3]:
        assert row.score is not None
        row.score = row.first = Score("LogME", -0.3, math.nan, math.nan)
        row.values, row.control, row.over_control, row.difference, row.rank_low = (
            {"logme": -0.3},
            None,
            None,
            None,
            None,
        )
    found.by, found.metric, found.gain, found.curve = "logme", "LogME", [], []
    page = build_ranking(found)
    assert "by LogME" in page and "nan" not in page.lower().replace("finance", "")


def test_nothing_was_scored() -> None:
    found = made_up()
    found.rows = [Row("a/b", None, "failed", "why")]
    found.gain, found.curve = [], []
    page = build_ranking(found)
    assert "No candidate could be scored" in page and "why" in page
    assert "does best" in build_ranking(replace(made_up(), rows=made_up().rows[:1]))
