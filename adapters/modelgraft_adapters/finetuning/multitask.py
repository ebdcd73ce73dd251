"""Several tasks trained by one backbone: one linear layer with the columns of all tasks, and the sum of their losses.

Items may lack labels: of a step each task's loss is the mean over the items that have its label, and the step's loss is
``sum_t w_t * L_t``, or with trained weights ``sum_t exp(-s_t) * L_t + s_t`` (Kendall, Gal and Cipolla 2018, arXiv 1705.07115).
``s_t``, the logarithm of a task's variance, begins as 0 and goes to ``log L_t``. A task that no item of a step has counts nothing.

The loop adds up losses of rows, part by part. So how many items of the step have a label of each task is counted where the step is
put together, and goes through the model beside the items: parts of a step add up to the step. Of several processes each counts
its own items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft.errors import UsageError
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.head_inputs import class_weights
from modelgraft_adapters.finetuning.batches import Batch, PictureItems, TextItems, seed_of, shuffled
from modelgraft_adapters.finetuning.losses import Objective, Units
from modelgraft_adapters.finetuning.model import Grafted

PIXELS: Final = "pixels"
"""Among a step's inputs the images; of texts there are tokens."""
SHARES: Final = "shares"
"""Among a step's inputs, of `shares`."""
Sampling = Literal["proportional", "equal"]
"""Of a step's items: each comes as often as another; or each task has as many as another (Raffel et al. 2020, equal mixing)."""
Weights = Literal["uncertainty"] | Mapping[str, float] | None
"""Trained; stated, 1 where a task is not named; 1 for each."""


@dataclass(frozen=True, slots=True)
class OneTask:
    """A task among others."""

    name: str
    objective: Objective
    outputs: slice
    """Its columns of the joint layer."""
    targets: slice
    """Its columns of the joint targets."""
    units: Units | None = None
    """Of a regression."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of the joint layer's logits (B, C) and the joint targets (B, W); where ``there`` (B,) is False some finite
        number, which `shares` of 0 take out."""
        wanted = torch.where(there[:, None], targets[:, self.targets], 0.0)
        if self.objective.task == "single-label":
            wanted = wanted[:, 0].long()
        return self.objective(logits[:, self.outputs], wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Tasks:
    """What N items are of each of T tasks."""

    tasks: tuple[OneTask, ...]
    targets: torch.Tensor
    """(N, W) float32: a column with the class's number for a single-label task, one for each class or number of the others."""
    labelled: torch.Tensor
    """(N, T) bool."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Outputs of each task."""
        return tuple(task.outputs.stop - task.outputs.start for task in self.tasks)

    @classmethod
    def of(cls, parts: Mapping[str, Dataset], class_weight: Any, smoothing: float, device: torch.device) -> Tasks:
        """From data of the same items in the same order, one for each task.

        Args:
            class_weight: as `head_inputs.class_weights` takes it, of all tasks.
            smoothing: of labels.
        """
        tasks, columns, outputs, width = [], [], 0, 0
        for name, data in parts.items():
            assert data.targets is not None
            known = data.take(data.labelled)
            assert known.targets is not None
            weights = class_weights(known, class_weight)
            units = Units.of(known.targets) if data.task == "regression" else None
            values = torch.from_numpy(np.asarray(data.targets)).reshape(len(data), -1)
            columns.append(values.float() if units is None else units.apply(values))
            end, stop = outputs + len(data.classes), width + columns[-1].shape[1]
            on_device = None if weights is None else torch.from_numpy(weights).to(device)
            objective = Objective(data.task, on_device, smoothing)
            tasks.append(OneTask(name, objective, slice(outputs, end), slice(width, stop), units))
            outputs, width = end, stop
        labelled = torch.stack([torch.from_numpy(data.labelled) for data in parts.values()], dim=1)
        return cls(tuple(tasks), torch.cat(columns, dim=1), labelled)


class MultiTaskHead(nn.Linear):
    """Linear heads of several tasks on one embedding, as one layer.

    Args:
        features: D of the embedding.
        columns: outputs of each task.
        trained: whether the tasks' weights are, as ``log_variances`` (T,) float32, of 0 at first.
    """

    def __init__(self, features: int, columns: Sequence[int], learnt: bool, device: Any = None) -> None:
        super().__init__(features, sum(columns), device=device)
        self.columns = tuple(columns)
        self.log_variances = nn.Parameter(torch.zeros(len(columns), device=device)) if learnt else None

    def of(self, task: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (C, D) and bias (C,) of a task by its number: float32 on the CPU."""
        return tuple(  # type: ignore[return-value]
            value.detach().float().cpu().split(self.columns)[task].clone() for value in (self.weight, self.bias)
        )


@dataclass(frozen=True, slots=True, eq=False)
class TaskItems(TorchDataset[Any]):
    """Items with what is known of each task's labels beside them."""

    source: PictureItems | TextItems
    labelled: torch.Tensor
    """(N, T) bool."""
    sampling: Sampling = "proportional"

    @property
    def items(self) -> Sequence[Any]:
        """What is read."""
        return self.source.items

    def places(self, step: int, size: int, seed: int) -> list[tuple[int, int]]:
        """(pass, item) of each of the ``size`` rows of a step. Equal: those of a task follow one another, and its passes are over
        its own items."""
        if self.sampling == "proportional":
            return self.source.places(step, size, seed)
        found, tasks = [], self.labelled.shape[1]
        for task in range(tasks):
            start, stop = ((number * size + task) // tasks for number in (step, step + 1))
            own = self.labelled[:, task].nonzero()[:, 0]
            rows = shuffled(start, stop, len(own), seed_of(seed, task))
            found += [(turn, int(own[place])) for turn, place in rows]
        return found

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self.source[place]

    def collate(self, found: list[Any]) -> Batch:
        """A `Batch` of what could be read: tokens, or ``pixels`` (B, 3, H, W), and ``shares`` (B, T)."""
        rows = self.source.collate(found)
        inputs = rows.inputs if isinstance(rows.inputs, Mapping) else {PIXELS: rows.inputs}
        return Batch({**inputs, SHARES: shares(self.labelled[rows.index])}, rows.index, rows.broken)


def shares(labelled: torch.Tensor) -> torch.Tensor:
    """What the rows of a step count in each task: (B, T) float32 of (B, T) bool.

    B / (rows with the label) where it is there, else 0: the mean over all rows is then the mean over those with the label.
    """
    return labelled * (len(labelled) / labelled.sum(dim=0).clamp(min=1))


class SharedBackbone(Grafted):
    """A backbone under a `MultiTaskHead`."""

    head: MultiTaskHead

    def forward(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, C + 2T) float32 of a step of `TaskItems`: logits, shares, logarithms of variances (0 where they are not trained)."""
        assert isinstance(batch, Mapping)
        rows = {name: value for name, value in batch.items() if name != SHARES}
        return joined(super().forward(rows.get(PIXELS, rows)), batch[SHARES], self.head.log_variances)


def joined(logits: torch.Tensor, counted: torch.Tensor, log_variances: torch.Tensor | None) -> torch.Tensor:
    """Logits (B, C), `shares` (B, T) and the logarithms of variances (T,) as a `MultiTaskObjective` takes them."""
    logs = torch.zeros_like(counted) if log_variances is None else log_variances.expand_as(counted)
    return torch.cat([logits, counted, logs], dim=1)


@dataclass(frozen=True, slots=True)
class MultiTaskObjective:
    """``sum_t share_t * (w_t * exp(-s_t) * L_t + s_t)`` of each row."""

    tasks: tuple[OneTask, ...]
    weights: tuple[float, ...]
    """(T); of 1 where they are trained."""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of `joined` outputs (B, C + 2T) and targets (B, W) of `Tasks`."""
        count = len(self.tasks)
        logits, counted, logs = outputs.split([outputs.shape[1] - 2 * count, count, count], dim=1)
        total = torch.zeros(len(outputs), device=outputs.device)
        for number, (task, weight) in enumerate(zip(self.tasks, self.weights, strict=True)):
            share, log = counted[:, number], logs[:, number]
            total = total + share * (weight * (-log).exp() * task.losses(logits, targets, share > 0) + log)
        return total

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """None: a row may be right in one task and wrong in another."""
        return None


def checked_weights(weights: Weights, names: Sequence[str]) -> tuple[float, ...]:
    """(T) fixed weights in the order of the tasks.

    Raises:
        UsageError: a task that there is not, a weight that is no number of 0 or more, nothing but 0.
    """
    if isinstance(weights, str) and weights != "uncertainty":
        raise UsageError(f"weights={weights!r}; it is 'uncertainty', or a weight for each task, or None for 1 each")
    if weights is None or isinstance(weights, str):
        return (1.0,) * len(names)
    if strangers := [name for name in weights if name not in names]:
        raise UsageError(f"weights names {strangers[0]!r}, which is no task; there are: {', '.join(names)}")
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise UsageError(f"the weight of the task {name!r} is {value!r}; it takes a number of 0 or more")
    found = tuple(float(weights.get(name, 1.0)) for name in names)
    if not any(found):
        raise UsageError("all tasks have the weight 0: there is nothing to train")
    return found


_FEW = 4
"""Items of a step, and times fewer than of another task, below which a user is told."""


def drowned(parts: Mapping[str, Dataset], size: int) -> list[str]:
    """Of the tasks that have few of a step's items: docs/fine-tuning.md shows what becomes of them."""
    of_step = {name: size * float(one.labelled.mean()) for name, one in parts.items()}
    return [
        f"{name}: {found:.1f} of a step's {size} items have a label of it, and it may drown beside the other tasks; sampling "
        "equal gives a step as many of each"
        for name, found in of_step.items()
        if found < _FEW and found < max(of_step.values()) / _FEW
    ]
