"""Figures of an open_clip model that its pretrained config does not state, measured on the model without its weights."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch

from modelgraft_open_clip.text_towers import PUBLISHED


@dataclass(frozen=True, slots=True)
class Figures:
    """What instantiating a model shows."""

    params: int
    """Parameters of the whole model: both towers, projections, scale and bias (for CoCa its decoder too)."""
    embed_dim: int
    """Size D of one embedding, the same for images and texts."""
    image_size: tuple[int, int]
    """Height and width the image tower was built for."""


def measure(model: str) -> Figures:
    """Figures of an open_clip architecture. Errors as `build`."""
    built = build(model)
    height, width = _pair(built.visual.image_size)
    embed_dim = int(open_clip.get_model_config(model)["embed_dim"])
    return Figures(sum(p.numel() for p in built.parameters()), embed_dim, (height, width))


def build(model: str) -> Any:
    """An open_clip architecture on the meta device: no memory, no arithmetic, no weights, no network.

    Raises:
        KeyError: its text tower is a Hugging Face model whose configuration is not written down in `text_towers`.
        Exception: whatever open_clip raises for a model that it cannot build.
    """
    config = open_clip.get_model_config(model)
    with _local_text_tower(config["text_cfg"]) as text_cfg, quiet(), torch.device("meta"):
        # The keyword overrides the config's text tower; everything else is as open_clip builds it for a user.
        return open_clip.create_model(model, device="meta", pretrained_text=False, text_cfg=text_cfg)


@contextmanager
def _local_text_tower(text_cfg: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same text config, its Hugging Face tower (if it has one) described by a local file instead of the hub."""
    tower = text_cfg.get("hf_model_name")
    if tower is None:
        yield text_cfg
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(PUBLISHED[tower]), encoding="utf-8")
        yield {**text_cfg, "hf_model_name": folder, "hf_model_pretrained": False}


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what open_clip logs and warns about weights that are not loaded here anyway."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, (tuple, list)) else (int(size), int(size))
