"""Differences of two ways on the same items: against references of SciPy and scikit-learn, and against what they claim to cover."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from modelgraft.learning import Task
from modelgraft_adapters.metrics.paired import Answers, difference, main_score, mcnemar, reach
from modelgraft_adapters.metrics.scores import evaluate
from modelgraft_adapters.metrics.spread import CurvePoint
from scipy.stats import binomtest


def answers(right: np.ndarray) -> Answers:
    return Answers("single-label", right.astype(float), np.zeros((0, 0)), np.zeros((0, 0)))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (7, 2), (12, 12), (3, 40), (150, 201)])
def test_mcnemar_is_the_binomial_test_of_the_items_that_differ(first: int, second: int) -> None:
    both = first + second
    tail = Fraction(sum(math.comb(both, k) for k in range(min(first, second) + 1)), 2**both)
    assert mcnemar(first, second) == pytest.approx(float(min(2 * tail, 1)), rel=1e-9)


def test_one_seed_counts_items_in_pairs() -> None:
    one = np.array([1] * 70 + [1] * 15 + [0] * 5 + [0] * 10)
    other = np.array([1] * 70 + [0] * 15 + [1] * 5 + [0] * 10)
    found = difference([answers(one)], [answers(other)])
    assert found.value == pytest.approx(0.10)
    assert found.p == pytest.approx(binomtest(15, 20, 0.5).pvalue)
    # Agresti and Min 2005: half an item more in each cell, then the interval of Wald.
    middle, error = 10 / 102, math.sqrt(21 - 100 / 102) / 102
    assert (found.low, found.high) == pytest.approx((middle - 1.959964 * error, middle + 1.959964 * error))


def test_an_item_that_one_could_not_read_is_in_no_pair() -> None:
    one = np.array([1.0, 0.0, np.nan, 1.0])
    other = np.array([1.0, 1.0, 0.0, np.nan])
    assert difference([answers(one)], [answers(other)]).value == pytest.approx(-0.5)


def test_no_difference_in_few_items_is_no_certainty() -> None:
    same = answers(np.ones(10))
    found = difference([same], [same])
    assert found.value == 0 and found.p == 1 and found.low < -0.05 and found.high > 0.05


def test_what_is_drawn_for_no_seed_stands_beside_each() -> None:
    rng = np.random.default_rng(0)
    zero = answers(rng.random(200) < 0.6)
    seeds = [answers(rng.random(200) < p) for p in (0.8, 0.85, 0.7)]
    found = difference([zero], seeds)
    mean = np.mean([zero.right.mean() - s.right.mean() for s in seeds])
    assert found.value == pytest.approx(mean) and found.p is None and found.low < mean < found.high < 0


def test_the_interval_covers_the_truth_and_pairs_make_it_narrow() -> None:
    """Two ways that share most of their errors, of which the truth is known: 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    held, width, lone = 0, [], []
    for _ in range(400):
        hard = rng.random(300) < 0.3  # wrong for both
        one, other = ~hard & (rng.random(300) < 0.98), ~hard & (rng.random(300) < 0.93)
        found = difference([answers(one)], [answers(other)])
        held += found.low <= 0.7 * 0.05 <= found.high
        width.append(found.high - found.low)
        lone.append(2 * 1.96 * math.sqrt((one.mean() * (1 - one.mean()) + other.mean() * (1 - other.mean())) / 300))
    assert 0.92 <= held / 400 <= 0.99
    assert np.mean(width) < 0.55 * np.mean(lone), "two scores with an interval each would be far less sure"


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_the_score_that_is_resampled_is_that_of_the_evaluation(task: Task) -> None:
    rng = np.random.default_rng(2)
    targets = (rng.random((80, 4)) < 0.3).astype(np.float32) if task == "multi-label" else rng.normal(size=(80, 2))
    outputs = np.round(
        rng.random(targets.shape), 1
    )  # rounded: equal scores, which average precision must take together
    found = evaluate(task, "abcd"[: targets.shape[1]], targets, outputs, [""] * 80, np.arange(80), resamples=2)
    assert main_score(task, targets, outputs) == pytest.approx(found.score.value, abs=1e-9)


@pytest.mark.full
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_are_resampled_in_pairs(task: Task) -> None:
    rng = np.random.default_rng(3)
    targets = (rng.random((150, 3)) < 0.4).astype(float)
    good, poor = targets + rng.normal(0, 0.3, targets.shape), targets + rng.normal(0, 1.0, targets.shape)
    nothing = np.zeros(0)
    one, other = (Answers(task, nothing, outputs, targets) for outputs in (good, poor))
    found = difference([one], [other])
    assert 0 < found.low < found.value < found.high
    assert difference([one], [one]).low == 0 == difference([one], [one]).high


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_answers_are_kept_as_json_and_come_back(task: Task) -> None:
    if task == "single-label":
        before = answers(np.array([1.0, 0.0, np.nan]))
    else:
        outputs = np.array([[0.25, 0.5], [np.nan, np.nan]])
        before = Answers(task, np.zeros(0), outputs, np.array([[1.0, 0.0], [0.0, 0.0]]))
    after = Answers.restore(task, before.record())
    for name in ("right", "outputs", "targets"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def point(shots: int | None, mean: float, items: float = 0) -> CurvePoint:
    return CurvePoint(shots, items, mean, mean, mean, (mean,))


@pytest.mark.parametrize(
    ("points", "wanted", "says"),
    [
        ([point(4, 0.6), point(16, 0.8)], 0.7, "8"),  # half-way along the logarithm
        ([point(4, 0.6), point(None, 0.9, 640)], 0.9, "64"),  # all of 10 classes
        ([point(4, 0.6), point(16, 0.8)], 0.81, "not reached"),
        ([point(4, 0.6), point(16, 0.8)], 0.5, "<= 4"),
        ([point(0, 0.6)], 0.5, "0"),
        ([point(0, 0.6)], 0.7, "not reached"),
        ([point(4, 0.8), point(16, 0.6), point(64, 0.9)], 0.75, "<= 4"),
    ],
)
def test_labels_that_a_score_takes(points: list[CurvePoint], wanted: float, says: str) -> None:
    assert str(reach(points, 10, wanted)) == says
