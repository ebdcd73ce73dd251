"""FixMatch and pseudo-labels: the loss against its formula, what is drawn when, and the same loop with unlabelled images."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import ModelgraftError
from modelgraft_adapters import FineTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.finetuning.augmentation import training_transform
from modelgraft_adapters.finetuning.batches import Batches, PictureItems
from modelgraft_adapters.finetuning.fixmatch import FixMatchObjective, MixedItems, WithUnlabelled
from modelgraft_adapters.finetuning.losses import Objective
from modelgraft_adapters.finetuning.model import Grafted
from PIL import Image
from torch import nn
from torch.nn import functional as F

from tests.adapters.finetuning.conftest import photographs

MODEL = "embedded/sprig"
SUPERVISED = Objective("single-label")


@pytest.fixture(scope="module")
def more(shared_data: Path) -> list[Any]:
    """Unlabelled photographs, of the classes and of others."""
    return list(photographs(shared_data, "train", 7, ("bird", "cat", "frog", "ship", "truck")).items)


@pytest.fixture(scope="module")
def backbone() -> Any:
    return load(MODEL, device="cpu")


def _logits(rows: int, group: int, classes: int = 5, scale: float = 4.0) -> torch.Tensor:
    drawn = torch.randn(rows, group, classes, generator=torch.Generator().manual_seed(group))
    return (scale * drawn).requires_grad_()


@pytest.mark.parametrize("ratio", [1, 3])
def test_the_loss_is_its_formula(ratio: int) -> None:
    """Against the definition, written out image by image in float64 with numpy; with class weights, smoothing and lambda."""
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    labelled = Objective("single-label", weights, 0.1)
    outputs, targets = _logits(6, 1 + 2 * ratio), torch.tensor([0, 1, 2, 3, 4, 0])
    objective = FixMatchObjective(labelled, 0.8, 0.7)
    losses = objective(outputs, targets)
    expected, sure = [], 0
    for row, target in zip(outputs.detach().double().numpy(), targets.tolist(), strict=True):
        logs = row - np.log(np.exp(row).sum(axis=1, keepdims=True))
        smooth = 0.1 / 5 + 0.9 * np.eye(5)[target]
        others = []
        for weak, strong in zip(logs[1 : 1 + ratio], logs[1 + ratio :], strict=True):
            confident = np.exp(weak).max() >= 0.8
            sure += confident
            others.append(-strong[weak.argmax()] if confident else 0.0)
        expected.append(-(weights.double().numpy() * smooth * logs[0]).sum() + 0.7 * np.mean(others))
    assert 0 < sure < 6 * ratio
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-5)
    assert (int(objective.confident), objective.seen) == (sure, 6 * ratio)
    objective(outputs, targets)
    assert (int(objective.confident), objective.seen) == (2 * sure, 12 * ratio)
    assert str(2 * sure) in objective.note and str(12 * ratio) in objective.note
    assert int(objective.right(outputs, outputs[:, 0].argmax(dim=1))) == 6


def test_no_gradient_goes_through_the_pseudo_label() -> None:
    """The weak views are left alone; the strong ones learn their label as an ordinary one."""
    outputs, targets = _logits(4, 5), torch.zeros(4, dtype=torch.int64)
    FixMatchObjective(SUPERVISED, 0.0, 1.0)(outputs, targets).sum().backward()
    assert not outputs.grad[:, 1:3].any()
    label = F.one_hot(outputs[:, 1:3].argmax(dim=2), 5)
    torch.testing.assert_close(outputs.grad[:, 3:], (outputs[:, 3:].softmax(dim=2) - label) / 2)


def test_without_a_confident_picture_the_gradient_is_the_supervised_one(
    train: Dataset, more: list[Any], backbone: Any
) -> None:
    """Bit for bit, of the logits and through the whole model, in the same forward pass."""
    assert train.targets is not None
    weak, strong = (training_transform(backbone, name) for name in ("flip", "randaugment"))
    items = MixedItems(train.items, more, weak, strong, 0, 2)
    batch = items.collate([items[0, n] for n in (0, 20, 40)])
    targets = torch.from_numpy(train.targets)[batch.index]
    torch.manual_seed(0)
    model = WithUnlabelled(backbone, nn.Linear(backbone.embed_dim, 3)).eval().requires_grad_(True)
    gradients: dict[str, list[torch.Tensor]] = {}
    losses = {}
    for name, goal in (
        ("supervised", lambda outputs: SUPERVISED(outputs[:, 0], targets)),
        ("no one is sure", lambda outputs: FixMatchObjective(SUPERVISED, 1.01, 1.0)(outputs, targets)),
        ("all are sure", lambda outputs: FixMatchObjective(SUPERVISED, 0.0, 1.0)(outputs, targets)),
    ):
        outputs = model(batch.inputs)
        assert outputs.shape == (3, 5, 3) and outputs.dtype == torch.float32
        losses[name] = goal(outputs)
        trained = [outputs, *model.parameters()]
        gradients[name] = [
            g for g in torch.autograd.grad(losses[name].mean(), trained, allow_unused=True) if g is not None
        ]
    assert torch.equal(losses["supervised"], losses["no one is sure"])
    pairs = list(zip(gradients["supervised"], gradients["no one is sure"], strict=True))
    assert len(pairs) > 10 and all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(gradients["supervised"][-1], gradients["all are sure"][-1])


def test_a_group_is_what_the_model_gives_each_picture(train: Dataset, more: list[Any], backbone: Any) -> None:
    items = MixedItems(train.items, more, backbone.preprocess, backbone.preprocess, 0)
    batch = items.collate([items[0, n] for n in (0, 20)])
    assert batch.inputs.shape[:3] == (2, 3, 3) and batch.index.tolist() == [0, 20]
    head = nn.Linear(backbone.embed_dim, 3)
    outputs = WithUnlabelled(backbone, head).eval()(batch.inputs)
    plain = Grafted(backbone, head).eval()
    for row, pictures in enumerate(batch.inputs):
        torch.testing.assert_close(outputs[row], plain(pictures), rtol=1e-4, atol=1e-5)


def _grey(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (2, 2), (n, n, n)) for n in range(count)]


def _shade(image: Image.Image) -> torch.Tensor:
    return torch.full((3, 1, 1), float(image.getpixel((0, 0))[0]))


@pytest.mark.parametrize("ratio", [1, 3])
def test_unlabelled_items_follow_one_another_without_a_gap(ratio: int) -> None:
    """None comes again before all others have come, whole passes of the labelled items taken; both views are of one image."""
    items = MixedItems(_grey(10), _grey(7), _shade, _shade, 5, ratio)
    counts, orders = np.zeros(7, int), []
    for number in range(9):
        seen = {}
        for item in np.random.default_rng(number).permutation(10).tolist():  # whatever the order of the steps
            found, row = items[number, item]
            shades = row[:, 0, 0, 0].long().tolist()
            assert found == item == shades[0] and shades[1 : 1 + ratio] == shades[1 + ratio :]
            seen[item] = shades[1 : 1 + ratio]
        orders.append([shade for item in range(10) for shade in seen[item]])
        np.add.at(counts, orders[-1], 1)
        assert counts.sum() == 10 * ratio * (number + 1) and counts.max() - counts.min() <= 1
    assert len({tuple(order[:7]) for order in orders}) > 1
    other = MixedItems(_grey(10), _grey(7), _shade, _shade, 6, ratio)
    assert any(not torch.equal(other[0, n][1], items[0, n][1]) for n in range(10))


def test_rows_are_a_function_of_seed_pass_and_item(train: Dataset, more: list[Any], backbone: Any) -> None:
    """Whatever the global generator is at; the labelled image is that of supervised training."""
    weak, strong = (training_transform(backbone, name) for name in ("crop", "randaugment"))
    items = MixedItems(train.items, more, weak, strong, 3, 2)
    first = items[4, 7][1]
    torch.manual_seed(123)
    again = copy.copy(items)[4, 7][1]
    assert torch.equal(first, again) and first.shape[0] == 5
    assert torch.equal(first[0], PictureItems(train.items, weak, 3)[4, 7][1])
    views = [first[n] for n in range(1, 5)]
    assert all(not torch.equal(a, b) for n, a in enumerate(views) for b in views[:n])
    for place, seed in (((5, 7), 3), ((4, 8), 3), ((4, 7), 4)):
        assert not torch.equal(MixedItems(train.items, more, weak, strong, seed, 2)[place][1], first)


def test_a_broken_picture_costs_no_more_than_itself(
    train: Dataset, more: list[Any], backbone: Any, tmp_path: Path
) -> None:
    """A labelled one takes its row with it; an unlabelled one is replaced, by the same one each time."""
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nthis is no picture")
    labelled = [*train.items[:4], damaged]
    unlabelled = [damaged if n % 2 else picture for n, picture in enumerate(more)]
    items = MixedItems(labelled, unlabelled, backbone.preprocess, backbone.preprocess, 0, 2)
    batch = items.collate([items[0, n] for n in range(5)])
    assert batch.inputs.shape[:2] == (4, 5) and batch.index.tolist() == [0, 1, 2, 3]
    assert [n for n, _ in batch.broken] == [4] and "image" in batch.broken[0][1]
    assert torch.equal(batch.inputs, items.collate([items[0, n] for n in range(5)]).inputs)
    good = {backbone.preprocess(picture).numpy().tobytes() for picture in unlabelled[::2]}
    assert {view.numpy().tobytes() for row in batch.inputs for view in row[1:]} <= good
    loaded = next(iter(Batches(items, 5, 0, workers=1).span(0, 1)))  # from another process
    for place, row in zip(loaded.index.tolist(), loaded.inputs, strict=True):
        assert torch.equal(row, batch.inputs[place])
    none = MixedItems(labelled, [damaged, damaged], backbone.preprocess, backbone.preprocess, 0)
    rows = none.collate([none[0, n] for n in range(5)])
    assert not len(rows) and "unlabelled" in dict(rows.broken)[0]


SHORT = {"strategy": "last-2", "steps": 4, "batch_size": 12, "norms": "eval", "lr": 1e-3, "precision": "fp32"}


@pytest.mark.full
def test_with_no_weight_on_unlabelled_pictures_training_is_supervised(train: Dataset, more: list[Any]) -> None:
    """Through the loop; with weight on them it is not, and a step in parts is the same step."""
    plain = FineTuner(MODEL, **SHORT).fit(train)
    without = FineTuner(MODEL, semi_weight=0.0, **SHORT).fit(train, unlabelled=more)
    settings = {**SHORT, "semi_threshold": 0.4, "semi_ratio": 2}
    whole = FineTuner(MODEL, **settings).fit(train, unlabelled=more)
    parts = FineTuner(MODEL, accumulate=3, **settings).fit(train, unlabelled=more)
    for name, value in plain.end_.items():
        torch.testing.assert_close(without.end_[name], value, rtol=1e-3, atol=1e-4, msg=name)
        torch.testing.assert_close(parts.end_[name], whole.end_[name], rtol=1e-3, atol=1e-4, msg=name)
    np.testing.assert_allclose(without.report_["losses"], plain.report_["losses"], rtol=1e-4)
    np.testing.assert_allclose(parts.report_["losses"], whole.report_["losses"], rtol=1e-4)
    assert any("unlabelled" in note for note in whole.notes_) and not any("unlabelled" in note for note in plain.notes_)
    assert whole.report_["losses"][-1] > plain.report_["losses"][-1] + 0.01
    assert max(float((whole.end_[n] - v).abs().max()) for n, v in plain.end_.items()) > 1e-3


@pytest.mark.full
def test_the_same_seed_gives_the_same_bits(train: Dataset, test: Dataset, more: list[Any]) -> None:
    first, second = (
        FineTuner(MODEL, semi="pseudo-label", semi_threshold=0.5, **SHORT).fit(train, unlabelled=more) for _ in range(2)
    )
    np.testing.assert_array_equal(first.predict_proba(test), second.predict_proba(test))


def test_a_run_where_no_unlabelled_picture_can_be_read_ends_with_the_cause(train: Dataset, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"nothing")
    with pytest.raises(ModelgraftError, match=r"unlabelled images .* could be read"):
        FineTuner(MODEL, **SHORT).fit(train, unlabelled=[damaged])
