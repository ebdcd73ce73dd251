"""A whole fine-tuning run on data, from the source to scores that can be believed: what ``modelgraft finetune`` does."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset, repeated
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import few_shot, stratified_split
from modelgraft_adapters.finetuning.tuner import FineTuner
from modelgraft_adapters.finetuning.weight_averaging import zero_shot_kept
from modelgraft_adapters.metrics.baselines import chance_of
from modelgraft_adapters.metrics.costs import peak_mib
from modelgraft_adapters.metrics.scores import Evaluation, Score


@dataclass(slots=True)
class TuningRun:
    """What a run found."""

    tuner: FineTuner
    train: Dataset
    test: Dataset
    evaluation: Evaluation
    probe: Evaluation | None
    """lp-ft: the frozen backbone under the exact head, which the run began as, on the same test items."""
    chance: Score
    seconds: dict[str, float]
    """Wall time of each phase."""
    peak_mib: float
    gpu_peak_mib: float | None
    notes: list[str] = field(default_factory=list)
    elsewhere: tuple[Evaluation, Evaluation] | None = None
    """Zero-shot on other data, before and after: `weight_averaging.zero_shot_kept`."""

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        t = self.tuner
        return {
            "model": t.entry.name,
            "strategy": t.tuning.strategy,
            "task": t.task,
            "classes": list(t.classes),
            "train": len(self.train),
            "test": self.evaluation.record(),
            "probe": None if self.probe is None else self.probe.record(),
            "zero_shot_elsewhere": None
            if self.elsewhere is None
            else {"before": self.elsewhere[0].record(), "after": self.elsewhere[1].record()},
            "chance": {"name": self.chance.name, "value": self.chance.value},
            "report": t.report_,
            "unreadable": self.evaluation.unreadable,
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "gpu_peak_mib": self.gpu_peak_mib,
            "notes": self.notes,
        }


def parted(data: Dataset, test_fraction: float, shots: int | None, seed: int) -> Dataset:
    """Data with a split ``test``: their own, or ``test_fraction`` of the items, drawn by class.

    Args:
        shots: train on that many labels of each class only.

    Raises:
        UsageError: nothing to train, nothing to test on.
    """
    data = data if "test" in data.split_names else stratified_split(data, test_fraction, seed)
    if shots is not None:
        data = few_shot(data, shots, seed)
    data = check_for_training(data)
    if not data.part("test").labelled.any():
        raise UsageError("the test split has no labelled item to test on")
    return repeated(data)


def run_finetune(
    tuner: FineTuner,
    data: Dataset,
    *,
    unlabelled: Dataset | None = None,
    elsewhere: Dataset | None = None,
    resume: bool = False,
) -> TuningRun:
    """Train on the split ``train`` of `parted` data, then test: the test items are looked at once, at the end.

    Args:
        unlabelled: to train on too.
        elsewhere: data of other classes, on which a dual encoder is asked by their names alone, before and after.

    Errors as `FineTuner.fit`.
    """
    seconds: dict[str, float] = {}
    test = data.part("test")
    test = test.take(test.labelled)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    tuner.fit(data, unlabelled=unlabelled, resume=resume)
    seconds["training"] = tuner.report_["seconds"]
    seconds["getting ready"] = time.perf_counter() - began - seconds["training"]
    began = time.perf_counter()
    found = tuner.extractor.embed(test.items)
    evaluation = tuner.evaluate_features(found, test)
    tuner.evaluation_ = evaluation
    seconds["testing"] = time.perf_counter() - began
    probe = None
    if tuner.probe_ is not None:
        began = time.perf_counter()
        probe = tuner.probe_.evaluate_features(tuner.probe_.extractor.embed(test.items), test)
        seconds["testing the probe"] = time.perf_counter() - began
    kept = None
    if elsewhere is not None:
        began = time.perf_counter()
        kept = zero_shot_kept(tuner, elsewhere)
        seconds["testing elsewhere"] = time.perf_counter() - began
    train = data.part("train")
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return TuningRun(
        tuner,
        train,
        test,
        evaluation,
        probe,
        chance_of(train, evaluation),
        {name: round(value, 3) for name, value in seconds.items()},
        peak_mib(),
        None if gpu is None else round(gpu, 1),
        list(dict.fromkeys([*data.notes, *tuner.notes_, *found.notes])),
        kept,
    )


def main_process() -> bool:
    """Whether this process speaks for all: under ``accelerate launch`` or torchrun the first, else the only one."""
    return int(os.environ.get("RANK", "0")) == 0
