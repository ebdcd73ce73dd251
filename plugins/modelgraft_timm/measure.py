"""Figures of a timm model that its config does not state, measured on the model itself without its weights."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import timm
import torch

from modelgraft_timm.features import pooled_features


@dataclass(frozen=True, slots=True)
class Figures:
    """What instantiating a model shows."""

    params: int
    """Parameters of ``timm.create_model(name)``, its classifier included."""
    embed_dim: int
    """Size D of one embedding, as `pooled_features` returns it."""
    built_as: str | None = None
    """The name timm really builds where it is another one: ``vitamin_xlarge_336`` is ``vitamin_xlarge_256`` in 1.0.31."""


def measure(name: str) -> Figures:
    """Parameters and embedding size of the timm model ``name`` as its pretrained config builds it.

    Built on the meta device: no memory and no arithmetic, 0.3 s for most models. On the CPU for one that cannot be.

    Raises:
        Exception: whatever timm raises for a model that it cannot build or run.
    """
    try:
        return _measure(name, torch.device("meta"))
    except (NotImplementedError, RuntimeError):  # what torch raises for operations without a meta kernel
        return _measure(name, torch.device("cpu"))


def _measure(name: str, device: torch.device) -> Figures:
    with device, torch.inference_mode(), warnings.catch_warnings(), _quiet("timm"):
        warnings.simplefilter("ignore")
        model = timm.create_model(name).eval()
        # Two images: a size of one could hide a dimension that is squeezed away.
        embeddings = pooled_features(model, torch.zeros(2, *model.pretrained_cfg["input_size"]))  # type: ignore[index]
    config: Any = model.pretrained_cfg
    built = ".".join(filter(None, (config["architecture"], config.get("tag"))))
    return Figures(
        params=sum(p.numel() for p in model.parameters()),
        embed_dim=embeddings.shape[1],
        built_as=None if built == name else built,
    )


class _quiet:
    """Hold back a logger's warnings: about weights that are not loaded here anyway."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
