"""Images to tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft_embedded.preprocess import MEAN, SIZE, STD, preprocess, to_bytes, to_square
from PIL import Image


def picture(width: int, height: int) -> Image.Image:
    random = torch.Generator().manual_seed(width * 1000 + height)
    values = torch.randint(0, 256, (height, width, 3), generator=random, dtype=torch.uint8)
    return Image.frombytes("RGB", (width, height), bytes(values.flatten().tolist()))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200))
def test_any_size_becomes_one_shape(width: int, height: int) -> None:
    pixels = preprocess(picture(width, height))
    assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.float32 and pixels.is_contiguous()
    assert torch.isfinite(pixels).all()
    assert torch.equal(pixels, preprocess(picture(width, height)))


def test_a_picture_of_the_right_size_is_only_normalised() -> None:
    image = picture(SIZE, SIZE)
    plain = preprocess(image) * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert torch.equal((plain * 255).round().to(torch.uint8), to_bytes(image))
    assert to_bytes(image)[:, 1, 0].tolist() == list(image.getpixel((0, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(192, 64), (64, 192)])
def test_the_centre_is_kept(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    left, top = (size[0] - 64) // 2, (size[1] - 64) // 2
    image.paste((255, 255, 255), (left, top, left + 64, top + 64))
    assert to_bytes(to_square(image)).min() == 255


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_modes_are_converted(mode: str) -> None:
    image = picture(80, 70).convert(mode)
    assert torch.equal(preprocess(image), preprocess(image.convert("RGB")))
