"""From a fitted adapter and its data to what the report shows."""

from __future__ import annotations

import datetime
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.metrics.costs import peak_mib
from modelgraft_adapters.metrics.scores import Evaluation
from modelgraft_adapters.report.contents import Cost, HardExample, ProbeReport, Repeat
from modelgraft_adapters.report.thumbnails import quote, thumbnail
from modelgraft_adapters.runs.learning_curve import SEEDS, SHOTS, learning_curve
from modelgraft_adapters.runs.probe import ProbeRun, Progress

HARDEST: Final = 18
_MOST_LABELS: Final = 6


def collect(
    run: ProbeRun,
    *,
    data_name: str = "data",
    shots: Sequence[int | None] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    hardest: int = HARDEST,
    command: str | None = None,
    progress: Progress | None = None,
) -> ProbeReport:
    """Gather what the report shows. Nothing is embedded; the hardest test items are read again for their thumbnails.

    Args:
        run: what `run_probe` found.
        data_name: what the title says.
        shots: of the learning curve (`learning_curve`); empty leaves it out.
        seeds: of the learning curve.
        hardest: how many of the hardest test items to show.
        command: what to type to make it again.
        progress: of the learning curve.
    """
    adapter, train, test, result = run.adapter, run.train, run.test, run.evaluation
    seconds = dict(run.seconds)
    good = np.flatnonzero(run.train_features.good & train.labelled)
    known, rows = replace(train.take(good), split=None), run.train_features.features[good]
    begin = time.perf_counter()
    curve = []
    if len(shots):
        curve = learning_curve(
            adapter,
            known,
            rows,
            test,
            run.test_features,
            shots,
            seeds,
            whole=result,
            unlabelled=run.unlabelled,
            progress=progress,
        )
        seconds["learning curve"] = time.perf_counter() - begin
    broken = {
        data.identity(n): str(error)
        for data, found in ((train, run.train_features), (test, run.test_features))
        for n, error in enumerate(found.errors)
        if error is not None
    }
    return ProbeReport(
        data_name=data_name,
        model=adapter.entry.name,
        head=adapter.head_name,
        modality=test.modality,
        evaluation=result,
        trained_on=len(known),
        zero_shot=None if run.zero_shot is None else run.zero_shot.score,
        majority=(run.chance.name, run.chance.value) if math.isfinite(run.chance.value) else None,
        curve=curve,
        found=adapter.report_,
        hardest=_hardest(result, test, hardest),
        repeats=[
            Repeat(test.identity(pair.test_index), train.identity(pair.train_index), pair.kind, pair.distance)
            for pair in run.repeated
        ],
        notes=run.notes,
        unreadable=broken,
        cost=Cost(seconds, len(train) + len(test), run.encoded, peak_mib(), _gpu_memory_mib(adapter)),
        facts=_facts(adapter, len(known), result),
        command=command,
        created=today(),
    )


def _gpu_memory_mib(adapter: FrozenAdapter) -> float | None:
    if adapter.extractor.device.type != "cuda":
        return None
    import torch

    return float(torch.cuda.max_memory_allocated(adapter.extractor.device)) / 2**20


def losses(result: Evaluation) -> np.ndarray:
    """(N,) float64: how wrong each item is (`HardExample.loss`); NaN for a class that was not trained on."""
    outputs, targets = result.outputs.astype(np.float64), result.targets
    if result.task == "regression":
        errors = outputs - targets
        spread = np.sqrt((errors**2).mean(axis=0))
        return np.abs(errors / np.where(spread > 0, spread, 1)).max(axis=1)
    likely = outputs.clip(1e-12, 1 - 1e-12)
    if result.task == "multi-label":
        return -(targets * np.log(likely) + (1 - targets) * np.log1p(-likely)).sum(axis=1)
    own = np.log(likely[np.arange(len(targets)), targets.clip(0)])
    return np.where(targets >= 0, -own, np.nan)


def _hardest(result: Evaluation, test: Dataset, count: int) -> list[HardExample]:
    loss = losses(result)
    order = [int(n) for n in np.argsort(-loss, kind="stable") if not np.isnan(loss[n])][:count]
    return [
        HardExample(
            identity=result.identities[n],
            truth=_named(result, result.targets[n], None),
            predicted=_named(result, result.outputs[n], result.outputs[n]),
            loss=float(loss[n]),
            picture=thumbnail(test.items[int(result.indices[n])]) if test.modality == "image" else None,
            text=quote(test.items[int(result.indices[n])]) if test.modality == "text" else None,
        )
        for n in order
    ]


def _named(result: Evaluation, values: Any, scores: np.ndarray | None) -> str:
    """A target or an output in words."""
    if result.task == "regression":
        return ", ".join(f"{name} {float(v):.4g}" for name, v in zip(result.classes, values, strict=True))
    if result.task == "multi-label":
        on = [(name, float(v)) for name, v in zip(result.classes, values, strict=True) if v > 0.5]
        shown = [name if scores is None else f"{name} {v:.2f}" for name, v in on[:_MOST_LABELS]]
        return ", ".join(shown) + (" …" if len(on) > _MOST_LABELS else "") or "none"
    if scores is None:
        return result.classes[int(values)]
    best = int(scores.argmax())
    return f"{result.classes[best]} {float(scores[best]):.2f}"


def _facts(adapter: FrozenAdapter, items: int, result: Evaluation) -> dict[str, Any]:
    card = dict(adapter.extractor.card)
    versions = {"python": platform.python_version(), **card.pop("versions", {})}
    return {
        "model": card,
        "head": {
            "name": adapter.head_name,
            "settings given": adapter.settings,
            "chosen": adapter.report_.get("chosen", {}),
        },
        "training": {
            "task": adapter.task,
            "items": items,
            "classes": len(adapter.classes),
            "folds": adapter.n_folds,
            "class weight": adapter.class_weight
            if isinstance(adapter.class_weight, (str, type(None)))
            else dict(adapter.class_weight),
            "seed": adapter.seed,
            **{name: value for name, value in adapter.trained_on_.items() if name not in ("items", "classes")},
        },
        "test": result.record(),
        "versions": versions,
    }


def today() -> str:
    """The date, UTC; of ``SOURCE_DATE_EPOCH`` where that is set, so that a report can be made again to the byte."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = float(given) if given.isdigit() else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
