"""What docs/zero-shot.md says of the methods is what was measured: each helps somewhere and hurts somewhere."""

from __future__ import annotations

import json

import pytest
from modelgraft_adapters.transductive.naming import METHODS

from tests.conftest import ROOT

RUNS = json.loads((ROOT / "benchmarks" / "results" / "zero_shot_shift.json").read_text())["runs"]


def test_every_set_was_measured_in_every_way() -> None:
    names, kinds, seeds = (set(part) for part in zip(*(key.split("/") for key in RUNS), strict=True))
    assert len(names) == 10 and kinds == {"as is", "skewed", "half", "few"} and len(RUNS) == 40 * len(seeds) >= 120
    assert all(set(METHODS) < set(run["gains"]) for run in RUNS.values())


@pytest.mark.parametrize("method", METHODS)
def test_each_helps_and_hurts_so_none_is_on_by_default(method: str) -> None:
    gains = [run["gains"][method] for run in RUNS.values()]
    assert any(low > 0 for _, low, _ in gains) and any(value < 0 for value, _, _ in gains)
    if method != "prompt-weights":
        assert any(high < 0 for _, _, high in gains)


def test_even_shares_hurt_where_classes_are_not_even() -> None:
    for kind in ("half", "skewed"):
        assert sum(run["gains"]["even-shares"][0] for key, run in RUNS.items() if f"/{kind}/" in key) < 0
