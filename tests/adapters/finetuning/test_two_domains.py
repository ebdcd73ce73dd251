"""Deep CORAL and DANN: the losses against their formulas, the reversed gradient, what weight 0 is, resuming, and a moved domain."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter, MultiTaskTuner
from modelgraft_adapters.finetuning import run
from modelgraft_adapters.finetuning.fixmatch import MixedItems
from modelgraft_adapters.finetuning.loop import Loop
from modelgraft_adapters.finetuning.losses import Objective
from modelgraft_adapters.finetuning.run import Interrupted
from modelgraft_adapters.finetuning.two_domains import (
    Adversarial,
    Coral,
    DomainObjective,
    covariance_distance,
    ramp,
    reversed_gradient,
)
from torch import nn
from torch.nn import functional as F

from tests.adapters.finetuning.backbones import WIDTH, Pictures
from tests.adapters.finetuning.test_norm_adaptation import _images

WAYS = ("deep-coral", "dann")
SHORT: dict[str, Any] = {"strategy": "full", "steps": 7, "batch_size": 16, "lr": 1e-2, "precision": "fp32"}


def _drawn(count: int, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_the_distance_of_covariances_is_its_formula() -> None:
    """Against the paper's equations 2 and 3, written with the vector of ones, and numpy's covariance; in float64."""
    source, target = 2 * _drawn(9), 3 * _drawn(14, seed=1) + 100
    covariances = []
    for features in (source.double().numpy(), target.double().numpy()):
        count, ones = len(features), np.ones((1, len(features)))
        sums = ones @ features
        covariances.append((features.T @ features - sums.T @ sums / count) / (count - 1))
        np.testing.assert_allclose(covariances[-1], np.cov(features, rowvar=False), atol=1e-8)
    expected = np.linalg.norm(covariances[0] - covariances[1], "fro") ** 2 / (4 * 5**2)
    assert float(covariance_distance(source, target)) == pytest.approx(expected, rel=1e-4)
    doubled = covariance_distance(source.double(), target.double())
    assert doubled.dtype == torch.float32 and float(doubled) == pytest.approx(expected, rel=1e-4)


def test_equal_domains_are_at_no_distance() -> None:
    source = _drawn(9).requires_grad_()
    distance = covariance_distance(source, source.detach().clone())
    assert float(distance.detach()) == 0
    distance.backward()
    assert not source.grad.any()
    moved = covariance_distance(source, source + 8)
    assert float(moved.detach()) < 1e-10, "means are not looked at"


@pytest.mark.parametrize("counts", [(1, 9), (9, 1)])
def test_one_item_has_no_covariance(counts: tuple[int, int]) -> None:
    """By n - 1 it would be 0 / 0: the step is then that of the labelled items."""
    source, target = _drawn(counts[0]).requires_grad_(), _drawn(counts[1], seed=1).requires_grad_()
    distance = covariance_distance(source, target)
    assert float(distance.detach()) == 0
    distance.backward()
    assert not source.grad.any() and not target.grad.any()


def test_the_gradient_of_the_distance_is_right() -> None:
    """The paper's equations 4 and 5 for each domain."""
    source, target = _drawn(6).requires_grad_(), 2 * _drawn(8, seed=1)
    covariance_distance(source, target).backward()
    centred = (source - source.mean(0)).detach()
    gap = torch.cov(source.detach().T) - torch.cov(target.T)
    torch.testing.assert_close(source.grad, centred @ gap / (5**2 * 5), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 7.0])
def test_the_reversal_turns_the_gradient_exactly(strength: float) -> None:
    features, given = _drawn(7).requires_grad_(), torch.tensor(strength)
    seen = reversed_gradient(features, given)
    assert torch.equal(seen, features)
    back = _drawn(7, seed=3)
    seen.backward(back)
    assert torch.equal(features.grad, -given * back)


def test_the_ramp_is_the_papers() -> None:
    assert ramp(0.0) == 0 and ramp(0.1) == pytest.approx(2 / (1 + np.exp(-1)) - 1) and 0.9999 < ramp(1.0) < 1
    module = Adversarial(Pictures(), nn.Linear(WIDTH, 2), 0.5, WIDTH, 0)
    module.at(0.25)
    assert float(module.strength) == pytest.approx(0.5 * (2 / (1 + np.exp(-2.5)) - 1))


def test_the_domain_classifiers_loss_is_its_formula_and_turns_at_the_embedding() -> None:
    """Binary cross-entropy by numpy; the classifier descends, and what is below it ascends, strength times as far."""
    module = Adversarial(Pictures(), nn.Linear(WIDTH, 2), 2.0, WIDTH, 0)
    module.at(0.3)
    features = _drawn(4 * 3, WIDTH).view(4, 3, WIDTH).requires_grad_()
    losses = module.apart(features)
    logits = module.beside(features.detach()).squeeze(-1).detach().double().numpy()
    domain = np.array([1.0, 0.0, 0.0])
    p = 1 / (1 + np.exp(-logits))
    single = -(domain * np.log(p) + (1 - domain) * np.log(1 - p))
    np.testing.assert_allclose(losses.detach().numpy(), (single[:, 0] + single[:, 1:].mean(1)) / 2, rtol=1e-5)
    losses.sum().backward()
    own = [p.grad.clone() for p in module.beside.parameters()]
    plain = features.detach().clone().requires_grad_()
    logits = module.beside(plain).squeeze(-1)
    module.beside.zero_grad()
    labels = torch.tensor(domain, dtype=torch.float32).expand(4, 3)
    weights = torch.tensor([0.5, 0.25, 0.25])
    (F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * weights).sum().backward()
    torch.testing.assert_close(features.grad, -module.strength * plain.grad)
    for found, parameter in zip(own, module.beside.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_the_loss_of_the_labelled_and_that_of_the_domains(way: str) -> None:
    items, _ = _images(0, 6)
    batch = torch.stack([torch.tensor(item).permute(2, 0, 1) / 255 for item in items]).view(3, 2, 3, 8, 8)
    backbone, head, targets = Pictures(), nn.Linear(WIDTH, 2), torch.tensor([0, 1, 1])
    module = Coral(backbone, head, 5.0) if way == "deep-coral" else Adversarial(backbone, head, 5.0, WIDTH, 0)
    weight = 5.0 if way == "deep-coral" else 1.0
    goal = DomainObjective(Objective("single-label"), weight, "it")
    outputs = module.eval()(batch)
    source, target = (backbone.module(batch[:, n]) for n in (0, 1))
    apart = (
        covariance_distance(source, target).expand(3)
        if way == "deep-coral"
        else module.apart(torch.stack([source, target], 1))
    )
    torch.testing.assert_close(outputs[:, -1], apart)
    expected = F.cross_entropy(head(source), targets, reduction="none") + weight * apart
    torch.testing.assert_close(goal(outputs, targets), expected)
    assert f"was {float(apart.detach().mean()):.4g}" in goal.notes[0]
    assert int(goal.right(outputs, head(source).argmax(1))) == 3


def test_a_row_is_a_labelled_image_and_one_view_of_others() -> None:
    def shade(image: Any) -> torch.Tensor:
        return torch.full((3, 1, 1), float(np.asarray(image)[0, 0, 0]))

    own, other = ([np.full((2, 2, 3), n + start, np.uint8) for n in range(5)] for start in (0, 100))
    seen = []
    for item in range(5):
        _, row = MixedItems(own, other, shade, None, 3, 2)[0, item]
        assert row.shape == (3, 3, 1, 1) and float(row[0, 0]) == item
        seen += row[1:, 0, 0, 0].tolist()
    assert sorted(seen) == sorted([100.0, 101, 102, 103, 104] * 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strategy", ["full", pytest.param("lp-ft", marks=pytest.mark.full)])
def test_at_weight_0_it_is_plain_fine_tuning_to_the_last_bit(way: str, strategy: str) -> None:
    """With batch norm that trains, and with clipping; and the note says that nothing was aligned."""
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    options = {**SHORT, "strategy": strategy, "augment": "crop", "clip": 0.01}
    plain = FineTuner(Pictures(), **options).fit(X, y)
    found = FineTuner(Pictures(), semi=way, semi_weight=0, **options).fit(X, y, unlabelled=target)
    assert found.report_["losses"] == plain.report_["losses"] and found.end_.keys() == plain.end_.keys()
    assert all(torch.equal(found.end_[name], value) for name, value in plain.end_.items())
    assert np.array_equal(found.predict_proba(target), plain.predict_proba(target))
    assert any("semi_weight is 0" in note for note in found.notes_)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_towards_weight_0_it_comes_to_plain_fine_tuning(way: str) -> None:
    """Norms as they are: the same but for rounding, though the domain classifier learns and is clipped, by itself."""
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    options = {**SHORT, "norms": "eval", "augment": "none", "clip": 0.05, "optimizer": "sgd"}
    plain = FineTuner(Pictures(), **options).fit(X, y)
    near, far = (
        FineTuner(Pictures(), semi=way, semi_weight=weight, **options).fit(X, y, unlabelled=target)
        for weight in (1e-9, 1e8 if way == "deep-coral" else 50)
    )
    for name, value in plain.end_.items():
        torch.testing.assert_close(near.end_[name], value, rtol=1e-4, atol=1e-5)
    assert any((far.end_[name] - value).abs().max() > 1e-3 for name, value in plain.end_.items())
    beside = [name for name in near.end_ if name.startswith("beside.")]
    assert len(beside) == (4 if way == "dann" else 0)
    assert all(not torch.equal(near.start_[name], near.end_[name]) for name in beside)


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_and_resumed_is_uninterrupted(way: str, tmp_path: Path) -> None:
    """To the same bits, with the domain classifier, its optimizer's state and the ramp; another weight is another run."""
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    options = {**SHORT, "semi": way, "ema": 0.9, "semi_ratio": 2, "augment": "flip"}

    def stop(now: Any) -> None:
        if now.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = FineTuner(Pictures(), **options).fit(X, y, unlabelled=target)
    with pytest.raises(Interrupted, match="stopped at step 3 of 7"):
        FineTuner(Pictures(), folder=tmp_path, tell=stop, **options).fit(X, y, unlabelled=target)
    resumed = FineTuner(Pictures(), folder=tmp_path, **options).fit(X, y, unlabelled=target, resume=True)
    assert resumed.report_["losses"] == whole.report_["losses"]
    assert resumed.end_.keys() == whole.end_.keys()
    assert all(torch.equal(resumed.end_[name], value) for name, value in whole.end_.items())
    assert [note for note in resumed.notes_ if "resumed" not in note] == whole.notes_
    with pytest.raises(UsageError, match="is of another run: its settings is"):
        FineTuner(Pictures(), folder=tmp_path, **{**options, "semi_weight": 2.0}).fit(
            X, y, unlabelled=target, resume=True
        )


@pytest.mark.full
def test_without_the_domain_classifiers_state_a_resumed_run_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard taken out: what the checkpoint has of the domain classifier is not put back."""
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    options = {**SHORT, "semi": "dann"}

    def stop(now: Any) -> None:
        if now.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = FineTuner(Pictures(), **options).fit(X, y, unlabelled=target)
    with pytest.raises(Interrupted):
        FineTuner(Pictures(), folder=tmp_path, tell=stop, **options).fit(X, y, unlabelled=target)
    load = run.load_checkpoint

    def forgetful(path: Path, loop: Loop, about: dict[str, Any]) -> Any:
        kept = {name: value.detach().clone() for name, value in loop.live.items() if name.startswith("beside.")}
        best = load(path, loop, about)
        with torch.no_grad():
            for name, value in kept.items():
                loop.live[name].copy_(value)
        return best

    monkeypatch.setattr(run, "load_checkpoint", forgetful)
    resumed = FineTuner(Pictures(), folder=tmp_path, **options).fit(X, y, unlabelled=target, resume=True)
    assert resumed.report_["losses"] != whole.report_["losses"]


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_what_was_trained_is_saved_and_read_back(way: str, tmp_path: Path) -> None:
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    tuner = FineTuner("embedded/sprig", semi=way, strategy="last-1", steps=2, device="cpu").fit(X, y, unlabelled=target)
    tuner.save(tmp_path / "it")
    again = FrozenAdapter.load(tmp_path / "it")
    np.testing.assert_allclose(again.predict_proba(target), tuner.predict_proba(target), atol=1e-5)
    assert not any("beside" in name for name in again.tuned_.names)
    assert again.trained_on_["unlabelled"] == len(target) and again.record_["settings"]["semi"] == way


def test_what_cannot_be_is_said() -> None:
    (X, y), (target, _) = _images(0), _images(60)
    texts = ["a text", "another"] * 4
    for way in WAYS:
        options = {"semi": way, "steps": 1}
        for call, said in (
            (
                lambda o=options: FineTuner(Pictures(), **o).fit(X, y),
                "there are no items of the other: give unlabelled",
            ),
            (lambda o=options: FineTuner(Pictures(), **o).fit(X, y, unlabelled=[]), "no items"),
            (
                lambda o=options: FineTuner("embedded/sprig", **o).fit(texts, ["x", "y"] * 4, unlabelled=texts),
                "with images that have one class each; these are not",
            ),
            (lambda o=options: FineTuner(Pictures(), **o).fit(X, y, unlabelled=texts), "image"),
            (lambda o=options: FineTuner(Pictures(), mixup=0.2, **o).fit(X, y, unlabelled=target), "mixup and cutmix"),
            (
                lambda o=options: MultiTaskTuner(Pictures(), **o).fit(X, {"kind": y}),
                "several tasks are trained on labelled items only",
            ),
        ):
            with pytest.raises(UsageError, match=said):
                call()
    for more in ({"accumulate": 2}, {"batch_size": 1}):
        with pytest.raises(UsageError, match="compares the covariances of a step"):
            FineTuner(Pictures(), semi="deep-coral", **more)
    with pytest.raises(UsageError, match="semi_weight must be 0 or more"):
        FineTuner(Pictures(), semi="dann", semi_weight=-1)
    with pytest.raises(UsageError, match="semi is 'corral'; it takes fixmatch, pseudo-label, deep-coral, dann"):
        FineTuner(Pictures(), semi="corral")


@pytest.mark.full
def test_a_step_in_parts_is_the_same_step_for_dann() -> None:
    (X, y), (target, _) = _images(0), _images(60, seed=1)
    options = {**SHORT, "semi": "dann", "norms": "eval", "augment": "none"}
    whole, parts = (FineTuner(Pictures(), accumulate=n, **options).fit(X, y, unlabelled=target) for n in (1, 4))
    np.testing.assert_allclose(parts.report_["losses"], whole.report_["losses"], rtol=1e-4)


def test_memory_that_does_not_suffice_ends_deep_coral(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts it would be another loss, without a word."""

    def short(self: Loop, batch: Any, step: int) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Loop, "_gradient", short)
    (X, y), (target, _) = _images(0), _images(60)
    with pytest.raises(ModelgraftError, match="the loss compares all items of a step"):
        FineTuner(Pictures(), semi="deep-coral", **SHORT).fit(X, y, unlabelled=target)


class Channels(nn.Module):
    """The means of the three channels through two layers, with or without a bend between."""

    def __init__(self, bent: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bend = nn.Tanh() if bent else nn.Identity()
        self.conv, self.first, self.second = nn.Linear(3, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Identity()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.register_buffer("shift", torch.zeros(WIDTH))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.first(self.bend(self.conv((pixels.mean((2, 3)) - 0.5) * 8)))
        return found


def _coloured(seed: int, domain: str, count: int = 160) -> tuple[list[np.ndarray], list[str]]:
    """Red says the class everywhere; green says it in the source, and is ``noisy`` or of ``another`` meaning in a target."""
    rng = np.random.default_rng(seed)
    sign = 2 * (np.arange(count) % 2) - 1
    red, green = 25 * sign + rng.normal(size=count) * 10, 25 * sign + rng.normal(size=count) * 10
    if domain == "noisy":
        green += rng.normal(size=count) * 74
    elif domain == "another":
        green = 45 * rng.choice([-1, 1], count) + rng.normal(size=count) * 8
    channels = np.stack([128 + red, 128 + green, 128 + rng.normal(size=count) * 20], 1).clip(0, 255)
    items = [np.broadcast_to(one, (8, 8, 3)).astype(np.uint8) for one in channels]
    return items, ["down", "up"] * (count // 2)


@pytest.mark.full
@pytest.mark.parametrize(("way", "domain", "weight"), [("deep-coral", "noisy", 100.0), ("dann", "another", 3.0)])
def test_a_moved_domain_is_read_better(way: str, domain: str, weight: float) -> None:
    (X, y), (target, _), (asked, truth) = (_coloured(n, "source" if not n else domain) for n in range(3))
    options = {"strategy": "full", "steps": 100, "batch_size": 80, "lr": 1e-2, "augment": "none"}
    model = Pictures(Channels(bent=way == "dann"))
    plain = FineTuner(model, **options).fit(X, y).score(asked, truth)
    found = FineTuner(model, semi=way, semi_weight=weight, **options).fit(X, y, unlabelled=target)
    assert plain < 0.8 and found.score(asked, truth) > plain + 0.12
