"""The cosine head against zero-shot, its limits, and CLAP written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import ScoreRule
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, TextClasses
from modelgraft_heads.cosine import LENGTH, CosineHead
from modelgraft_heads.text import TextHead
from torch.nn import functional as F

from tests.heads.conftest import folds_of


def _accuracy(head: Any, held: Any) -> float:
    return float((head.logits(held[0]).argmax(dim=1) == held[1]).float().mean())


def _rows(examples: Examples, rows: torch.Tensor, folds: torch.Tensor | None = None) -> Examples:
    folds = torch.zeros(len(rows), dtype=torch.int64) if folds is None else folds
    return replace(examples, features=examples.features[rows], targets=examples.targets[rows], folds=folds)


def test_nothing_of_what_was_learnt_is_zero_shot(examples: Examples, held: Any) -> None:
    found = CosineHead.fit(examples, blend=0, epochs=5).logits(held[0])
    torch.testing.assert_close(found, TextHead.fit(examples).logits(held[0]), atol=1e-5, rtol=0)


def test_a_strong_constraint_is_zero_shot_and_a_weak_one_is_not(examples: Examples, held: Any) -> None:
    expected = TextHead.fit(examples).logits(held[0])
    strong = CosineHead.fit(examples, constraint=1e9, blend=1, epochs=20).logits(held[0])
    torch.testing.assert_close(strong, expected, atol=1e-4, rtol=0)
    gaps = [
        (CosineHead.fit(examples, constraint=c, blend=1, epochs=100).logits(held[0]) - expected).abs().max()
        for c in (10.0, 0.1)
    ]
    assert 0.01 < gaps[0] < gaps[1]


@pytest.mark.full
def test_it_reaches_the_minimum_of_the_published_loss(examples: Examples) -> None:
    """One batch, long: the minimum that L-BFGS in float64 finds of cross-entropy + mean of α_c‖w_c − t_c‖²."""
    assert examples.text is not None
    features = F.normalize(examples.features.double(), dim=1)
    text = F.normalize(examples.text.weight.double(), dim=1)
    labels = F.one_hot(examples.targets, 10).double()
    zero_shot = (30 * features @ text.T).softmax(dim=1)
    alpha = (zero_shot * labels).sum(dim=0) / labels.sum(dim=0)
    anchor = text * LENGTH

    def loss(weight: torch.Tensor) -> torch.Tensor:
        logits = 30 * features @ F.normalize(weight, dim=1).T
        return F.cross_entropy(logits, examples.targets) + (alpha * ((weight - anchor) ** 2).sum(dim=1)).mean()

    weight = anchor.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [weight], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = loss(weight)
        value.backward()
        return value

    solver.step(closure)
    found = CosineHead.fit(examples, blend=1, batch=200, epochs=2000, constraint="clap")
    expected = F.normalize(weight.detach(), dim=1).float()
    moved = (expected - text.float()).norm()
    assert (found.weight - expected).norm() < 0.02 * moved
    assert moved > 0.05


def test_it_is_better_than_zero_shot_where_there_is_something_to_learn(examples: Examples, held: Any) -> None:
    head = CosineHead.fit(examples)
    assert head.report()["chosen"]["blend"] > 0
    assert _accuracy(head, held) > _accuracy(TextHead.fit(examples), held) + 0.04


@pytest.mark.full
@pytest.mark.parametrize("shots", [1, 2, 4, 8])
def test_few_shots_never_fall_below_zero_shot_beyond_its_interval(shots: int, examples: Examples, held: Any) -> None:
    zero_shot = _accuracy(TextHead.fit(examples), held)
    interval = 1.96 * np.sqrt(zero_shot * (1 - zero_shot) / 600)
    for seed in range(3):
        order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
        rows = torch.cat([order[examples.targets[order] == c][:shots] for c in range(10)])
        folds = folds_of(examples.targets[rows].numpy(), min(shots, 5)) if shots > 1 else None
        assert _accuracy(CosineHead.fit(_rows(examples, rows, folds), epochs=100), held) > zero_shot - interval


def test_labels_that_are_noise_leave_it_near_zero_shot(examples: Examples, held: Any) -> None:
    shuffled = examples.targets[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    noisy = replace(examples, targets=shuffled, folds=folds_of(shuffled.numpy()))
    trained = _accuracy(CosineHead.fit(noisy, blend=1, constraint="none"), held)
    assert trained < 0.5 < _accuracy(TextHead.fit(examples), held) - 0.1  # believed, the noise would ruin it
    rightly_labelled = _rows(examples, torch.arange(200))
    assert CosineHead.fit(replace(rightly_labelled, folds=examples.folds)).report()["chosen"]["blend"] > 0


def test_what_folds_do_not_prove_is_not_believed(examples: Examples, held: Any) -> None:
    """A text tower that is right already: training on few examples has nothing to add, and zero-shot stays."""
    assert examples.text is not None
    features = F.normalize(held[0], dim=1)
    means = torch.stack([features[held[1] == c].mean(dim=0) for c in range(10)])
    perfect = TextClasses(F.normalize(means - means.mean(dim=0), dim=1), ScoreRule("softmax", 30.0))
    rows = torch.cat([(examples.targets == c).nonzero().flatten()[:2] for c in range(10)])
    few = replace(_rows(examples, rows, torch.arange(20) % 2), text=perfect)
    assert _accuracy(CosineHead.fit(few), held) > _accuracy(TextHead.fit(few), held) - 0.02


def test_a_class_without_examples_keeps_its_name(examples: Examples, held: Any) -> None:
    kept = (examples.targets != 7).nonzero().flatten()
    head = CosineHead.fit(_rows(examples, kept), blend=1, epochs=50)
    text = TextHead.fit(examples)
    torch.testing.assert_close(head.weight[7], text.weight[7], atol=1e-6, rtol=0)
    assert not torch.allclose(head.weight[6], text.weight[6], atol=1e-3)
    assert any("no example of 7" in line for line in head.report()["notes"])


def test_without_folds_half_is_zero_shot(examples: Examples) -> None:
    head = CosineHead.fit(_rows(examples, torch.arange(200)), epochs=5)
    assert head.report()["chosen"]["blend"] == 0.5
    whole = CosineHead.fit(_rows(examples, torch.arange(200)), epochs=5, blend=1)
    torch.testing.assert_close(head.weight, (whole.weight + TextHead.fit(examples).weight) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rule", [ScoreRule("sigmoid", 30.0, -5.0), ScoreRule("softmax", 0.5, 0.0, "dot")])
def test_other_rules_learn_too(examples: Examples, held: Any, rule: ScoreRule) -> None:
    assert examples.text is not None
    ruled = replace(examples, text=TextClasses(examples.text.weight, rule))
    zero_shot, head = TextHead.fit(ruled), CosineHead.fit(ruled, epochs=100)
    assert _accuracy(head, held) >= _accuracy(zero_shot, held)
    at_zero = CosineHead.fit(ruled, blend=0, epochs=1)
    torch.testing.assert_close(at_zero.logits(held[0]), zero_shot.logits(held[0]), atol=1e-4, rtol=1e-5)


def test_without_a_text_it_starts_at_the_class_means_and_learns(examples: Examples, held: Any) -> None:
    plain = replace(examples, text=None)
    head = CosineHead.fit(plain, epochs=100)
    assert _accuracy(head, held) > 0.9
    assert set(head.report()["chosen"]) == {"scale", "constraint"}
    means = CosineHead.fit(plain, constraint=1e9, scale=10, epochs=5)
    features = F.normalize(examples.features, dim=1)
    expected = F.normalize(torch.stack([features[examples.targets == c].mean(dim=0) for c in range(10)]), dim=1)
    torch.testing.assert_close(means.weight, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{"blend": 0.5}, {"constraint": "clap"}])
def test_settings_about_names_need_names(examples: Examples, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="embeds no texts"):
        CosineHead.fit(replace(examples, text=None), **settings)


@pytest.mark.parametrize("settings", [{"blend": 2}, {"constraint": "strong"}, {"constraint": -1}, {"scale": 3}])
def test_settings_that_cannot_be(examples: Examples, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        CosineHead.fit(examples, **settings)
