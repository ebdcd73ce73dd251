"""What accelerate is told: device, precision, processes."""

from __future__ import annotations

import os
from typing import Any

import torch
from modelgraft.devices import is_native
from modelgraft.errors import UsageError


def make_accelerator(device: torch.device, precision: str | None) -> Any:
    """An ``accelerate.Accelerator`` on a device. Under ``accelerate launch`` or torchrun each process has its own.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16``; None is bf16 on a CUDA device or a processor that computes in it, else fp32.

    Raises:
        UsageError: a precision that the device does not have.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision is None:
        native = device.type in ("cpu", "cuda") and is_native(torch.bfloat16, device)
        precision = "bf16" if native else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(f"fp16 needs a CUDA device, and this is {device.type}; take bf16 or fp32")
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # One process keeps accelerate's first choice for its life; runs here may differ.
    AcceleratorState._reset_state(reset_partial_state=not distributed)
    if device.type == "cuda" and device.index is not None and not distributed:
        torch.cuda.set_device(device)
    made = Accelerator(cpu=device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision)
    return made
