"""Preprocessing is timm's own evaluation transform, bit for bit, and the entry states it in full."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import timm.data
import torch
from modelgraft.shipped import read_catalogue
from modelgraft_timm import catalogue
from modelgraft_timm.backbone import TimmBackbone
from modelgraft_timm.configs import evaluation_config
from modelgraft_timm.names import timm_name
from PIL import Image

ENTRIES = {entry.name: entry for entry in read_catalogue(catalogue.SHIPPED)[1]}

# Every crop mode and interpolation, crop fractions below, at and above one, other means, non-square and odd sizes.
NAMES = (
    "resnet50:a1_in1k",
    "resnet18:tv_in1k",
    "mobilenetv2_100:ra_in1k",
    "efficientnet_b0:ra_in1k",
    "tf_efficientnetv2_s:in21k_ft_in1k",
    "vit_base_patch16_224:augreg_in21k",
    "vit_base_patch16_clip_224:openai",
    "vit_base_patch16_siglip_224:webli",
    "vit_small_patch14_dinov2:lvd142m",
    "vit_small_patch16_dinov3:lvd1689m",
    "vit_base_patch16_sapiens2:fb",
    "convnext_tiny:fb_in1k",
    "swin_tiny_patch4_window7_224:ms_in1k",
    "fastvit_mci0:apple_mclip",
    "inception_v3:tv_in1k",
    "mixer_b16_224:goog_in21k",
    "deepseek_vit_412m_enc:deepseek_v4_1_flash",
    "eva02_tiny_patch14_336:mim_in22k_ft_in1k",
    "regnety_032:ra_in1k",
    "samvit_base_patch16:sa1b",
    "levit_128s:fb_dist_in1k",
    "gcvit_tiny:in1k",
)
SIZES = [(500, 375), (375, 500), (224, 224), (61, 47), (1200, 90)]


def picture(width: int, height: int) -> Image.Image:
    """Edges, gradients and noise: what resampling filters differ on."""
    rng = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    waves = (
        127 + 60 * np.sin(x / 5)[..., None] * np.cos(y[..., None] / [7, 3, 11]) + rng.normal(0, 30, (height, width, 3))
    )
    waves[height // 3 : height // 2] = 255
    return Image.fromarray(waves.clip(0, 255).astype(np.uint8))


def test_the_choice_covers_every_kind_timm_has() -> None:
    chosen = [ENTRIES[f"timm/{name}"].preprocessing for name in NAMES]
    for fact in ("crop_mode", "interpolation"):
        assert {p[fact] for p in chosen} == {e.preprocessing[fact] for e in ENTRIES.values()}


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_bit_for_bit(name: str) -> None:
    entry = ENTRIES[f"timm/{name}"]
    with torch.device("meta"):  # the transform needs the model's config, not its numbers
        model = timm.create_model(timm_name(entry))
    backbone = TimmBackbone(entry, model)
    # The recipe of timm's documentation and model cards.
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model), is_training=False)
    # What somebody would build who reads nothing but the entry.
    facts = {k: v for k, v in entry.preprocessing.items() if not k.startswith("test_")}
    stated = timm.data.create_transform(input_size=entry.input_size, **facts, is_training=False)
    for size in SIZES:
        image = picture(*size)
        pixels = backbone.preprocess(image)
        assert pixels.dtype == torch.float32 and pixels.device.type == "cpu"
        assert tuple(pixels.shape) == entry.input_size
        assert torch.equal(pixels, theirs(image)), size
        assert torch.equal(pixels, stated(image)), size


def test_several_threads_at_once_get_what_one_gets() -> None:
    from concurrent.futures import ThreadPoolExecutor

    entry = ENTRIES["timm/resnet18:a1_in1k"]
    backbone = TimmBackbone(entry, timm.create_model("resnet18"))
    images = [picture(100 + i, 80 + 3 * i) for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone.preprocess, images))
    for image, pixels in zip(images, together, strict=True):
        assert torch.equal(pixels, backbone.preprocess(image))


def test_no_random_interpolation_at_inference() -> None:
    config = evaluation_config({"interpolation": "random", "input_size": (3, 32, 32)})
    transform = timm.data.create_transform(**config, is_training=False)
    first, second = transform(picture(61, 47)), transform(picture(61, 47))
    assert config["interpolation"] == "bilinear" and torch.equal(first, second)
