"""What accelerate is told: device, precision, processes."""

from __future__ import annotations

import os
from typing import Any, Final

import torch
from modelgraft.devices import is_native
from modelgraft.errors import UsageError
from torch import nn

PAYS: Final = 5_000_000
"""Parameters of matrix products from which on a model trains faster in bf16 on a processor: smaller ones lose more by casting."""


def make_accelerator(device: torch.device, precision: str | None, module: nn.Module | None = None) -> Any:
    """An ``accelerate.Accelerator`` on a device. Under ``accelerate launch`` or torchrun each process has its own.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16``; None is bf16 on a CUDA device that computes in it, and on a processor that does
            for a module with `PAYS` parameters or more in its layers, embeddings aside; else fp32.
        module: what is to be trained.

    Raises:
        UsageError: a precision that the device does not have.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision is None:
        pays = device.type == "cuda" or (device.type == "cpu" and module is not None and in_products(module) >= PAYS)
        precision = "bf16" if pays and is_native(torch.bfloat16, device) else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(f"fp16 needs a CUDA device, and this is {device.type}; take bf16 or fp32")
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # One process keeps accelerate's first choice for its life; runs here may differ.
    AcceleratorState._reset_state(reset_partial_state=not distributed)
    if device.type == "cuda" and device.index is not None and not distributed:
        torch.cuda.set_device(device)
    made = Accelerator(cpu=device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision)
    return made


def in_products(module: nn.Module) -> int:
    """How many parameters take part in matrix products: tables that are looked up do not."""
    tables = {id(p) for m in module.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for p in m.parameters()}
    return sum(p.numel() for p in module.parameters() if p.ndim > 1 and id(p) not in tables)
