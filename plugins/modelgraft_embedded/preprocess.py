"""Images to tensors: shorter side to 64 pixels, centre crop, fixed normalisation."""

from __future__ import annotations

import torch
from PIL import Image

SIZE = 64
MEAN = (0.48, 0.46, 0.42)
STD = (0.26, 0.25, 0.26)


def to_square(image: Image.Image, size: int = SIZE) -> Image.Image:
    """The centre square of an RGB image at ``size`` x ``size``, bicubic, one resampling."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # reducing_gap would be faster on large images but changes pixels with the file's size
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def to_bytes(image: Image.Image) -> torch.Tensor:
    """uint8 (3, H, W) of an RGB image."""
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (..., 3, H, W) to float32 of about zero mean and unit spread."""
    mean = torch.tensor(MEAN).view(3, 1, 1)
    std = torch.tensor(STD).view(3, 1, 1)
    return (pixels.float() / 255.0 - mean) / std


def preprocess(image: Image.Image) -> torch.Tensor:
    """float32 (3, 64, 64) of an image; anything but RGB is converted as Pillow does."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    return normalise(to_bytes(to_square(image))).contiguous()
