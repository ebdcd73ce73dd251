"""Tip-Adapter and Tip-Adapter-F against their formula and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import ScoreRule
from modelgraft.learning import Examples, TextClasses
from modelgraft_heads.knn import KNNHead
from modelgraft_heads.text import TextHead
from modelgraft_heads.tip_adapter import TipAdapterFHead, TipAdapterHead

HEADS = [TipAdapterHead, TipAdapterFHead]


def _unit(vectors: torch.Tensor) -> np.ndarray:
    found = vectors.double().numpy()
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    "rule", [ScoreRule("softmax", 100.0), ScoreRule("sigmoid", 50.0, -8.0), ScoreRule("softmax", 0.1, 0.0, "dot")]
)
def test_logits_are_the_formula(examples: Examples, held: Any, rule: ScoreRule) -> None:
    assert examples.text is not None
    ruled = replace(examples, text=TextClasses(examples.text.weight, rule))
    features, keys = _unit(held[0]), _unit(examples.features)
    measured = features if rule.similarity == "cosine" else held[0].double().numpy()
    zero_shot = rule.scale * measured @ examples.text.weight.double().numpy().T + rule.bias
    cache = np.exp(-5.5 * (1 - features @ keys.T)) @ np.eye(10)[examples.targets]
    found = TipAdapterHead.fit(ruled, alpha=2.0, beta=5.5).logits(held[0])
    np.testing.assert_allclose(found, zero_shot + 2.0 * cache, atol=2e-4)


@pytest.mark.parametrize("head", HEADS)
def test_without_the_cache_it_is_zero_shot(examples: Examples, held: Any, head: type[TipAdapterHead]) -> None:
    expected = TextHead.fit(examples)
    found = head.fit(examples, alpha=0)
    torch.testing.assert_close(found.logits(held[0]), expected.logits(held[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.probabilities(held[0]), expected.probabilities(held[0]), atol=1e-5, rtol=0)


def test_a_sharp_and_heavy_cache_is_the_nearest_neighbour(examples: Examples, held: Any) -> None:
    found = TipAdapterHead.fit(examples, alpha=1e30, beta=400.0).logits(held[0]).argmax(dim=1)
    expected = KNNHead.fit(examples, k=1).logits(held[0]).argmax(dim=1)
    assert (found == expected).float().mean() > 0.995


def test_alpha_and_beta_come_from_folds_of_the_examples(examples: Examples, held: Any) -> None:
    head = TipAdapterHead.fit(examples)
    report = head.report()
    scores = {(row["alpha"], row["beta"]): row["score"] for row in report["curve"]}
    keys, logits = _unit(examples.features), TextHead.fit(examples).logits(examples.features).double().numpy()
    targets, folds = examples.targets.numpy(), examples.folds.numpy()
    total = 0.0
    for fold in range(5):
        train, rows = folds != fold, folds == fold
        cache = np.exp(-10.0 * (1 - keys[rows] @ keys[train].T)) @ np.eye(10)[targets[train]]
        z = logits[rows] + 3.0 * cache
        total += (z[range(len(z)), targets[rows]] - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) - z.max(1)).sum()
    assert scores[3.0, 10.0] == pytest.approx(total / 200, abs=1e-4)
    assert report["chosen"]["alpha"] > 0
    accuracy = [(h.logits(held[0]).argmax(dim=1) == held[1]).float().mean() for h in (head, TextHead.fit(examples))]
    assert accuracy[0] > accuracy[1] + 0.05


def test_examples_that_say_nothing_leave_zero_shot(examples: Examples, held: Any) -> None:
    noise = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    head = TipAdapterHead.fit(replace(examples, features=noise))
    # beside features that say nothing, zero-shot of them says nothing either: only the shape of the choice is looked at
    assert head.report()["curve"][0]["alpha"] == 0.0
    shuffled = examples.targets[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert TipAdapterHead.fit(replace(examples, targets=shuffled), beta=5.5).report()["chosen"]["alpha"] <= 1.0


def test_trained_keys_start_at_the_examples_and_fit_them_better(examples: Examples, held: Any) -> None:
    settings = {"alpha": 1.0, "beta": 5.5}
    plain = TipAdapterHead.fit(examples, **settings)
    still = TipAdapterFHead.fit(examples, rate=0, **settings)
    assert torch.equal(still.logits(held[0]), plain.logits(held[0]))
    trained = TipAdapterFHead.fit(examples, **settings)
    loss = [-h.probabilities(examples.features)[range(200), examples.targets].log().mean() for h in (plain, trained)]
    assert loss[1] < loss[0]
    assert not torch.equal(trained.keys, plain.keys)


@pytest.mark.parametrize("head", HEADS)
def test_without_folds_it_takes_the_published_values(examples: Examples, head: type[TipAdapterHead]) -> None:
    report = head.fit(replace(examples, folds=torch.zeros(200, dtype=torch.int64))).report()
    assert report["chosen"] == {"alpha": 1.0, "beta": 5.5}
    assert "too few" in report["notes"][0]
