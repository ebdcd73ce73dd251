"""What backbones and heads hand over is checked before it is used; without the checks the answers are wrong without a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import Entry, ScoreRule
from modelgraft.errors import PluginError
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_adapters.calls import head_calls, plugin_calls
from modelgraft_adapters.features.extractor import FeatureExtractor
from PIL import Image


@contextmanager
def nothing(_: Any) -> Iterator[None]:
    """In the place of a guard."""
    yield


RED, GREEN, BLUE = (Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue"))
LABELS = ["blue", "green", "red"]


class Colours:
    """A dual encoder that is right; each test makes one thing of it wrong."""

    embed_dim = 3
    entry = Entry(
        "x/colours", "image-text", ("zero-shot", "features"), embed_dim=3, plugin="modelgraft-x:x", templates=("{}",)
    )
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.module = torch.nn.Identity()
        self.buffer: torch.Tensor | None = None

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image)).float().permute(2, 0, 1) / 255

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(text == name) for name in ("red", "green", "blue")] for text in texts])

    def text_notes(self, texts: list[str]) -> list[str]:
        return []

    def score_rule(self) -> ScoreRule:
        return ScoreRule("softmax", 20.0)


def predicted(backbone: Any, images: list[Image.Image] | None = None) -> list[str | None]:
    return ZeroShotClassifier(backbone, LABELS, workers=1).predict(images or [RED, GREEN, BLUE]).tolist()


def test_the_good_one_is_right() -> None:
    assert predicted(Colours()) == ["red", "green", "blue"]


IMAGES: dict[str, Any] = {
    "a row too many": lambda rows: torch.cat([torch.zeros(1, 3), rows]),
    "a row too few": lambda rows: rows[1:],
    "a column too many": lambda rows: torch.cat([rows, rows[:, :1]], 1),
    "one row": lambda rows: rows[0],
    "whole numbers": lambda rows: (rows * 255).int(),
    "complex": lambda rows: rows.to(torch.complex64),
    "an array": lambda rows: rows.numpy(),
    "nothing": lambda rows: None,
    "no numbers": lambda rows: rows.to("meta"),
    "sparse": lambda rows: rows.to_sparse(),
}


@pytest.mark.parametrize("which", IMAGES)
def test_wrong_rows_are_told_with_their_plugin(which: str) -> None:
    backbone = Colours()
    backbone.encode_image = lambda pixels: IMAGES[which](pixels.mean(dim=(2, 3)))  # type: ignore[method-assign]
    with pytest.raises(PluginError, match=r"plugin modelgraft-x:x is wrong: x/colours gives .* for 3 images"):
        predicted(backbone)


def test_without_the_check_a_wrong_row_decides_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Colours()
    backbone.encode_text = lambda texts: torch.ones(len(texts), 3, dtype=torch.int64).cumsum(0)  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="not a tensor of floats"):
        predicted(backbone)
    monkeypatch.setattr(plugin_calls, "_rows", lambda backbone, found, *more: found.float())
    assert len(set(predicted(backbone))) == 1  # one label for everything, and nothing is said


def test_a_buffer_that_is_used_again_changes_no_earlier_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(backbone: Colours, pixels: torch.Tensor) -> torch.Tensor:
        found = pixels.mean(dim=(2, 3))
        backbone.buffer = found if backbone.buffer is None else backbone.buffer.copy_(found)
        return backbone.buffer

    def features() -> list[list[float]]:
        backbone = Colours()
        backbone.encode_image = lambda pixels: encode(backbone, pixels)  # type: ignore[method-assign]
        extractor = FeatureExtractor(backbone, batch_size=1, workers=1, store=False)
        return [row.features.tolist() for row in list(extractor.stream([RED, GREEN, BLUE])) if row.features is not None]

    assert features() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    monkeypatch.setattr(plugin_calls, "_rows", lambda backbone, found, *more: found)
    assert features() == [[0, 0, 1]] * 3


def test_an_image_without_numbers_is_a_row_with_its_reason() -> None:
    backbone = Colours()
    good = backbone.encode_image
    backbone.encode_image = lambda pixels: good(pixels) / pixels[:, :1].amax(dim=(2, 3))  # type: ignore[method-assign]
    classifier = ZeroShotClassifier(backbone, LABELS, workers=1)
    first, second = classifier.classify([RED, BLUE])
    assert first.label == "red" and first.error is None
    assert second.label is None and second.error is not None and "x/colours (modelgraft-x:x)" in second.error


def test_a_label_without_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Colours()
    backbone.encode_text = lambda texts: torch.full((len(texts), 3), torch.nan)  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="no finite embedding for the text 'blue'"):
        predicted(backbone)
    monkeypatch.setattr(plugin_calls, "finite_texts", lambda backbone, rows, texts: rows)
    classifier = ZeroShotClassifier(backbone, LABELS, workers=1)
    assert all(found.error for found in classifier.classify([RED]))  # the second guard: no label either


@pytest.mark.parametrize(
    "rule",
    [
        ScoreRule("softmax", 0.0),
        ScoreRule("softmax", float("nan")),
        ScoreRule("softmax", -5.0),
        ScoreRule("best", 1.0),  # type: ignore[arg-type]
        ScoreRule("sigmoid", 1.0, bias=float("inf")),
        "softmax",
        None,
    ],
)
def test_a_rule_that_makes_no_scores_is_refused(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Colours()
    backbone.score_rule = lambda: rule  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="plugin modelgraft-x:x is wrong: x/colours has the rule of scores"):
        predicted(backbone)
    if isinstance(rule, ScoreRule) and rule.scale == 0:
        monkeypatch.setattr(plugin_calls, "score_rule", lambda backbone: backbone.score_rule())
        assert predicted(backbone) == ["blue"] * 3  # the first label for everything


@pytest.mark.parametrize("end", [SystemExit(0), StopIteration(), GeneratorExit(), KeyError("x")])
@pytest.mark.parametrize("where", ["encode_image", "encode_text", "preprocess"])
def test_whatever_a_plugin_raises_names_it(end: BaseException, where: str) -> None:
    backbone = Colours()

    def fail(given: Any) -> Any:
        raise end

    setattr(backbone, where, fail)
    if where == "preprocess" and isinstance(end, KeyError):  # of this image: the run goes on
        (found,) = ZeroShotClassifier(backbone, LABELS, workers=1).classify([RED])
        assert found.error is not None and "plugin modelgraft-x:x" in found.error
        return
    with pytest.raises(PluginError, match=r"plugin modelgraft-x:x failed while .* with x/colours"):
        predicted(backbone)


HEADS: dict[str, Any] = {
    "a column too many": torch.full((2, 4), 0.25),
    "a row too few": torch.full((1, 3), 1 / 3),
    "no numbers": torch.full((2, 3), torch.nan),
    "below zero": torch.tensor([[1.5, -0.5, 0.0]] * 2),
    "sums to three": torch.tensor([[0.9, 1.0, 0.9]] * 2),
    "whole numbers": torch.ones(2, 3, dtype=torch.int64),
    "a list": [[1, 0, 0]] * 2,
}


@pytest.mark.parametrize("which", HEADS)
def test_a_head_that_gives_no_probabilities_is_told(which: str) -> None:
    head = SimpleNamespace(probabilities=lambda features: HEADS[which], logits=None)
    with pytest.raises(PluginError, match="plugin modelgraft-x:x is wrong: its head gives"):
        head_calls.probabilities(head, torch.zeros(2, 5), 3, "single-label", "modelgraft-x:x")


def test_heads_that_are_right_pass() -> None:
    several = SimpleNamespace(probabilities=lambda features: torch.tensor([[0.9, 1.0, 0.9]] * 2))
    found = head_calls.probabilities(several, torch.zeros(2, 5), 3, "multi-label", "x")
    assert found.dtype == torch.float32 and found.shape == (2, 3)
    numbers = SimpleNamespace(logits=lambda features: torch.tensor([[-5.0, 1e6]] * 2))
    assert head_calls.probabilities(numbers, torch.zeros(2, 5), 2, "regression", "x").tolist() == [[-5.0, 1e6]] * 2


def test_a_backbone_in_training_mode_encodes_as_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout would be noise; batch norm would make the answer for an image depend on its batch, and train on it."""

    class Noisy(Colours):
        def __init__(self) -> None:
            self.module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
            self.module[1].eval()  # in part: whoever freezes a part, too

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.module(super().encode_image(pixels))
            return found

    def features(backbone: Any, images: list[Image.Image]) -> torch.Tensor:
        return torch.from_numpy(FeatureExtractor(backbone, store=False).embed(images).features.copy())

    backbone = Noisy()
    before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    alone = torch.cat([features(backbone, [image]) for image in (RED, GREEN, BLUE)])
    assert torch.allclose(alone, features(backbone, [RED, GREEN, BLUE])) and torch.allclose(
        alone, torch.eye(3), atol=1e-4
    )
    assert all(torch.equal(before[name], value) for name, value in backbone.module.state_dict().items())
    assert [part.training for part in backbone.module] == [True, False]  # as it was
    monkeypatch.setattr(plugin_calls, "_evaluating", nothing)
    assert not torch.allclose(features(backbone, [RED, GREEN, BLUE]), torch.eye(3), atol=1e-4)


def test_preprocessing_that_draws_lots_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cropping(Colours):
        def preprocess(self, image: Image.Image) -> torch.Tensor:
            return super().preprocess(image)[:, :, torch.randint(4, (2,))]

    quarters = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    with pytest.raises(PluginError, match=r"modelgraft-x:x .*otherwise each time"):
        predicted(Cropping(), [quarters])
    monkeypatch.setattr(plugin_calls, "_TRIES", 0)
    assert predicted(Cropping(), [quarters])[0] in LABELS
