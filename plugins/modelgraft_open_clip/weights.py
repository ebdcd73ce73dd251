"""What is read out of a checkpoint file beside the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_SCALARS = ("logit_scale", "logit_bias")


def trained_scale_and_bias(checkpoint: Path) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """``logit_scale`` (a logarithm) and ``logit_bias`` as trained, float32 scalars, out of a checkpoint file."""
    if checkpoint.suffix == ".safetensors":
        with safe_open(checkpoint, framework="pt") as file:
            held: dict[str, Any] = {key: file.get_tensor(key) for key in _SCALARS if key in file.keys()}  # noqa: SIM118
    else:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        held = loaded.get("state_dict", loaded)
        held = {key.removeprefix("module."): value for key, value in held.items()}
    scale, bias = (held[key].float().reshape(()) if key in held else None for key in _SCALARS)
    return scale, bias
