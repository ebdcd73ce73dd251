"""Scores: what is undefined is said to be, and 95 % intervals hold the truth about as often as they say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from modelgraft_adapters.metrics import intervals
from modelgraft_adapters.metrics.paired import Answers, difference, main_score
from modelgraft_adapters.metrics.scores import Evaluation, Score, average_precisions, evaluate
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, log_loss, r2_score


def scored(task: Any, targets: np.ndarray, outputs: np.ndarray) -> Evaluation:
    names = [str(n) for n in range(outputs.shape[1])]
    return evaluate(task, names, targets, outputs, [""] * len(targets), np.arange(len(targets)), resamples=200)


def named(found: Evaluation) -> dict[str, Score]:
    return {score.name: score for score in found.scores}


def test_values_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    targets, outputs = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
    single = named(scored("single-label", targets, outputs))
    assert single["balanced accuracy"].value == pytest.approx(balanced_accuracy_score(targets, outputs.argmax(1)))
    assert single["log loss"].value == pytest.approx(log_loss(targets, outputs), rel=1e-6)
    many, scores = rng.random((60, 4)) < 0.3, np.round(rng.random((60, 4)), 1)  # rounded: ties
    multi = named(scored("multi-label", many.astype(np.float32), scores))
    assert multi["mean average precision"].value == pytest.approx(average_precision_score(many, scores))
    assert multi["micro F1"].value == pytest.approx(f1_score(many, scores > 0.5, average="micro"))
    numbers = rng.normal(size=(60, 2))
    guesses = numbers + rng.normal(size=(60, 2))
    assert named(scored("regression", numbers, guesses))["R2"].value == pytest.approx(r2_score(numbers, guesses))


def test_average_precision_under_weights_is_that_of_repeated_items() -> None:
    rng = np.random.default_rng(1)
    on, scores = rng.random((30, 2)) < 0.4, np.round(rng.random((30, 2)), 1)
    times = rng.integers(0, 3, 30)
    again = np.repeat(np.arange(30), times)
    (found,) = average_precisions(on, scores, times[None].astype(float))
    assert found == pytest.approx(average_precision_score(on[again], scores[again]))


UNDEFINED = [
    ("regression", np.full((5, 1), 3.0), np.arange(5.0)[:, None], "R2", "the targets are all the same"),
    ("regression", np.full((5, 1), 0.1), np.arange(5.0)[:, None], "R2", "the targets are all the same"),
    ("regression", np.full((7, 1), 1.7e9), np.arange(7.0)[:, None], "R2", "the targets are all the same"),
    ("regression", np.ones((1, 1)), np.zeros((1, 1)), "R2", "one item"),
    ("regression", np.array([[1.0, 2.0], [1.0, 3.0]]), np.zeros((2, 2)), "R2", "the targets are all the same"),
    ("multi-label", np.zeros((4, 2)), np.full((4, 2), 0.2), "mean average precision", "no item has a label"),
    ("multi-label", np.zeros((4, 2)), np.full((4, 2), 0.2), "micro F1", "no label, neither true nor predicted"),
    ("single-label", np.full(3, -1), np.full((3, 2), 0.5), "log loss", "no item of a class that was trained on"),
    ("single-label", np.full(3, -1), np.full((3, 2), 0.5), "balanced accuracy", "no item of a class that was trained on"),
    ("regression", np.zeros((0, 1)), np.zeros((0, 1)), "R2", "no item"),
    ("multi-label", np.zeros((0, 1)), np.zeros((0, 1)), "mean average precision", "no item"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "targets", "outputs", "name", "why"), UNDEFINED)
def test_what_is_undefined_is_null_and_says_why(
    task: Any, targets: np.ndarray, outputs: np.ndarray, name: str, why: str
) -> None:
    found = scored(task, targets, outputs)
    score = named(found)[name]
    assert not score.defined and math.isnan(score.value) and score.note == why
    assert str(score) == f"{name} undefined ({why})"
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert {"name": name, "value": None, "low": None, "high": None, "note": why} in record["scores"]


def test_constant_targets_differ_in_nothing_defined() -> None:
    targets = np.full((6, 1), 2.0)
    ways = [Answers("regression", np.zeros(0), np.random.default_rng(n).normal(size=(6, 1)), targets) for n in (0, 1)]
    assert math.isnan(main_score("regression", targets, targets)) and math.isnan(ways[0].score)
    found = difference([ways[0]], [ways[1]])
    assert math.isnan(found.value) and math.isnan(found.low)


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_one_item_has_no_interval_but_wilson_s(task: Any) -> None:
    targets = np.zeros(1, np.int64) if task == "single-label" else np.ones((1, 2))
    found = scored(task, targets, np.array([[0.7, 0.3]]))
    for score in found.scores:
        assert (math.isnan(score.low) and math.isnan(score.high)) or (score.low <= score.value <= score.high)
        assert score.name in ("accuracy", "exact match", "calibration error") or score.note
    json.dumps(found.record(), allow_nan=False)


def test_absent_classes_are_counted() -> None:
    found = named(scored("single-label", np.array([0, 1] * 40), np.full((80, 3), 1 / 3)))
    assert found["balanced accuracy"].note == "of the 2 classes, of 3, that have an item"


def test_few_items_and_losses_that_a_few_decide_are_said() -> None:
    few = named(scored("single-label", np.array([0, 1] * 5), np.full((10, 2), 0.5)))
    assert few["balanced accuracy"].note == "its interval is of 10 items and may be too narrow"
    outputs = np.tile([0.999, 0.001], (60, 1))
    targets = np.zeros(60, np.int64)
    targets[0] = 1
    assert named(scored("single-label", targets, outputs))["log loss"].note.startswith("a few items decide it")


def coverage(hold: Any, truth: float, repeats: int) -> float:
    held = [low <= truth <= high for low, high in (hold() for _ in range(repeats))]
    return float(np.mean(held))


def test_balanced_accuracy_of_a_small_class_is_covered() -> None:
    """Imbalanced classes, 200 items: the normal interval, which was here before, holds the truth in 5 of 6 test sets only."""
    rng = np.random.default_rng(0)
    shares, right = np.array([0.9, 0.07, 0.03]), np.array([0.95, 0.8, 0.6])

    def draw() -> tuple[np.ndarray, np.ndarray]:
        counts = np.maximum(rng.multinomial(200, shares), 1)
        return rng.binomial(counts, right), counts

    assert 0.93 <= coverage(lambda: intervals.mean_of_shares(*draw()), right.mean(), 1000) <= 0.98

    def plain() -> tuple[float, float]:
        hits, counts = draw()
        p = hits / counts
        half = 1.96 * math.sqrt((p * (1 - p) / counts).sum()) / 3
        return p.mean() - half, p.mean() + half

    assert coverage(plain, right.mean(), 1000) < 0.9


def test_a_skew_loss_is_covered() -> None:
    rng, count = np.random.default_rng(1), 50
    draw = lambda: rng.lognormal(-1, 1.0, count)  # noqa: E731
    truth = math.exp(-0.5)

    def plain() -> tuple[float, float]:
        x = draw()
        half = 1.96 * x.std() / math.sqrt(count)
        return x.mean() - half, x.mean() + half

    assert coverage(lambda: intervals.mean_of_losses(draw()), truth, 1500) >= 0.93
    assert coverage(plain, truth, 1500) < 0.925


def test_r2_is_covered() -> None:
    rng = np.random.default_rng(2)

    def draw() -> tuple[float, float]:
        t, e = rng.normal(size=(50, 1)), 0.45 * rng.normal(size=(50, 1))
        return intervals.explained(e**2, t - t.mean(), rng, 200)

    assert coverage(draw, 1 - 0.45**2, 300) >= 0.91


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 2.0), np.array([1.0]), np.zeros(0)])
def test_values_that_are_all_one_have_no_interval(values: np.ndarray) -> None:
    assert all(map(math.isnan, intervals.mean_of_losses(values)))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_intervals_scale_with_the_values(scale: float) -> None:
    values = np.random.default_rng(3).lognormal(size=40)
    assert np.array(intervals.mean_of_losses(values * scale)) == pytest.approx(
        np.array(intervals.mean_of_losses(values)) * scale, rel=1e-6
    )
