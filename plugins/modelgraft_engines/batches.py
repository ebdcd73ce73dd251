"""Batches as the engines read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def arrays(names: list[str], batch: torch.Tensor | Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return a batch by the names of a model's inputs; of tokens only those that it reads."""
    if isinstance(batch, torch.Tensor):
        return {names[0]: batch.contiguous().numpy()}
    return {name: batch[name].contiguous().numpy() for name in names}
