"""A whole run over several tasks, from one table to scores, and to what sharing is worth: what ``modelgraft multitask`` does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset, repeated
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
from modelgraft_adapters.finetuning.tuner import FineTuner
from modelgraft_adapters.metrics.baselines import chance_of
from modelgraft_adapters.metrics.costs import peak_mib
from modelgraft_adapters.metrics.paired import Answers, Difference, difference
from modelgraft_adapters.metrics.scores import Evaluation, Score


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What was found of one task."""

    train: int
    """Items with a label of it that were trained on."""
    together: Evaluation
    chance: Score
    alone: Evaluation | None
    """By a backbone trained on this task only, in the same way for as many steps, on the same test items."""
    gain: Difference | None
    """Together less alone: below 0 is negative transfer."""


@dataclass(slots=True)
class TasksRun:
    """What a run found."""

    tuner: MultiTaskTuner
    tasks: dict[str, TaskResult]
    items: tuple[int, int]
    """To train on, to test on."""
    seconds: dict[str, float]
    """Wall time of each phase."""
    peak_mib: float
    notes: list[str] = field(default_factory=list)

    @property
    def unreadable(self) -> int:
        """Items, of those to train on and those to test on."""
        return int(self.tuner.report_["unreadable"]) + len(self._broken())

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        report = self.tuner.report_
        return {
            "model": self.tuner.entry.name,
            "strategy": self.tuner.tuning.strategy,
            "sampling": self.tuner.sampling,
            "train": self.items[0],
            "tasks": {name: self._task(name, found) for name, found in self.tasks.items()},
            "report": report,
            "unreadable": self._broken(),
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "notes": self.notes,
        }

    def _task(self, name: str, found: TaskResult) -> dict[str, Any]:
        gain = found.gain
        return {
            "task": found.together.task,
            "classes": list(found.together.classes),
            "train": found.train,
            "weight": self.tuner.weights_[name],
            "test": found.together.record(),
            "chance": {"name": found.chance.name, "value": found.chance.value},
            "alone": None if found.alone is None else found.alone.record(),
            "gain": None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high, "p": gain.p},
        }

    def _broken(self) -> dict[str, str]:
        return {name: why for found in self.tasks.values() for name, why in found.together.unreadable.items()}


def parted_tasks(parts: Mapping[str, Dataset], test_fraction: float, seed: int) -> dict[str, Dataset]:
    """Data of the same items, one for each task, with one split ``test``: their own, or ``test_fraction`` of the items, drawn by
    the classes of the first task; items without a label of it follow their share at random.

    Raises:
        UsageError: nothing to test a task on.
    """
    first_name, first = next(iter(parts.items()))
    found = dict(parts)
    if "test" not in first.split_names:
        split = stratified_split(first, test_fraction, seed).splits().copy()
        rest = np.flatnonzero(~first.labelled & (split == "train"))
        split[_share_of(rest, first, split, test_fraction, seed)] = "test"
        found = {name: replace(one, split=split) for name, one in parts.items()}
    for name, one in found.items():
        if not one.part("test").labelled.any():
            raise UsageError(f"no test item has a label of the task {name!r}; the test part is drawn by {first_name!r}")
    return {first_name: repeated(found.pop(first_name)), **found}


def _share_of(rest: np.ndarray, data: Dataset, split: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Of the items at ``rest`` a share at random; of items in groups, whole groups that are not trained on."""
    rng = np.random.default_rng([seed, len(rest)])
    if data.groups is None:
        return rng.permutation(rest)[: round(fraction * len(rest))]
    learnt = set(data.groups[(split == "train") & data.labelled])
    free = rest[[group not in learnt for group in data.groups[rest]]]
    names = rng.permutation(sorted(set(data.groups[free])))
    drawn = set(names[: round(fraction * len(names))])
    return free[[group in drawn for group in data.groups[free]]]


def run_multitask(
    tuner: MultiTaskTuner, parts: Mapping[str, Dataset], *, alone: bool = False, resume: bool = False
) -> TasksRun:
    """Train on the split ``train`` of `parted_tasks`, then test: the test items are looked at once, at the end.

    Args:
        alone: train each task alone too, in the same way for as many steps, and say what sharing is worth.

    Errors as `MultiTaskTuner.fit`.
    """
    began = time.perf_counter()
    tuner.fit(parts, resume=resume)
    seconds = {"training": tuner.report_["seconds"]}
    seconds["getting ready"] = time.perf_counter() - began - seconds["training"]
    began = time.perf_counter()
    together = tuner.evaluate(parts)
    seconds["testing"] = time.perf_counter() - began
    began = time.perf_counter()
    tasks = {}
    for name, data in parts.items():
        train = data.part("train")
        train = train.take(train.labelled)
        own = _alone(tuner, data) if alone else None
        count = len(data.part("test"))
        tasks[name] = TaskResult(
            len(train),
            together[name],
            chance_of(train, together[name]),
            own,
            None if own is None else difference([Answers.of(together[name], count)], [Answers.of(own, count)]),
        )
    if alone:
        seconds["each task alone"] = time.perf_counter() - began
    first = next(iter(parts.values()))
    return TasksRun(
        tuner,
        tasks,
        (len(first.part("train")), len(first.part("test"))),
        {name: round(value, 3) for name, value in seconds.items()},
        peak_mib(),
        list(tuner.notes_),
    )


def _alone(tuner: MultiTaskTuner, data: Dataset) -> Evaluation:
    """The same model, strategy and settings, with this task's labels only."""
    settings = {**tuner.tuning.record(), "epochs": None, "steps": tuner.report_["chosen"]["steps"]}
    one = FineTuner(
        tuner.model,
        **settings,
        modality=data.modality,
        class_weight=tuner.class_weight,
        seed=tuner.seed,
        device=tuner.device,
        workers=tuner.workers,
    )
    one.fit(data)
    test = data.part("test")
    return one.evaluate_features(one.extractor.embed(test.items), test)
