"""Pseudo-labels: the classifier inside against scikit-learn, what is taken, when it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.learning import Examples
from modelgraft_heads.pseudo_label import PseudoLabelHead, _confident
from sklearn.linear_model import LogisticRegression


def _standard(examples: Examples, features: torch.Tensor) -> np.ndarray:
    assert examples.unlabelled is not None
    points = torch.cat([examples.features, examples.unlabelled]).double().numpy()
    return (features.double().numpy() - points.mean(axis=0)) / np.sqrt(((points - points.mean(axis=0)) ** 2).mean())


def test_when_nothing_is_sure_enough_it_is_logistic_regression(examples: Examples, held: Any) -> None:
    head = PseudoLabelHead.fit(examples, C=0.01, threshold=1.0)
    peer = LogisticRegression(C=0.01, max_iter=10_000, tol=1e-10)
    peer.fit(_standard(examples, examples.features), examples.targets.numpy())
    np.testing.assert_allclose(head.probabilities(held[0]), peer.predict_proba(_standard(examples, held[0])), atol=1e-4)
    assert head.report()["rounds"] == [{"round": 1, "taken": 0, "changed": 0}]


def test_two_classes(examples: Examples, held: Any) -> None:
    two = replace(examples, targets=(examples.targets > 4).long(), classes=("small", "large"))
    head = PseudoLabelHead.fit(two, C=0.01, threshold=1.0)
    peer = LogisticRegression(C=0.01, max_iter=10_000, tol=1e-10)
    peer.fit(_standard(two, two.features), two.targets.numpy())
    np.testing.assert_allclose(head.probabilities(held[0]), peer.predict_proba(_standard(two, held[0])), atol=1e-4)


def test_the_last_round_is_a_fixed_point(examples: Examples) -> None:
    head = PseudoLabelHead.fit(examples, C=0.1)
    rounds = head.report()["rounds"]
    assert 1 < len(rounds) <= 10
    assert rounds[0]["taken"] == rounds[0]["changed"] > 0 and rounds[-1]["changed"] == 0
    assert examples.unlabelled is not None
    found = head.probabilities(examples.unlabelled).double().numpy()
    shares = np.bincount(examples.targets.numpy(), minlength=10) / 200
    labels = _confident(found, shares, 0.95)
    assert abs(int((labels >= 0).sum()) - rounds[-1]["taken"]) <= 1
    # fitting to the labelled items and these gives the same head
    taken = labels >= 0
    inputs = np.concatenate([_standard(examples, examples.features), _standard(examples, examples.unlabelled)[taken]])
    peer = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-10)
    peer.fit(inputs, np.concatenate([examples.targets.numpy(), labels[taken]]))
    again = peer.predict_proba(_standard(examples, examples.unlabelled))
    np.testing.assert_allclose(found, again, atol=0.01)


def test_no_class_takes_more_than_its_share() -> None:
    found = np.array([[0.99, 0.01], [0.98, 0.02], [0.97, 0.03], [0.96, 0.04], [0.2, 0.8], [0.01, 0.99]])
    assert _confident(found, np.array([0.5, 0.5]), 0.95).tolist() == [0, 0, 0, -1, -1, 1]  # 5 sure ones: 3 each at most
    assert _confident(found, np.array([0.5, 0.5]), 0.5).tolist() == [0, 0, 0, -1, 1, 1]


@pytest.mark.full
def test_it_does_not_fall_behind_the_classifier_inside(examples: Examples, held: Any) -> None:
    accuracy = [
        float((PseudoLabelHead.fit(examples, threshold=t).logits(held[0]).argmax(dim=1) == held[1]).float().mean())
        for t in (1.0, 0.95)
    ]
    assert accuracy[1] > accuracy[0] - 0.02 > 0.85


def test_rounds_can_be_bounded(examples: Examples) -> None:
    report = PseudoLabelHead.fit(examples, C=0.1, rounds=1).report()
    assert len(report["rounds"]) == 1
    assert "still changing" in report["notes"][0]
