"""Tables of scores that the test items do not define."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from modelgraft_adapters.cli.compare import table
from modelgraft_adapters.compare.results import Row, judge, read
from modelgraft_adapters.metrics.paired import Answers
from modelgraft_adapters.metrics.scores import evaluate
from modelgraft_adapters.report.compare_page import build_comparison
from modelgraft_adapters.saved.card import plain

from tests.adapters.compare.comparisons import made_up


@pytest.mark.parametrize("several", [False, True])
def test_a_score_that_the_test_items_do_not_define_comes_last_and_says_why(several: bool) -> None:
    """R2 of constant targets was -1.8e305, and the table and report ended in OverflowError."""
    targets = np.full((6, 1), 4.0)
    other = targets + np.arange(6.0)[:, None] * several
    rows, answers = [], {}
    for number, truth in enumerate((targets, other)):
        row = Row("embedded/sprig", f"way {number}", "done")
        outputs = truth + np.random.default_rng(number).normal(size=(6, 1))
        found = evaluate("regression", ["value"], truth, outputs, [""] * 6, np.arange(6), resamples=50)
        record = {
            "shots": None,
            "items": 6,
            "test": plain(found.record()),
            "notes": [],
            "joules": None,
            "peak_mib": 1.0,
        }
        read(row, [{**record, "seconds": {"learning": 1.0, "testing": 1.0}, "gpu_peak_mib": None}], "regression")
        rows.append(row)
        answers[id(row)] = [Answers("regression", np.zeros(0), outputs, truth)]
    judge(rows, answers, 0.5, 1)
    made = replace(made_up(), task="regression", metric="R2", rows=rows, shots=(None,), seeds=(0,), chance=None)
    last = rows[-1]
    assert (
        last.strategy == f"way {0 if several else 1}"
        and last.score is not None
        and last.score.note == "the targets are all the same"
    )
    assert (rows[0].difference is None) == several
    text = table(made, "data")
    assert "undefined" in text and "R2: the targets are all the same" in text
    page = build_comparison(made)
    assert "nan" not in page.lower().replace("nance", "")
    record = json.loads(json.dumps(made.record(), allow_nan=False))
    assert record["rows"][-1]["score"]["value"] is None and record["rows"][-1]["difference"]["value"] is None
