"""The loss of one item, by task; targets as tensors; mixing of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from modelgraft.learning import Task
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Objective:
    """Losses (B,) of outputs (B, C), which are logits."""

    task: Task
    class_weights: torch.Tensor | None = None
    """(C,) float32: a factor on the loss of the items of each class (multi-label: of each class that an item has)."""
    label_smoothing: float = 0.0
    """eps: targets are (1 - eps) y + eps / C (Szegedy et al. 2016); multi-label (1 - eps) y + eps / 2."""
    mixed: bool = False
    """Items are mixtures of several, of no one class."""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32. ``targets``: (B,) int64, or (B, C) float32 (parts of classes, or 0 and 1, or numbers)."""
        if self.task == "single-label":
            return F.cross_entropy(
                outputs, targets, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
            )
        if self.task == "regression":
            return F.mse_loss(outputs, targets, reduction="none").mean(dim=1)
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        if self.class_weights is not None:
            losses = losses * torch.where(targets > 0.5, self.class_weights, 1.0)
        return losses.mean(dim=1)

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """How many of the items the logits (B, C) have right: () int64; None for tasks without one class per item, and mixtures."""
        if self.task != "single-label" or self.mixed:
            return None
        return (outputs.argmax(dim=1) == targets).sum()


@dataclass(frozen=True, slots=True)
class Units:
    """Of a regression: the mean and spread of each column of the training targets, float64 on the CPU, as targets may be large and
    close together (points of time). What is trained has mean 0 and spread 1."""

    mean: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, targets: np.ndarray) -> Units:
        """From targets (N, K)."""
        values = torch.from_numpy(targets).double()
        spread = values.std(dim=0, correction=0)
        return cls(values.mean(dim=0), torch.where(spread > 0, spread, 1.0))

    def apply(self, targets: torch.Tensor) -> torch.Tensor:
        """(N, K) float32 in the units that are trained."""
        return ((targets.double() - self.mean) / self.spread).float()

    def undo(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A head (K, D), (K,) float64 in the units of the data."""
        return weight.double().cpu() * self.spread[:, None], bias.double().cpu() * self.spread + self.mean

    def enter(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A head of the data's units in those that are trained: `undo` backwards, float32."""
        into = weight.double().cpu() / self.spread[:, None], (bias.double().cpu() - self.mean) / self.spread
        return into[0].float(), into[1].float()


def mixer(mixup: float, cutmix: float, classes: int) -> Any:
    """Images (B, C, H, W) and class numbers (B,) to mixed images and parts of classes (B, C), by torchvision; or None."""
    if not mixup and not cutmix:
        return None
    from torchvision.transforms import v2

    both = [v2.MixUp(alpha=mixup, num_classes=classes)] if mixup else []
    both += [v2.CutMix(alpha=cutmix, num_classes=classes)] if cutmix else []
    return both[0] if len(both) == 1 else v2.RandomChoice(both)
