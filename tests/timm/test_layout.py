"""timm's convolutional models give the same channels-last: what calls ``view`` on a convolution's output would fail."""

from __future__ import annotations

import pytest
import timm
import torch
from modelgraft.layout import lay_out


def smallest(family: str) -> str | None:
    """Of the family's models the one with the fewest parameters."""
    best: tuple[int, str] | None = None
    for name in timm.list_models(module=family):
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception:  # a few compute while they are built
            continue
        size = sum(p.numel() for p in model.parameters())
        best = min(best or (size, name), (size, name))
    return None if best is None else best[1]


def moved(name: str) -> float | None:
    """How far the outputs differ, as a part of their length; None for a model that is left as it is."""
    torch.manual_seed(0)
    plain, other = timm.create_model(name).eval(), timm.create_model(name).eval()
    other.load_state_dict(plain.state_dict())
    lay_out(other)
    if all(p.is_contiguous() for p in other.parameters()):
        return None
    channels, height, _ = plain.pretrained_cfg["input_size"]
    side = height if plain.pretrained_cfg.get("fixed_input_size") else min(height, 128)
    pixels = torch.randn(2, channels, side, side)
    with torch.inference_mode():
        wanted, found = plain(pixels), other(pixels)
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv2_050", "ghostnet_050"])
def test_some(name: str) -> None:
    found = moved(name)
    assert found is not None and found < 1e-5
    assert moved("test_vit") is None


@pytest.mark.slow
@pytest.mark.parametrize("family", timm.list_modules())
def test_the_smallest_of_every_family(family: str) -> None:
    name = smallest(family)
    assert name is not None
    found = moved(name)
    assert found is None or found < 1e-4
