"""Figures of a timm model that its config does not state, measured on the model itself without its weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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

    Built on the meta device: no memory and no arithmetic, 0.3 s for most models, so that a listing can wait for it.

    Raises:
        Exception: whatever timm raises for a model that it cannot build, or not run without numbers.
    """
    with _quietly(), torch.device("meta"):
        model = timm.create_model(name).eval()
        return _figures(name, model, _embed_dim(model))


def compute(name: str) -> Figures:
    """What `measure` finds; a model that needs numbers is run on the CPU, which takes up to a minute.

    Raises:
        Exception: whatever timm raises for a model that it cannot build or run.
    """
    try:
        return measure(name)
    except (NotImplementedError, RuntimeError):  # what torch raises for operations without a meta kernel
        with _quietly():
            model = timm.create_model(name).eval()
            return _figures(name, model, _embed_dim(model))


def _embed_dim(model: torch.nn.Module) -> int:
    # Two images: a size of one could hide a dimension that is squeezed away.
    return pooled_features(model, torch.zeros(2, *model.pretrained_cfg["input_size"])).shape[1]  # type: ignore[index]


def _figures(name: str, model: torch.nn.Module, embed_dim: int) -> Figures:
    config: Any = model.pretrained_cfg
    built = ".".join(filter(None, (config["architecture"], config.get("tag"))))
    params = sum(p.numel() for p in model.parameters())
    return Figures(params, embed_dim, None if built == name else built)


@contextmanager
def _quietly() -> Iterator[None]:
    with torch.inference_mode(), warnings.catch_warnings(), _quiet("timm"):
        warnings.simplefilter("ignore")
        yield


class _quiet:
    """Hold back a logger's warnings: about weights that are not loaded here anyway."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
