"""Random changes of training images that keep what is in them, then the model's own size and normalisation. By torchvision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from modelgraft.errors import UsageError
from PIL import Image

from modelgraft_adapters.calls import plugin_calls

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def training_transform(backbone: Any, augment: str) -> Callable[[Image.Image], torch.Tensor]:
    """Upright RGB images to float32 (3, H, W).

    ``none`` is the model's evaluation preprocessing. ``flip`` is that of the image or its mirror image, one as likely as the
    other. ``crop`` takes a random part of 0.35 to 1 of the area, 3/4 to 4/3 its shape (Szegedy et al. 2015), and flips; ``trivial``
    adds one random change of colour or geometry (Müller and Hutter 2021, TrivialAugmentWide), ``randaugment`` two (Cubuk et al.
    2020, magnitude 9).

    Raises:
        UsageError: the model's normalisation, which crops need, is not by channel.
    """
    from torchvision.transforms import v2

    plain = partial(plugin_calls.preprocess, backbone)
    if augment == "none":
        return plain
    if augment == "flip":
        return v2.Compose([v2.RandomHorizontalFlip(0.5), plain])
    size, mean, std = _measured(backbone)
    stated = str(backbone.entry.preprocessing.get("interpolation", "bicubic"))
    interpolation = v2.InterpolationMode(stated if stated in _INTERPOLATIONS else "bilinear")
    steps: list[Any] = [
        v2.RandomResizedCrop(size, scale=(0.35, 1.0), interpolation=interpolation, antialias=True),
        v2.RandomHorizontalFlip(0.5),
    ]
    if augment == "trivial":
        steps.append(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR))
    if augment == "randaugment":
        steps.append(v2.RandAugment(num_ops=2, magnitude=9, interpolation=v2.InterpolationMode.BILINEAR))
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean=mean, std=std)]
    return v2.Compose(steps)


def _measured(backbone: Any) -> tuple[tuple[int, int], list[float], list[float]]:
    """(height and width, mean, standard deviation) of what the model reads, from its own preprocessing of black and of white: not
    every entry states them, and what is measured cannot be other than what is done."""
    black, white = (
        plugin_calls.preprocess(backbone, Image.new("RGB", (256, 256), colour)).double()
        for colour in ((0, 0, 0), (255, 255, 255))
    )
    height, width = black.shape[-2:]
    low, high = (found[:, height // 2, width // 2] for found in (black, white))
    if not bool((high > low).all()):
        raise UsageError(f"{backbone.entry.name} does not scale images channel by channel; take augment none or flip")
    std = 1 / (high - low)
    return (int(height), int(width)), (-low * std).tolist(), std.tolist()
