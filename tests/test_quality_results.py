"""The shapes that docs/quality.md states hold in the results it is made of, exceptions named one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

SIZES = (1, 2, 4, 8, 16, None)
PICTURES = {"cifar10", "fashion_mnist", "flowers5", "ants_bees", "pneumonia"}
TEXTS = {"ag_news", "sst2", "trec", "banking77", "sms_spam"}
SETS = sorted(PICTURES | TEXTS)
METHODS = {"linear", "knn", "prototype", "text", "cosine", "tip-adapter", "from scratch"}

# Sizes at which the whole interval of the probe lies above that of training from scratch.
CLEARLY_AHEAD: dict[str, set[int | None]] = {
    "cifar10": {2, 4, 8, 16, None},
    "fashion_mnist": {1, 2, 4, 8, 16, None},
    "flowers5": {4, 8, 16, None},
    "ants_bees": {4, 16, None},
    "pneumonia": set(),
    "ag_news": {1, 2, 4, 8, 16},
    "sst2": {1, 16},
    "trec": set(),
    "banking77": {1, 2, 4, 8, 16, None},
    "sms_spam": set(),
}
# Where the probe's mean is not above that of training from scratch; docs/quality.md says why. Everywhere else it is.
BEHIND: set[tuple[str, int | None]] = {("pneumonia", 2), ("sms_spam", 16), ("sms_spam", None)}
# Where a single draw of the labels leaves the text-initialised head below zero-shot's interval; no mean does.
UNLUCKY_DRAWS: set[tuple[str, int | None]] = {("sms_spam", 2)}
# Where training from scratch has one draw so far, and not three: benchmarks/quality.py goes on from there.
ONE_DRAW: set[tuple[str, int | None]] = {("sst2", n) for n in (1, 2, 4, 8, 16)}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "quality.json").read_text())
    return found


def _pairs(results: dict[str, Any], name: str) -> list[tuple[int | None, dict[str, Any], dict[str, Any]]]:
    found = results["sets"][name]
    return [
        (probe["shots"], probe, scratch) for probe, scratch in zip(found["linear"], found["from scratch"], strict=True)
    ]


def test_everything_is_there_and_every_mean_is_that_of_its_draws(results: dict[str, Any]) -> None:
    """Ten sets, every method and size; three draws where there is something to draw, and the interval around their mean."""
    assert set(results["sets"]) == set(results["data"]) == PICTURES | TEXTS
    for name, found in results["sets"].items():
        facts = results["data"][name]
        assert set(found) == METHODS | ({"tf-idf"} if name in TEXTS else set())
        for method, points in found.items():
            assert tuple(p["shots"] for p in points) == ((None,) if method == "text" else SIZES), (name, method)
            for point in points:
                once = point["shots"] is None and method != "tf-idf"
                once |= method == "from scratch" and (name, point["shots"]) in ONE_DRAW
                assert len(point["scores"]) == (1 if once else 3), (name, method, point["shots"])
                assert point["mean"] == pytest.approx(np.mean(point["scores"]), abs=1e-12)
                assert 0 <= point["low"] < point["mean"] < point["high"] <= 1
                hits = np.array(point["scores"]) * facts["test"]
                assert np.allclose(hits, hits.round(), atol=1e-6), "scores are shares of the test items"
                assert point["items"] <= facts["train"]
                if point["shots"] == 1:
                    assert point["items"] == facts["classes"]


def test_intervals_are_those_of_the_scores(results: dict[str, Any]) -> None:
    from modelgraft_adapters.metrics.scores import Score, wilson
    from modelgraft_adapters.metrics.spread import mean_interval

    for name, found in results["sets"].items():
        count = results["data"][name]["test"]
        for points in found.values():
            for point in points:
                scores = [Score("accuracy", value, *wilson(value * count, count)) for value in point["scores"]]
                _, low, high = mean_interval(scores)
                assert point["low"] == pytest.approx(max(low, 0.0), abs=1e-9)
                assert point["high"] == pytest.approx(min(high, 1.0), abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_the_probe_beats_training_from_scratch(results: dict[str, Any], name: str) -> None:
    """Beyond the intervals where stated, ahead elsewhere; the exceptions are those named, and within the intervals."""
    ahead = {shots for shots, probe, scratch in _pairs(results, name) if probe["low"] > scratch["high"]}
    assert ahead == CLEARLY_AHEAD[name]
    behind = {(name, shots) for shots, probe, scratch in _pairs(results, name) if probe["mean"] <= scratch["mean"]}
    assert behind == {(other, shots) for other, shots in BEHIND if other == name}
    for shots, probe, scratch in _pairs(results, name):
        assert probe["high"] >= scratch["low"], (
            f"at {shots} the probe lies below training from scratch beyond the intervals"
        )


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("method", ["cosine", "tip-adapter"])
def test_few_shot_never_falls_below_zero_shot_beyond_its_interval(
    results: dict[str, Any], name: str, method: str
) -> None:
    (zero,) = results["sets"][name]["text"]
    for point in results["sets"][name][method]:
        assert point["mean"] >= zero["low"], f"{point['shots']} labels: {point['mean']} and {zero['low']}"
        assert point["mean"] >= zero["mean"] - 0.03, "and in points, hardly at all"


def test_single_draws_below_zero_shot_are_named(results: dict[str, Any]) -> None:
    unlucky = {
        (name, point["shots"])
        for name, found in results["sets"].items()
        for point in found["cosine"]
        if min(point["scores"]) < found["text"][0]["low"]
    }
    assert unlucky == UNLUCKY_DRAWS


def test_heads_that_do_not_know_the_names_do_fall_below_zero_shot(results: dict[str, Any]) -> None:
    """So the head that starts from the names has something to show: on the same features of texts the probe lies below."""
    below = {
        (name, point["shots"])
        for name in TEXTS
        for point in results["sets"][name]["linear"]
        if point["mean"] < results["sets"][name]["text"][0]["low"]
    }
    assert {("ag_news", 1), ("banking77", 1)} <= below


@pytest.mark.parametrize("name", SETS)
def test_labels_help(results: dict[str, Any], name: str) -> None:
    """With all labels every head on features is clearly better than with one of each class, if zero-shot is not already there."""
    found = results["sets"][name]
    for method in ("linear", "knn", "prototype"):
        first, last = found[method][0], found[method][-1]
        assert last["mean"] > first["mean"] + 0.1, method
    assert found["cosine"][-1]["mean"] >= found["cosine"][0]["mean"]


def test_the_page_names_every_exception() -> None:
    page = Path(ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    (said,) = [part for part in page.split("\n\n") if part.startswith("The probe is ahead in")]
    said = " ".join(said.split())
    for place in ("PneumoniaMNIST (2)", "SMS spam (16)", "SMS spam (all)"):
        assert place in said
    assert f"ahead in {60 - len(BEHIND)} of 60 places, in {sum(map(len, CLEARLY_AHEAD.values()))}" in said
    assert "beyond the intervals: nowhere" in said
    assert ("From one seed so far" in page) == bool(ONE_DRAW)
