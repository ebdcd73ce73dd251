"""A learning rate found by trying: it rises step by step, and the loss says how far it may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelgraft.errors import ModelgraftError

from modelgraft_adapters.finetuning.loop import Loop

LOWEST: Final = 1e-7
HIGHEST: Final = 1.0
STEPS: Final = 100
_SMOOTH: Final = 0.9
_ENOUGH: Final = 4.0
"""Times the least loss at which the test ends."""


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What was found."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """At each of the rates, averaged over the steps before it."""
    chosen: float
    """A tenth of the rate at which the loss was least."""


@dataclass(frozen=True, slots=True)
class _Rising:
    """From `LOWEST` to `HIGHEST` by a constant factor, as parts of ``top``."""

    top: float

    def at(self, step: int) -> float:
        return LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) / self.top


def range_test(loop: Loop) -> RangeTest:
    """The learning-rate range test (Smith 2017, arXiv 1506.01186), with fastai's smoothing and rule. The loop is used up.

    Raises:
        ModelgraftError: the loss never fell.
    """
    top = loop.settings.highest_rate
    rising = _Rising(top)
    loop.schedule = rising  # type: ignore[assignment]
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    try:
        for step in range(STEPS):
            loop.run(step + 1)
            average = _SMOOTH * average + (1 - _SMOOTH) * loop.done.losses[-1]
            rates.append(rising.at(step) * top)
            losses.append(average / (1 - _SMOOTH ** (step + 1)))
            if losses[-1] > _ENOUGH * min(losses):
                break
    except ModelgraftError:  # a loss that is no number: the rate is too high by far, and that ends the test
        if not losses:
            raise
    best = min(range(len(losses)), key=losses.__getitem__)
    if best == 0:
        raise ModelgraftError("no learning rate made the loss fall; is the model already trained on these items?")
    return RangeTest(tuple(rates), tuple(losses), rates[best] / 10)
