"""What docs/fine-tuning.md says of its figures is true of the raw results."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import finetuning_page as page

OVERLAPPING = {("fashion_mnist embedded", 4)}
"""Of four grey garments each the embedded model's small network trains on nothing nearly as well."""


def test_pretrained_beats_from_scratch_beyond_the_intervals_but_where_named() -> None:
    overlapping = set()
    for key, (_, tested) in page.SETS.items():
        assert 4 in page.sizes(key)
        for shots in page.sizes(key):
            tuned, scratch = (
                page.interval(page.values("shots", f"{key} {strategy} {shots}", "accuracy"), tested)
                for strategy in ("lp-ft", "scratch")
            )
            assert tuned[0] > scratch[0]
            if tuned[1] <= scratch[2]:
                overlapping.add((key, shots))
    assert overlapping == OVERLAPPING


def test_lp_ft_is_not_worse_out_of_domain() -> None:
    """From photographs to art, cartoons and sketches it is better with every seed; from MNIST to MNIST-M both are near chance."""
    gaps = {}
    for key in page.DOMAINS:
        lp_ft, full = (page.values("domains", f"{key} {strategy}", "outside") for strategy in ("lp-ft", "full"))
        assert len(lp_ft) == len(full) >= 5
        gaps[key] = np.array(lp_ft) - np.array(full)
        if key.startswith("mnist"):
            assert max(*lp_ft, *full) < 0.2
    assert (gaps["pacs mobilenet"] > 0).all() and page.over_seeds(list(gaps["pacs mobilenet"]))[1] > 0


@pytest.mark.parametrize("key", page.DOMAINS)
def test_the_line_ends_at_the_tuned_model(key: str) -> None:
    curves = page.values("domains", f"{key} lp-ft", "curve")
    inside, outside = (page.values("domains", f"{key} lp-ft", field) for field in ("inside", "outside"))
    for curve, one, other in zip(curves, inside, outside, strict=True):
        assert [row[0] for row in curve] == [n / 10 for n in range(11)]
        assert curve[-1][1:] == [one, other]


def test_contrastive_tuning_is_that_of_setfit_within_the_interval_and_its_memory_is_flat() -> None:
    data = page.read("contrastive")
    assert len(data["sets"]) == 2
    for found in data["sets"].values():
        assert len(found["runs"]["modelgraft"]) >= 2 and len(found["runs"]["setfit"]) >= 2
        gap = found["modelgraft - setfit"]
        assert gap["low"] <= 0 <= gap["high"]
    memory = data["memory"]["modelgraft"]
    assert max(run["pairs"] for run in memory.values()) > 100e6
    assert max(run["mib"] for run in memory.values()) < 2


def test_sharing_hurts_where_the_other_task_drowns_the_one_with_few_labels_and_helps_where_it_has_its_share() -> None:
    def gain(setup: str, way: str) -> tuple[float, float, float]:
        found = page.gains(setup, way)
        assert len(found) >= 5
        return page.over_seeds(found)

    assert all(gain("few steps", way)[2] < 0 for way in ("together, uncertainty", "together, sum"))
    assert gain("many steps", "together, equal sampling")[1] > 0
