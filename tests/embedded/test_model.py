"""The network itself, with weights of noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from modelgraft_embedded.model import Config, DualEncoder

CONFIG = Config(
    words=["a", "photo", "of", "dog", "cat"],
    concepts=["dog"],
    widths=(8, 8, 16, 24),
    buckets=50,
    word_dim=16,
    embed_dim=12,
)
TEXTS = ["dog", "a photo of a dog", "qwxz", "", "a photo of a cat, a dog and a qwxz"]


@pytest.fixture
def model() -> DualEncoder:
    torch.manual_seed(0)
    model = DualEncoder(CONFIG).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return model.requires_grad_(False)


def test_shapes_and_dtypes(model: DualEncoder) -> None:
    embedded = model.encode_image(torch.randn(3, 3, 64, 64))
    assert embedded.shape == (3, 12) and embedded.dtype == torch.float32
    texts = model.encode_text(TEXTS)
    assert texts.shape == (5, 12) and texts.dtype == torch.float32 and torch.isfinite(texts).all()
    assert model.encode_text([]).shape == (0, 12)
    assert model.encode_image(torch.randn(2, 3, 48, 48)).shape == (2, 12)
    assert model.logit_scale.exp().item() == pytest.approx(20.0)


def test_an_item_does_not_depend_on_its_batch(model: DualEncoder) -> None:
    together = model.encode_text(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(model.encode_text([text])[0], row, atol=1e-5, rtol=1e-5)
    pixels = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(model.encode_image(pixels)[2:3], model.encode_image(pixels[2:3]), atol=1e-5, rtol=1e-4)


def test_the_same_every_time(model: DualEncoder) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.encode_image(pixels), model.encode_image(pixels))
    assert torch.equal(model.encode_text(TEXTS), model.encode_text(TEXTS))


def test_saved_and_read_again(model: DualEncoder, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path, {"note": "x"})
    again = DualEncoder.from_file(path)
    assert not again.training and again.config == CONFIG
    assert json.loads(path.with_suffix(".json").read_text())["note"] == "x"
    pixels = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again.encode_image(pixels), model.encode_image(pixels), atol=5e-3, rtol=5e-3)
    similarity = torch.cosine_similarity(again.encode_text(TEXTS), model.encode_text(TEXTS))
    assert similarity.min() > 0.999
    # nothing is lost the second time
    again.save(tmp_path / "n.safetensors", {"note": "x"})
    assert torch.equal(
        DualEncoder.from_file(tmp_path / "n.safetensors").encode_image(pixels), again.encode_image(pixels)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(model: DualEncoder, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path, {})
    other, plain = DualEncoder.from_file(path, dtype=dtype), DualEncoder.from_file(path)
    assert {p.dtype for p in other.parameters()} == {dtype}
    pixels = torch.randn(2, 3, 64, 64)
    for one, two in (
        (other.encode_image(pixels), plain.encode_image(pixels)),
        (other.encode_text(TEXTS), plain.encode_text(TEXTS)),
    ):
        assert one.dtype == torch.float32
        assert torch.cosine_similarity(one, two).min() > 0.99


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="surprise"):
        Config.from_dict({"words": [], "widths": [8] * 4, "blocks": [0] * 4, "surprise": 1})
