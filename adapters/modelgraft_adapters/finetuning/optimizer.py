"""One step of the optimizer: rates, gradient, what holds the weights back, and their average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.finetuning.parameter_groups import HEAD, Plan, parameters_of
from modelgraft_adapters.finetuning.settings import Settings

BESIDE: Final = "beside"
"""The block of what is trained beside the head."""
BESIDE_RATE: Final = 10.0
"""What begins at random learns so much faster than what was pretrained (Ganin et al. 2016)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The part of its highest rate that each group has at a step."""

    steps: int
    warmup: int
    kind: str

    @classmethod
    def of(cls, settings: Settings, steps: int) -> Schedule:
        """A run's."""
        return cls(steps, round(settings.warmup * steps), settings.schedule)

    def at(self, step: int) -> float:
        """In (0, 1]: rising linearly through the warm-up, then half a cosine to zero (Loshchilov and Hutter 2017), or constant."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.kind == "constant":
            return 1.0
        passed = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, passed)))


def make_optimizer(grafted: Grafted, plan: Plan, settings: Settings) -> torch.optim.Optimizer:
    """AdamW or SGD with a parameter group for each group of the plan, in its order; before them that of what is trained beside the
    head, at `BESIDE_RATE` times the highest rate."""
    groups: list[dict[str, Any]] = [
        {
            "params": parameters_of(group, grafted.body, grafted.head),
            "lr": group.rate,
            "weight_decay": group.weight_decay,
            "rate": group.rate,
            "block": group.block,
        }
        for group in plan.groups
    ]
    if grafted.beside is not None:
        rate = BESIDE_RATE * settings.highest_rate
        own = {"params": list(grafted.beside.parameters()), "lr": rate, "rate": rate}
        groups.insert(0, {**own, "weight_decay": 0.0, "block": BESIDE})
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.highest_rate, momentum=0.9, nesterov=True)
    # fused: one pass over a tensor instead of ten, four times as fast on a CPU
    return torch.optim.AdamW(groups, lr=settings.highest_rate, fused=True)


class Held:
    """L2-SP (Li et al. 2018): weights are pulled to where they began, ``alpha / 2 * ||w - w0||**2``; the head's to zero by beta.

    The pull is taken exactly after each step (a proximal step, ``w0 + (w - w0) / (1 + rate * alpha)``), as AdamW takes weight decay
    apart from the gradient: so no strength is too large for the learning rate. Biases of the head are free.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, alpha: float, beta: float) -> None:
        self._pulls: list[tuple[dict[str, Any], list[nn.Parameter], list[torch.Tensor], float]] = []
        for group in optimizer.param_groups:
            head = group["block"] == HEAD
            strength = beta if head else alpha
            params = [p for p in group["params"] if not head or p.ndim > 1]
            if strength > 0 and params:
                start = [torch.zeros_like(p) if head else p.detach().clone() for p in params]
                self._pulls.append((group, params, start, strength))

    @torch.no_grad()
    def pull(self) -> None:
        """After the optimizer's step."""
        for group, params, start, strength in self._pulls:
            kept = 1 / (1 + group["lr"] * strength)
            values: list[torch.Tensor] = [p.data for p in params]
            torch._foreach_lerp_(values, start, 1 - kept)


class Average:
    """The exponential moving average of what is trained (Polyak and Juditsky 1992), with a decay that starts low."""

    def __init__(self, live: dict[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in live.items() if value.is_floating_point()}

    @torch.no_grad()
    def update(self, live: dict[str, torch.Tensor], step: int) -> None:
        """After step number ``step`` (the first is 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [live[name].detach() for name in self.values]
        torch._foreach_lerp_(list(self.values.values()), now, 1 - decay)
