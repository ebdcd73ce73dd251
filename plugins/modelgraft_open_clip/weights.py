"""What is read out of a checkpoint file beside the model itself."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

_SCALARS = ("logit_scale", "logit_bias")


def trained_scale_and_bias(checkpoint: Path) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """``logit_scale`` (a logarithm) and ``logit_bias`` as trained, float32 scalars, out of a safetensors file."""
    with safe_open(checkpoint, framework="pt") as file:
        there = {key.removeprefix("module."): key for key in file.keys()}  # noqa: SIM118
        held = {key: file.get_tensor(there[key]) for key in _SCALARS if key in there}
    scale, bias = (held[key].float().reshape(()) if key in held else None for key in _SCALARS)
    return scale, bias
