"""The MLP head: its formula, its scaling, its choice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from modelgraft_heads.mlp import DECAYS, STEPS, MLPHead
from scipy.special import erf

QUICK = {"steps": 150, "decay": 0.1, "hidden": 64}


def test_logits_are_one_hidden_layer_on_standardised_features(examples: Examples, held: Any) -> None:
    head = MLPHead.fit(examples, **QUICK)
    names = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
    first, shift, second, bias = (getattr(head, name).double().numpy() for name in names)
    features = examples.features.double().numpy()
    deviation = features.std(axis=0)
    varies = deviation > 0
    floor = np.sort(deviation[varies])[(varies.sum() - 1) // 2] / 10  # torch's median is the lower of the middle two
    inverse = np.where(varies, 1 / np.maximum(deviation, floor), 0.0)
    inputs = (held[0].double().numpy() - features.mean(axis=0)) * inverse
    middle = inputs @ first + shift
    expected = (middle * (1 + erf(middle / np.sqrt(2))) / 2) @ second + bias
    np.testing.assert_allclose(head.logits(held[0]), expected, atol=2e-4)
    assert (~varies).any()  # digits have pixels that are always empty


def test_it_learns_what_a_linear_head_cannot() -> None:
    points = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (400, 2)), dtype=torch.float32)
    targets = (points[:, 0] * points[:, 1] > 0).long()
    quadrants = Examples(
        points[:300], targets[:300], "single-label", ("no", "yes"), torch.zeros(300, dtype=torch.int64)
    )
    head = MLPHead.fit(quadrants, steps=400, decay=0.01, hidden=64, rate=1e-2)
    assert (head.logits(points[300:]).argmax(dim=1) == targets[300:]).float().mean() > 0.93


def test_a_regression_is_in_the_units_of_its_targets(examples: Examples, held: Any) -> None:
    targets = torch.stack([examples.features.sum(dim=1) * 1000 + 1e5, examples.features[:, 20] / 1000], dim=1)
    numbers = replace(examples, task="regression", targets=targets, classes=("sum", "pixel"))
    found = MLPHead.fit(numbers, **QUICK).logits(held[0])
    expected = torch.stack([held[0].sum(dim=1) * 1000 + 1e5, held[0][:, 20] / 1000], dim=1)
    explained = 1 - ((found - expected) ** 2).mean(dim=0) / expected.var(dim=0)
    assert explained[0] > 0.5 and explained[1] > 0.3


@pytest.mark.full
def test_steps_and_decay_are_chosen_by_folds(examples: Examples, held: Any) -> None:
    head = MLPHead.fit(examples, hidden=32)
    report = head.report()
    assert [(row["steps"], row["decay"]) for row in report["curve"]] == [(s, d) for s in STEPS for d in DECAYS]
    assert report["chosen"]["steps"] >= 100
    assert (head.logits(held[0]).argmax(dim=1) == held[1]).float().mean() > 0.9


def test_the_seed_decides(examples: Examples, held: Any) -> None:
    first = MLPHead.fit(examples, **QUICK).logits(held[0])
    assert not torch.equal(first, MLPHead.fit(replace(examples, seed=4), **QUICK).logits(held[0]))


@pytest.mark.parametrize("settings", [{"dropout": 1}, {"steps": 0}, {"hidden": 0.5}, {"decay": -1}])
def test_settings_that_cannot_be(examples: Examples, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        MLPHead.fit(examples, **settings)
