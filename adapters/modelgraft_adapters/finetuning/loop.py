"""The training loop: steps from the first or from where a run was interrupted, to the last. Built on accelerate.

A step is its number, the seed and the weights: nothing else enters it, so a run that resumes gives the bits of one that was never
stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from modelgraft.errors import ModelgraftError, PluginError

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.finetuning.batches import Batch, Batches, seed_of
from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.finetuning.optimizer import BESIDE, Average, Held, Schedule, make_optimizer
from modelgraft_adapters.finetuning.parameter_groups import HEAD, Plan, open_blocks
from modelgraft_adapters.finetuning.settings import Settings

PARTS_DIFFER: Final = (
    "batch norms that are trained normalise by the part of a step they see: a step in parts (accumulate) is not that of the "
    "whole batch; with norms='eval' it is"
)
"""For the user."""


class Goal(Protocol):
    """The loss of a row of a step."""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of what the module gave for B rows."""
        ...

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """How many of the rows were right before the step; None where that has no meaning."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    step: int
    """Steps that are done."""
    steps: int
    loss: float
    """Of the last step, the mean over its items."""
    accuracy: float | None
    """Of the last step's items before it was taken; None where it has no meaning (mixed images, regression)."""
    rate: float
    """The head's learning rate."""
    items_per_s: float
    """Over the last steps of this process."""
    seconds_left: float


@dataclass(slots=True)
class Progressed:
    """What is known of the steps that are done; all that a checkpoint needs beside the tensors."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of each step."""
    broken: dict[int, str] = field(default_factory=dict)
    """Items that could not be read."""
    notes: list[str] = field(default_factory=list)
    read: int = 0
    """Rows that were read, of all steps."""
    accumulate: int = 1
    """Parts a step is taken in; grows when memory does not suffice."""


class Loop:
    """Trains a grafted module in place.

    Args:
        grafted: the module; `Grafted.open` and `Grafted.train_by` have been called.
        plan, settings: what is trained, and how.
        steps: of the whole run.
        goal: the loss of a row.
        batches: what each step sees.
        targets: what ``Batch.index`` points into, as the goal takes them.
        mix: of `losses.mixer`.
        accelerator: an ``accelerate.Accelerator``.
    """

    def __init__(
        self,
        grafted: Grafted,
        plan: Plan,
        settings: Settings,
        steps: int,
        goal: Goal,
        batches: Batches,
        targets: torch.Tensor,
        mix: Any,
        accelerator: Any,
    ) -> None:
        self.grafted, self.plan, self.settings, self.steps = grafted, plan, settings, steps
        self.goal, self.batches, self.targets, self._mix = goal, batches, targets, mix
        self.accelerator = accelerator
        self.schedule = Schedule.of(settings, steps)
        self.done = Progressed(accumulate=settings.accumulate)
        self.optimizer = accelerator.prepare_optimizer(make_optimizer(grafted, plan, settings))
        self.live = grafted.live()
        self.average = Average(self.live, settings.ema) if settings.ema else None
        self._held = Held(self.optimizer.optimizer, settings.l2_sp, settings.l2_head)
        self._model = self._wrapped()
        # What is trained beside the head is clipped by itself: it must not shorten the step of what predicts.
        own: list[torch.nn.Parameter] = []
        beside: list[torch.nn.Parameter] = []
        for group in self.optimizer.param_groups:
            (beside if group["block"] == BESIDE else own).extend(group["params"])
        self._clipped = [part for part in (own, beside) if part]
        self._right: torch.Tensor | None = None  # rows of the step that were right before it
        self._reached = False  # whether a gradient has been seen to reach the body

    def run(
        self, until: int, tell: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> bool:
        """Take the steps from where the run is to ``until``.

        Args:
            tell: told after each step.
            stop: asked after each step; True ends the call early, between two steps.

        Returns:
            whether ``until`` was reached.

        Raises:
            ModelgraftError: the loss is not a number, no memory for a single item, no readable item.
        """
        began, first = time.perf_counter(), self.done.step
        seen = 0
        with _random_state():
            for batch in self.batches.span(self.done.step, until):
                loss, accuracy = self._step(batch)
                seen += len(batch)
                if tell:
                    spent = time.perf_counter() - began
                    taken = self.done.step - first
                    left = spent / taken * (self.steps - self.done.step)
                    rate = self.optimizer.param_groups[-1]["lr"]
                    tell(Progress(self.done.step, self.steps, loss, accuracy, rate, seen / spent, left))
                if stop and stop() and self.done.step < until:
                    return False
        return True

    def finish(self) -> None:
        """Let go of what only further steps need: gradients and the optimizer's state."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.optimizer.state.clear()

    def _step(self, batch: Batch) -> tuple[float, float | None]:
        step = self.done.step
        self.done.broken.update(dict(batch.broken))
        if len(self.done.broken) == (count := len(self.batches.data.items)):
            first = next(iter(self.done.broken.values()))
            raise ModelgraftError(f"none of the {count} training items could be read: {first}")
        factor = self.schedule.at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        self.grafted.at(step / self.steps)
        while True:
            try:
                loss = self._gradient(batch, step)
                break
            except (RuntimeError, PluginError) as error:
                self._less_memory(error, batch)
        value, finite = float(loss), self.grafted.finite()
        if not math.isfinite(value) or not finite:
            raise self._not_finite(value, step, finite)
        self._check_reached(batch)
        self._close(step)
        if self.settings.clip is not None:
            for part in self._clipped:
                self.accelerator.clip_grad_norm_(part, self.settings.clip)
        self.optimizer.step()
        self._held.pull()
        if self.average:
            self.average.update(self.live, step)
        self.done.step += 1
        self.done.read += len(batch)
        self.done.losses.append(value)
        return value, None if self._right is None else int(self._right) / len(batch)

    def _gradient(self, batch: Batch, step: int) -> torch.Tensor:
        """The step's gradient, part by part; the mean loss of its items."""
        device = self.accelerator.device
        self.optimizer.zero_grad()
        seed = seed_of(self.batches.seed, step, self.batches.rank)
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # as `batches.drawn_from` says why
        else:
            torch.manual_seed(seed)
        total = torch.zeros((), device=device)
        self._right = None
        if not len(batch):  # nothing of it could be read
            if self.accelerator.num_processes > 1:  # the others wait for its gradient
                raise ModelgraftError(f"no item of step {step + 1} could be read in one process: {batch.broken[0][1]}")
            return total
        inputs, targets = to_device(batch.inputs, device), self.targets[batch.index].to(device)
        if self._mix is not None:
            inputs, targets = self._mix(inputs, targets)
        parts = list(_parts(inputs, targets, self.done.accumulate))
        for number, (part, wanted) in enumerate(parts):
            last = number + 1 == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self._model):
                with self.accelerator.autocast():
                    outputs = self._model(part)
                loss = self.goal(outputs.float(), wanted).sum() / len(batch)
                self.accelerator.backward(loss)
            total += loss.detach()
            right = self.goal.right(outputs.detach(), wanted)
            self._right = right if self._right is None or right is None else self._right + right
        return total

    def _close(self, step: int) -> None:
        """gradual: no gradient for blocks that are not open yet."""
        if self.settings.strategy != "gradual":
            return
        opened = {HEAD, BESIDE, *open_blocks(self.plan.blocks, step, self.steps)}
        for group in self.optimizer.param_groups:
            if group["block"] not in opened:
                for parameter in group["params"]:
                    parameter.grad = None

    def _check_reached(self, batch: Batch) -> None:
        """After the first gradient: it has reached what is to be trained.

        Raises:
            PluginError: none of it; the head alone would learn, without a word.
        """
        if self._reached or not len(batch) or not self.grafted.learns:
            return
        self._reached = True
        if not any(p.grad is not None for p in self.grafted.body.parameters()):
            backbone = self.grafted.backbone
            raise PluginError(
                f"plugin {plugin_calls.owner(backbone)} is wrong: of {backbone.entry.name} no gradient reaches the weights that "
                "are to be trained, as embed() computes with others; tell its author"
            )

    def _less_memory(self, error: Exception, batch: Batch) -> None:
        """Take the step in more parts, where the error says that memory did not suffice; else raise it."""
        from accelerate.utils.memory import should_reduce_batch_size

        cause = error.__cause__ if isinstance(error, PluginError) else error
        short = isinstance(cause, RuntimeError) and (
            should_reduce_batch_size(cause) or "can't allocate memory" in str(cause)
        )
        if not short:
            raise error
        if self.done.accumulate >= len(batch) or self.accelerator.num_processes > 1 or self.grafted.whole:
            raise ModelgraftError(
                f"not enough memory for {max(1, len(batch) // self.done.accumulate)} items at once; take recompute, a smaller "
                "model or image, or fewer trained blocks (last-1)"
                + (", or a smaller batch_size: the loss compares all items of a step" if self.grafted.whole else "")
                if self.accelerator.num_processes == 1
                else f"not enough memory; take accumulate={2 * self.done.accumulate}"
            ) from None
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.done.accumulate = min(2 * self.done.accumulate, len(batch))
        self.done.notes.append(
            f"not enough memory for a step of {self.batches.size} items at once: each is taken in {self.done.accumulate} parts "
            f"from step {self.done.step + 1} on" + ("" if self.grafted.by_batch() else ", which gives the same step")
        )
        if self.grafted.by_batch() and PARTS_DIFFER not in self.done.notes:
            self.done.notes.append(PARTS_DIFFER)

    def _not_finite(self, value: float, step: int, finite: bool) -> ModelgraftError:
        bad = [n for n, p in self.grafted.named_parameters() if not bool(torch.isfinite(p.detach()).all())]
        if bad:
            why = f"the weight {bad[0]} is not finite"
        elif self.accelerator.mixed_precision == "fp16":
            why = "numbers grew too large for fp16; bf16 or fp32 hold them"
        elif not finite and not self.done.step:
            backbone = self.grafted.backbone
            return PluginError(
                f"plugin {plugin_calls.owner(backbone)} is wrong: {backbone.entry.name} embeds training items of the first step to "
                "numbers that are not finite, with weights that are; tell its author"
            )
        elif not finite:
            why = "the weights are still finite, but the model's embeddings are not"
        else:
            why = "the weights are still finite: a training item may hold extreme values"
        what = (
            f"the loss became {value}"
            if not math.isfinite(value)
            else "the model's embeddings became infinite or no numbers"
        )
        last = f", after {self.done.losses[-1]:.3g} the step before" if self.done.losses else ""
        rate = self.settings.highest_rate
        return ModelgraftError(
            f"{what} at step {step + 1}{last}; {why}. Take a lower learning rate than {rate:g} (lr={rate / 10:g}) "
            "or clip gradients (clip=1)"
        )

    def _wrapped(self) -> Any:
        model: Any = self.grafted
        if self.settings.compile:
            model = torch.compile(model)
        return self.accelerator.prepare_model(model, device_placement=False)


def to_device(batch: Any, device: torch.device) -> Any:
    """A tensor, or a mapping of some, on a device."""
    if isinstance(batch, Mapping):
        return {name: value.to(device) for name, value in batch.items()}
    return batch.to(device)


def _parts(inputs: Any, targets: torch.Tensor, count: int) -> Iterator[tuple[Any, torch.Tensor]]:
    """Inputs and targets in ``count`` parts of about one size."""
    if count == 1:
        yield inputs, targets
        return
    size = math.ceil(len(targets) / count)
    for start in range(0, len(targets), size):
        where = slice(start, start + size)
        part = {n: v[where] for n, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[where]
        yield part, targets[where]


@contextmanager
def _random_state() -> Iterator[None]:
    """Steps seed torch's generators; afterwards they are what they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
