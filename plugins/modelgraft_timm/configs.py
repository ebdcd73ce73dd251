"""timm's pretrained configs: what timm states about a model's weights and preprocessing, read through one door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.data.config import resolve_data_config
from timm.models._pretrained import PretrainedCfg


def pretrained_config(name: str) -> PretrainedCfg:
    """The config of ``ARCH.TAG``, or of the default tag of ``ARCH``.

    Raises:
        RuntimeError: timm knows no such architecture, or not with this tag.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    assert config is not None  # what allow_unregistered=False promises
    return config


def weights_url(config: PretrainedCfg) -> str | None:
    """Where the weights are outside the hub; None for weights that timm fetches from the hub."""
    if config.hf_hub_id:
        return None
    return config.url[0] if isinstance(config.url, tuple) else config.url


def evaluation_config(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """timm's evaluation preprocessing: input_size (C, H, W), interpolation, mean, std, crop_pct, crop_mode.

    The size is the one the weights were trained at, as timm's own recipe and model cards take it; where another
    test size is published, the entry's preprocessing facts state it.
    """
    config: dict[str, Any] = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))  # type: ignore[no-untyped-call]
    if config["interpolation"] == "random":  # an augmentation of training; timm itself falls back to this one
        config["interpolation"] = "bilinear"
    return config
