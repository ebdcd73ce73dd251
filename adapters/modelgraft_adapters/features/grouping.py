"""Which items of a window go through the model together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from modelgraft_adapters.calls.text_batches import by_length


def by_shape(ready: Mapping[bytes, Any]) -> list[list[bytes]]:
    """Return images by their shape as tensors: those that the model does not bring to one size are batched with their like."""
    groups: dict[Any, list[bytes]] = {}
    for digest, value in ready.items():
        groups.setdefault(tuple(value.shape) if isinstance(value, torch.Tensor) else None, []).append(digest)
    return list(groups.values())


def by_text(ready: Mapping[bytes, str], batch_size: int, *, exactly: bool) -> list[list[bytes]]:
    """Return texts in batches of like length: see `text_batches.by_length`."""
    digests = list(ready)
    return [[digests[n] for n in places] for places in by_length(list(ready.values()), batch_size, exactly=exactly)]
