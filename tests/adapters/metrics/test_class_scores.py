"""Macro F1 and the area under the curve: scikit-learn's values, and errors that are the spread of repeated draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from modelgraft_adapters.metrics.class_scores import area_under_curve, macro_f1
from sklearn.metrics import f1_score, roc_auc_score


def drawn(seed: int, count: int, classes: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, count, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), targets] += 1.2
    if ties:
        logits = logits.round()
    odds = np.exp(logits)
    return targets, (odds / odds.sum(axis=1, keepdims=True)).round(6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_values_are_scikit_learn_s(classes: int, ties: bool) -> None:
    for seed in range(5):
        targets, outputs = drawn(seed, 120, classes, ties)
        predicted = outputs.argmax(axis=1)
        assert macro_f1(targets, predicted, classes)[0] == pytest.approx(f1_score(targets, predicted, average="macro"))
        expected = roc_auc_score(targets, outputs[:, 1] if classes == 2 else outputs, multi_class="ovr")
        assert area_under_curve(targets, outputs)[0] == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 5])
def test_errors_are_the_spread_of_repeated_draws(classes: int) -> None:
    both: list[list[Any]] = [[], []]
    for seed in range(400):
        targets, outputs = drawn(seed, 300, classes)
        both[0].append(macro_f1(targets, outputs.argmax(axis=1), classes)[:2])
        both[1].append(area_under_curve(targets, outputs)[:2])
    for found in map(np.array, both):
        assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)


def test_an_item_of_no_class_is_a_miss() -> None:
    # Class 0: 2 of 2 hit, and one more was said to be of it; class 1: 1 of 1.
    assert macro_f1(np.array([0, 0, 1, -1]), np.array([0, 0, 1, 0]), 2)[0] == pytest.approx((4 / 5 + 1) / 2)
    area, _, judged, _ = area_under_curve(np.array([0, 0, -1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]))
    assert area == pytest.approx(0.5) and judged == 1


def test_one_class_has_no_curve() -> None:
    area, error, judged, _ = area_under_curve(np.zeros(4, int), np.full((4, 2), 0.5))
    assert math.isnan(area) and math.isnan(error) and judged == 0
    assert macro_f1(np.zeros(4, int), np.zeros(4, int), 3)[0] == 1.0


def test_many_classes_are_quick_enough_and_right() -> None:
    targets, outputs = drawn(0, 500, 100)
    present = np.unique(targets)
    areas = [roc_auc_score(targets == c, outputs[:, c]) for c in present]
    assert area_under_curve(targets, outputs)[0] == pytest.approx(np.mean(areas))
