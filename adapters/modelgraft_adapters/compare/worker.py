"""One model and one strategy of a comparison, trained and tested in a process of its own.

A job comes in on standard input; what became of each of its cells goes out, a JSON line each. So memory is that of one way of one
model alone, and what breaks or is killed takes no other with it.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.paths import write_atomic
from modelgraft.sealed import with_checksum

from modelgraft_adapters.calls.child import MARK
from modelgraft_adapters.compare.strategies import Way
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.finetuning.accelerator import make_accelerator
from modelgraft_adapters.finetuning.tuner import FineTuner
from modelgraft_adapters.metrics.costs import Cost, Meter, own_peak_mib
from modelgraft_adapters.metrics.paired import Answers
from modelgraft_adapters.metrics.scores import Evaluation
from modelgraft_adapters.runs.finetune import run_finetune
from modelgraft_adapters.saved.card import plain

FORMAT: Final = 1
SAMPLE: Final = 64
"""Items that are encoded to see how long one takes, where all features were stored."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One learning: so many labels, one seed."""

    shots: int | None
    """Labels of each class; None is all, 0 none."""
    seed: int
    path: Path
    """Where its result goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a process is given."""

    model: str
    way: Way
    data: Dataset
    """Checked, with the splits ``train`` and ``test``."""
    cells: tuple[Cell, ...]
    class_weight: Any = None
    device: str | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    evaluation: Evaluation
    items: int
    learning: Cost
    testing: Cost
    chosen: dict[str, Any]
    notes: list[str]


def main(answers: int) -> None:
    """Do the job on standard input, which the process that started this one has written.

    Args:
        answers: a descriptor for what became of it. Standard output leads to standard error: what a library prints is no answer.
    """
    out = os.fdopen(answers, "w", encoding="utf-8")
    job: Job = pickle.load(sys.stdin.buffer)
    for line in work(job):
        out.write(f"\n{MARK}{json.dumps(line)}\n")
        out.flush()


def work(job: Job) -> Iterator[dict[str, Any]]:
    """Learn and test each cell; what was found is in its file when its line comes.

    Yields:
        ``{"cell": number}``, with ``cannot`` (what this model cannot do) or ``failed`` (what went wrong) and the reason, or
        neither. Number None: of all cells.
    """
    meter = Meter()
    try:
        learn = _Tuned(job, meter) if job.way.kind == "tune" else _Frozen(job, meter)
    except Exception as error:
        yield {"cell": None, **_told(error)}
        return
    for number, cell in enumerate(job.cells):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            result = learn(cell)
        except Exception as error:  # of one cell: the others may still be trained
            yield {"cell": number, **_told(error)}
            continue
        write_atomic(cell.path, json.dumps(with_checksum(_record(job, cell, result, meter))).encode())
        yield {"cell": number}


class _Tuned:
    """The backbone is trained."""

    def __init__(self, job: Job, meter: Meter) -> None:
        # Loaded once for nothing, so that the first learning does not pay for importing libraries.
        FeatureExtractor(job.model, modality=job.data.modality, device=job.device, store=False).backbone  # noqa: B018
        make_accelerator(torch.device("cpu"), "fp32")
        self.job, self.meter = job, meter

    def __call__(self, cell: Cell) -> _Result:
        job = self.job
        data = job.data if cell.shots is None else few_shot(job.data, cell.shots, cell.seed)
        tuner = FineTuner(
            job.model,
            job.way.name,
            modality=data.modality,
            class_weight=job.class_weight,
            seed=cell.seed,
            device=job.device,
            workers=job.workers,
            **job.way.settings,
        )
        with self.meter.measure() as cost:
            run = run_finetune(tuner, data)
        testing = run.seconds["testing"]
        learning = Cost(run.seconds["training"] + run.seconds["getting ready"], cost[0].joules)
        return _Result(
            run.evaluation, len(run.train), learning, Cost(testing), tuner.report_["chosen"], list(tuner.notes_)
        )


class _Frozen:
    """A head on features that are taken once. What they cost is counted to each cell as if it were alone.

    Features may lie in the store, of an earlier run or another head: then some items are encoded all the same, to see how long one
    takes, and the model is loaded, so that time and memory are those of somebody who begins with nothing.
    """

    def __init__(self, job: Job, meter: Meter) -> None:
        self.job, self.meter = job, meter
        data = job.data
        self.zero = job.way.kind == "zero-shot"
        self.adapter = FrozenAdapter(
            job.model,
            job.way.name,
            modality=data.modality,
            class_weight=job.class_weight,
            device=job.device,
            workers=job.workers,
            **job.way.settings,
        )
        self.semi = "unlabelled" in self.adapter.spec.needs
        extractor = self.adapter.extractor
        backbone = extractor.backbone  # loaded before anything is timed
        train, test = data.part("train"), data.part("test")
        self.train, self.test = train.take(train.labelled), test.take(test.labelled)
        self.draws = {cell: self._drawn(cell) for cell in job.cells}
        self.rows = np.full((len(self.train), backbone.embed_dim), np.nan, np.float32)
        wanted = np.unique(np.concatenate([*self.draws.values(), *([np.arange(len(self.train))] if self.semi else [])]))
        if self.zero:  # what the head is shown says which classes there are, and is not looked at
            self.rows[:], wanted = 0, wanted[:0]
        before = extractor.encoded
        with meter.measure() as embedding:
            self.tested = extractor.embed(self.test.items)
            found = extractor.embed([self.train.items[n] for n in wanted.tolist()])
        self.rows[wanted] = found.features
        self.more = self._embed_unlabelled(data) if self.semi else None
        self.each = self._each(backbone, extractor.encoded - before, len(self.test) + len(wanted), embedding[0])
        self.notes = [*found.notes, *self.tested.notes]

    def __call__(self, cell: Cell) -> _Result:
        drawn = self.draws[cell]
        good = drawn[np.isfinite(self.rows[drawn]).all(axis=1)]
        if not len(good):
            raise ModelgraftError(f"none of the {len(drawn)} training items could be read")
        more = self.more
        if self.semi:
            rest = np.delete(self.rows, drawn, axis=0)
            rest = rest[np.isfinite(rest).all(axis=1)]
            more = rest if more is None else np.concatenate([more, rest])
            more = more if len(more) else None
        learnt = self.adapter.with_head(self.job.way.name, **self.job.way.settings)
        learnt.seed = cell.seed
        data = replace(self.train.take(good), split=None)
        with self.meter.measure() as learning:
            learnt.fit_features(np.ascontiguousarray(self.rows[good]), data, more)
        with self.meter.measure() as testing:
            evaluation = learnt.evaluate_features(self.tested, self.test)
        items = 0 if self.zero else len(good) + (0 if more is None else len(more))
        return _Result(
            evaluation,
            0 if self.zero else len(good),
            self.each.times(items) + learning[0],
            self.each.times(len(self.test)) + testing[0],
            learnt.report_.get("chosen", {}),
            [*self.notes, *([] if self.zero else learnt.notes_)],
        )

    def _drawn(self, cell: Cell) -> np.ndarray:
        """(n,) int64: which training items are trained on."""
        if cell.shots is None or self.zero:
            return np.arange(len(self.train))
        places = replace(self.train, items=range(len(self.train)), split=None)
        return np.asarray(few_shot(places, cell.shots, cell.seed).items, np.int64)

    def _embed_unlabelled(self, data: Dataset) -> np.ndarray | None:
        if "unlabelled" not in data.split_names:
            return None
        found = self.adapter.extractor.embed(data.part("unlabelled").items)
        return found.features[found.good]

    def _each(self, backbone: Any, encoded: int, asked: int, spent: Cost) -> Cost:
        """What it takes to encode one item."""
        if encoded and (encoded >= SAMPLE or encoded == asked):
            return spent.times(1 / encoded)
        fresh = FeatureExtractor(backbone, modality=self.test.modality, workers=self.job.workers, store=False)
        sample = self.test.items[:SAMPLE]
        with self.meter.measure() as cost:
            fresh.embed(sample)
        return cost[0].times(1 / max(len(sample), 1))


def _record(job: Job, cell: Cell, result: _Result, meter: Meter) -> dict[str, Any]:
    """What is kept of a cell, as plain JSON types."""
    found, both = result.evaluation, result.learning + result.testing
    labelled = int(job.data.part("test").labelled.sum())
    return {
        "format": FORMAT,
        "model": job.model,
        "strategy": job.way.label,
        "shots": cell.shots,
        "seed": cell.seed,
        "items": result.items,
        "test": plain(found.record()),
        **Answers.of(found, labelled).record(),
        "seconds": {"learning": round(result.learning.seconds, 4), "testing": round(result.testing.seconds, 4)},
        "joules": None if both.joules is None else round(both.joules, 2),
        "energy_of": meter.sources,
        "peak_mib": own_peak_mib(),
        "gpu_peak_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if torch.cuda.is_initialized() else None,
        "chosen": plain(result.chosen),
        "notes": list(dict.fromkeys(result.notes)),
    }


def _told(error: Exception) -> dict[str, str]:
    """A usage error is what a model cannot do; anything else went wrong."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, UsageError):
        return {"cannot": text}
    return {"failed": text if isinstance(error, ModelgraftError) else f"{type(error).__name__}: {text}"}
