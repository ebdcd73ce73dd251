"""How a tuned backbone differs from the pretrained one; LoRA's and DoRA's changes of low rank, as formulas on tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass(frozen=True, slots=True, eq=False)
class LowRankChange:
    """``W + scaling * B A`` of a weight W (out, in), in Hu et al. 2022 (arXiv 2106.09685) LoRA; with ``lengths`` each of its rows
    has that length, in Liu et al. 2024 (arXiv 2402.09353) DoRA. A convolution's W is (out, in, H, W)."""

    a: torch.Tensor
    """A (rank, in), or (rank, in, H, W)."""
    b: torch.Tensor
    """B (out, rank), or (out, rank, 1, 1)."""
    scaling: float
    """alpha / rank."""
    lengths: torch.Tensor | None = None
    """(out,), or shaped to be multiplied with W."""
    turned: bool = False
    """The weight is kept as (in, out)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight it changes."""
        whole = (self.b.shape[0], *self.a.shape[1:])
        return whole[::-1] if self.turned else whole

    def onto(self, base: torch.Tensor) -> torch.Tensor:
        """The changed weight, shaped as ``base``; with gradients to the matrices and to the lengths."""
        change = self.scaling * (self.b.flatten(1) @ self.a.flatten(1))
        whole = base + (change.T if self.turned else change.reshape(base.shape))
        if self.lengths is None:
            return whole
        inputs = (0,) if self.turned else tuple(range(1, whole.ndim))
        now = torch.linalg.vector_norm(
            whole, dim=inputs, keepdim=True
        ).detach()  # a constant to the gradient: section 4.3
        return whole * (self.lengths.reshape(now.shape) / now)

    def exactly_onto(self, base: torch.Tensor) -> torch.Tensor:
        """The same in float64 on the CPU, as some devices have none; without gradients."""
        return self._each(lambda value: value.detach().double().cpu()).onto(base.detach().double().cpu())

    def kept(self) -> LowRankChange:
        """A copy on the CPU, of no graph."""
        return self._each(lambda value: value.detach().cpu().contiguous().clone())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> LowRankChange:
        lengths = None if self.lengths is None else change(self.lengths)
        return replace(self, a=change(self.a), b=change(self.b), lengths=lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """How a backbone differs from the pretrained one."""

    identity: Mapping[str, Any]
    """Of the pretrained backbone, as the feature store knows it: model, digests of its files, versions."""
    names: tuple[str, ...]
    """The tensors of its module that were trained, by their full names; every other is as it was."""
    changes: Mapping[str, LowRankChange] = field(default_factory=dict)
    """Those of them that are the pretrained ones but for a change of low rank, and that change."""
