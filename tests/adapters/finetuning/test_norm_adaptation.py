"""AdaBN and TENT: statistics against a pass by hand, the entropy against the paper's loop, and adapters that are saved."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import DomainAdapter, FineTuner, FrozenAdapter
from modelgraft_adapters.finetuning.norm_adaptation import adabn, tent
from torch import nn

from tests.adapters.finetuning.backbones import WIDTH, Net, Pictures


def _images(light: int, count: int = 40, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(seed)
    colours = np.array([(150, 40, 40), (40, 60, 150)]) + light
    items = [(colours[n % 2] + rng.integers(-40, 41, (8, 8, 3))).clip(0, 255).astype(np.uint8) for n in range(count)]
    return items, ["red", "blue"] * (count // 2)


class Deep(nn.Module):
    """Two convolutions with batch norm each: the second's statistics depend on how the first normalises."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, WIDTH, 3), nn.BatchNorm2d(WIDTH)
        self.unused = nn.BatchNorm1d(4)
        self.unused.running_mean.fill_(3.0)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm2(self.conv2(self.norm(self.conv(pixels)).relu())).relu().mean((2, 3))
        return found


def _fitted(module: nn.Module | None = None) -> FrozenAdapter:
    items, labels = _images(0)
    return FrozenAdapter(Pictures(module or Deep()), C=1.0, store=False).fit(items, labels)


def _module(adapter: FrozenAdapter) -> nn.Module:
    found: nn.Module = adapter.extractor.backbone.module
    return found


def test_the_statistics_are_those_of_a_pass_over_the_target() -> None:
    adapter, (target, _) = _fitted(), _images(70)
    found = _module(adabn(adapter, target, batch_size=20))
    own = copy.deepcopy(_module(adapter))
    pixels = torch.stack([torch.tensor(image).permute(2, 0, 1) / 255 for image in target])
    means: dict[str, list] = {"norm": [], "norm2": []}
    for batch in pixels.split(20):
        first = own.conv(batch)
        means["norm"].append((first.mean((0, 2, 3)), first.var((0, 2, 3))))
        normed = nn.functional.batch_norm(first, None, None, own.norm.weight, own.norm.bias, training=True)
        second = own.conv2(normed.relu())
        means["norm2"].append((second.mean((0, 2, 3)), second.var((0, 2, 3))))
    for name, parts in means.items():
        layer = getattr(found, name)
        assert torch.allclose(layer.running_mean, torch.stack([mean for mean, _ in parts]).mean(0), atol=1e-6)
        assert torch.allclose(layer.running_var, torch.stack([var for _, var in parts]).mean(0), atol=1e-6)
        assert not torch.allclose(layer.running_mean, getattr(own, name).running_mean, atol=1e-3)
    assert torch.equal(found.unused.running_mean, own.unused.running_mean), "a layer that no image passes stays"
    for name, value in own.named_parameters():
        assert torch.equal(value, dict(found.named_parameters())[name])


def test_tent_without_a_rate_is_adabn() -> None:
    adapter, (target, _) = _fitted(), _images(70)
    one, other = adabn(adapter, target), tent(adapter, target, lr=0)
    for name, value in _module(one).state_dict().items():
        assert torch.equal(value, _module(other).state_dict()[name]), name
    assert np.array_equal(one.predict_proba(target), other.predict_proba(target))


def test_tent_is_the_papers_loop() -> None:
    """One batch a pass, so the order is nobody's: Adam on the entropy, batch statistics, scales and shifts alone."""
    adapter, (target, _) = _fitted(), _images(70)
    found = tent(adapter, target, lr=0.05, epochs=3, batch_size=40)
    own = copy.deepcopy(_module(adapter)).train().requires_grad_(False)
    norms = [p for layer in (own.norm, own.norm2) for p in (layer.weight.requires_grad_(), layer.bias.requires_grad_())]
    optimizer = torch.optim.Adam(norms, lr=0.05)
    pixels = torch.stack([torch.tensor(image).permute(2, 0, 1) / 255 for image in target])
    tensors, _ = adapter.head_.state()
    entropies = []
    for _ in range(3):
        logits = own(pixels).double() @ tensors["weight"].double().T + tensors["bias"]
        loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        entropies.append(float(loss.detach()))
    assert found.report_["adaptation"]["entropy"] == pytest.approx(entropies, abs=1e-4)
    assert entropies[-1] < entropies[0]
    for name in ("norm", "norm2"):
        for part in ("weight", "bias"):
            assert torch.allclose(
                getattr(getattr(_module(found), name), part), getattr(getattr(own, name), part), atol=1e-3
            )
    assert torch.equal(_module(found).conv.weight, own.conv.weight)
    assert all(not p.requires_grad or p.grad is None for p in _module(found).parameters())


def test_what_was_given_stays_and_the_seed_decides() -> None:
    adapter, (target, _) = _fitted(), _images(70)
    before = {name: value.clone() for name, value in _module(adapter).state_dict().items()}
    one, other = (tent(adapter, target, lr=0.01, batch_size=10, seed=2) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in _module(adapter).state_dict().items())
    assert np.array_equal(one.predict_proba(target), other.predict_proba(target))


def test_another_light_is_adapted_to() -> None:
    adapter, (source, labels), (target, truth) = _fitted(), _images(0), _images(90, 60, 3)
    assert adapter.score(target, truth) < 0.8
    found = adabn(adapter, target, X_source=source, y_source=labels)
    assert found.score(target, truth) > 0.9
    assert found.tuned_.identity["weights"] == adapter.extractor.card["weights"], (
        "by its pretrained weights it is found"
    )


def test_after_another_adapter() -> None:
    """On a tuned backbone, and on one whose head was adapted: what was tuned before stays among what is saved."""
    items, labels = _images(0)
    target, _ = _images(70)
    tuner = FineTuner(Pictures(Deep()), "full", steps=3, seed=0).fit(items, labels)
    found = adabn(tuner, target)
    assert set(tuner.tuned_.names) <= set(found.tuned_.names)
    assert {"norm.running_mean", "norm2.running_var"} <= set(found.tuned_.names)
    moved = DomainAdapter(Pictures(Deep()), "mean-shift", C=1.0, store=False).fit(items, labels, target)
    assert adabn(moved, target).report_["adaptation"]["after"]["method"] == "mean-shift"


def test_what_cannot_be_is_refused() -> None:
    adapter, (target, labels) = _fitted(), _images(70)
    plain = Net()
    plain.norm = nn.Identity()
    knn = FrozenAdapter(Pictures(Deep()), "knn", store=False).fit(target, labels)
    for call, said in (
        (lambda: adabn(_fitted(plain), target), "no batch normalisation"),
        (lambda: adabn(FrozenAdapter(Pictures(Deep()), store=False), target), "not fitted"),
        (lambda: adabn(FrozenAdapter(C=1.0).fit(np.eye(6), list("ababab")), target), "an adapter on features"),
        (lambda: adabn(adapter, target[:3]), "3 items; adapting takes 4"),
        (lambda: adabn(adapter, ["a text"] * 9), "image|no such file|text"),
        (lambda: adabn(adapter, target, batch_size=1), "batch_size"),
        (lambda: tent(knn, target), "the head linear"),
        (lambda: tent(adapter, target, lr=-1), "lr=-1"),
        (lambda: tent(adapter, target, epochs=0), "epochs"),
    ):
        with pytest.raises((UsageError, ModelgraftError), match=said):
            call()


@pytest.mark.full
@pytest.mark.parametrize("method", [adabn, tent])
def test_what_is_saved_comes_back(method, shared_data: Path, tmp_path: Path) -> None:
    from tests.adapters.finetuning.conftest import photographs

    folder = _mobilenet(shared_data, tmp_path / "model")
    train = photographs(shared_data, "train", 6)
    items = photographs(shared_data, "test", 4).items
    adapter = FrozenAdapter(folder, C=1.0).fit(train)
    found = method(adapter, items)
    again = FrozenAdapter.load(found.save(tmp_path / "adapted"))
    assert np.abs(again.predict_proba(items) - found.predict_proba(items)).max() < 1e-5
    assert np.abs(again.predict_proba(items) - adapter.predict_proba(items)).max() > 1e-3
    assert f"by {method.__name__}" in (tmp_path / "adapted" / "README.md").read_text()


def _mobilenet(shared_data: Path, folder: Path) -> str:
    """The real weights, at 96 pixels."""
    import json
    import shutil

    name = "mobilenetv2_100.coral_in1k_plain"
    about = json.loads((shared_data / "weights" / f"{name}.json").read_text())
    folder.mkdir()
    stated = {**about["preprocessing"], "input_size": [3, 96, 96], "num_classes": 1000}
    config = {"architecture": "mobilenetv2_100", "num_classes": 1000, "num_features": 1280, "pretrained_cfg": stated}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(shared_data / "weights" / f"{name}.safetensors", folder / "model.safetensors")
    return str(folder)
