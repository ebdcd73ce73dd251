"""Temperatures against a search of the loss, sets against their guarantee on simulated items, clear words for what cannot be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.metrics import calibration
from modelgraft_adapters.metrics.calibration import (
    LEAST,
    MOST,
    Calibration,
    best_temperature,
    calibrate,
    conformal_threshold,
    prediction_sets,
    strangeness,
    tempered,
)
from scipy.special import softmax
from scipy.stats import binom


def drawn(rng: np.random.Generator, count: int, classes: int = 5, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right at a temperature of ``sharp``, and classes drawn by them."""
    logits = 2 * rng.normal(size=(count, classes))
    true = softmax(logits, axis=1)
    targets = np.array([rng.choice(classes, p=row) for row in true])
    return softmax(sharp * logits, axis=1), targets


def loss(probabilities: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    found = softmax(np.log(probabilities) / temperature, axis=1)
    return float(-np.log(found[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize("sharp", [0.3, 1.0, 4.0])
def test_the_temperature_has_the_least_loss_and_undoes_what_was_done(sharp: float) -> None:
    probabilities, targets = drawn(np.random.default_rng(0), 4000, sharp=sharp)
    found = best_temperature(probabilities, targets)
    assert found == pytest.approx(sharp, rel=0.1)
    best = loss(probabilities, targets, found)
    assert all(best <= loss(probabilities, targets, found * step) for step in (0.9, 0.99, 1.01, 1.1))
    expected = softmax(np.log(probabilities.clip(1e-12)) / found, axis=1)
    assert np.abs(tempered(probabilities, found) - expected).max() < 1e-6
    assert (tempered(probabilities, found).argmax(axis=1) == probabilities.argmax(axis=1)).all()


def test_temperatures_have_bounds() -> None:
    sure = np.tile([0.9, 0.1], (20, 1))
    assert best_temperature(sure, np.zeros(20, int)) == LEAST  # all right: the surer the better
    assert best_temperature(sure, np.ones(20, int)) == MOST
    assert best_temperature(sure, np.full(20, -1)) == 1.0 == best_temperature(np.ones((3, 1)), np.zeros(3, int))
    zeros = np.tile([1.0, 0.0], (20, 1))
    assert np.isfinite(tempered(zeros, LEAST)).all() and LEAST <= best_temperature(zeros, np.arange(20) % 2) <= MOST


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_hold_the_true_class_as_often_as_is_asked(coverage: float) -> None:
    rng, held, sizes, count = np.random.default_rng(1), [], [], 4000
    probabilities, targets = drawn(rng, 100 * 140, sharp=3.0)  # a classifier that is far too sure
    for begin in range(0, len(targets), 140):
        some = slice(begin, begin + 100)
        found = calibrate(probabilities[some], targets[some], "100 items")
        rest = slice(begin + 100, begin + 140)
        sets = found.sets(found.tempered(probabilities[rest]), coverage)
        held += sets[np.arange(40), targets[rest]].tolist()
        sizes += sets.sum(axis=1).tolist()
    # Between coverage and coverage + 1/(n + 1), for items that are exchangeable.
    low, high = (int(binom.ppf(q, count, c)) for q, c in ((0.001, coverage), (0.999, coverage + 1 / 101)))
    assert low <= sum(held) <= high and 1 < np.mean(sizes) < 4


def test_the_threshold_is_the_order_statistic() -> None:
    found = np.arange(1, 10) / 10  # nine of them
    assert conformal_threshold(found, 0.9) == 0.9 and conformal_threshold(found, 0.5) == 0.5
    assert conformal_threshold(found[::-1], 0.81) == 0.9
    with pytest.raises(
        UsageError, match=r"takes at least 19 items to calibrate on, and there are 9; ask for 0.9 or less"
    ):
        conformal_threshold(found, 0.95)


def test_unknown_classes_are_strange_and_never_in_a_set() -> None:
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8]])
    assert strangeness(probabilities, np.array([0, -1])).tolist() == pytest.approx([0.3, 1.0])
    assert prediction_sets(probabilities, 0.5).tolist() == [[True, False], [False, True]]
    assert prediction_sets(probabilities, 1.0).all()


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, math.nan, "0.9", True, None])
def test_a_coverage_that_is_none(coverage: Any) -> None:
    with pytest.raises(UsageError, match="coverage="):
        conformal_threshold(np.zeros(100), coverage)


@pytest.mark.parametrize(
    ("probabilities", "targets", "said"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "N classes"),
        (np.full((3, 2), 0.5), np.zeros(2, int), "N classes"),
        (np.full((3, 2), 0.6), np.zeros(3, int), "sum of 1"),
        (np.array([[1.5, -0.5]]), np.zeros(1, int), "not below 0"),
        (np.array([[math.nan, 1.0]]), np.zeros(1, int), "not below 0"),
        (np.full((3, 2), 0.5), np.full(3, 2), "a class of number 2"),
    ],
)
def test_what_nothing_can_be_learned_of(probabilities: np.ndarray, targets: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        calibrate(probabilities, targets, "items")


@pytest.mark.parametrize(
    ("temperature", "found"),
    [(0.0, [0.5]), (math.nan, [0.5]), (1.0, []), (1.0, [0.5, 0.1]), (1.0, [math.nan]), (1.0, [2.0])],
)
def test_a_damaged_calibration_is_refused(temperature: float, found: list[float]) -> None:
    with pytest.raises(UsageError, match="calibrate anew"):
        Calibration(temperature, np.array(found), "items")


def test_a_single_class_and_no_rows() -> None:
    assert calibration.tempered(np.zeros((0, 3)), 2.0).shape == (0, 3)
    assert calibrate(np.ones((30, 1)), np.zeros(30, int), "30 items").sets(np.ones((2, 1)), 0.9).all()
