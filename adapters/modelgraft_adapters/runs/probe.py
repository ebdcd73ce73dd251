"""A whole run of an adapter on data, from the source to scores that can be believed: what ``modelgraft probe`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from modelgraft import list_heads
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.learning import listening

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.duplicates import Pair, near_duplicates, report
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import few_shot, stratified_split
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.baselines import chance_of
from modelgraft_adapters.metrics.costs import peak_mib
from modelgraft_adapters.metrics.scores import Evaluation, Score
from modelgraft_adapters.runs.calibrate import Calibrating, calibrate_in_probe

Progress = Callable[[str, int, int], None]
"""Told what is being done, items done, items there are."""


@dataclass(slots=True)
class ProbeRun:
    """What a run found."""

    adapter: FrozenAdapter
    train: Dataset
    test: Dataset
    train_features: Embedded
    """Of all training items, those that could not be read too."""
    test_features: Embedded
    evaluation: Evaluation
    zero_shot: Evaluation | None
    """The same test items by the classes' names alone; None for a model that has no text tower."""
    chance: Score
    """Always guessing the most frequent class of the training items (single-label)."""
    repeated: list[Pair]
    """Test items that repeat a training item."""
    unlabelled: np.ndarray | None
    seconds: dict[str, float]
    """Wall time of each phase."""
    encoded: int
    """Items that went through the model; the others were in the feature store."""
    peak_mib: float
    """Peak memory of the process so far."""
    notes: list[str] = field(default_factory=list)
    calibrated: Calibrating | None = None
    """What calibrating found, where that was asked for."""

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        a = self.adapter
        return {
            "model": a.entry.name,
            "precision": a.extractor.card["precision"]["dtype"],
            "engine": a.extractor.card.get("engine", "torch"),
            "head": a.head_name,
            "task": a.task,
            "classes": list(a.classes),
            "train": len(self.train),
            "test": self.evaluation.record(),
            "zero_shot": None if self.zero_shot is None else self.zero_shot.record(),
            "chance": {"name": self.chance.name, "value": self.chance.value},
            "report": a.report_,
            "calibration": None if self.calibrated is None else self.calibrated.record(),
            "repeated": len(self.repeated),
            "unreadable": self.evaluation.unreadable,
            "encoded": self.encoded,
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "notes": self.notes,
        }


def run_probe(
    adapter: FrozenAdapter,
    data: Dataset,
    *,
    test_fraction: float = 0.2,
    shots: int | None = None,
    unlabelled: Any = None,
    find_repeated: bool = True,
    calibrate: bool = False,
    progress: Progress | None = None,
) -> ProbeRun:
    """Split, embed, learn, and test.

    Data without a ``test`` split are split by class, ``test_fraction`` of the items, with the adapter's seed; a ``val`` split is
    left alone. The test items are looked at once, when everything has been chosen.

    Args:
        shots: train on that many labels of each class only; the others become unlabelled items where the head uses such.
        unlabelled: data or items without labels, beside those of the data themselves.
        find_repeated: look for test items that repeat a training item.
        calibrate: learn a temperature, and what sets of classes take, from the folds of the training items.

    Raises:
        UsageError: nothing to train, nothing to test on.
    """
    seconds: dict[str, float] = {}
    tell = progress or (lambda what, done, total: None)
    seed = adapter.drawn
    data = data if "test" in data.split_names else stratified_split(data, test_fraction, seed)
    semi = "unlabelled" in adapter.spec.needs
    if shots is not None:
        data = few_shot(data, shots, seed, keep_rest=semi)
    data = check_for_training(data)
    train, test = data.part("train"), data.part("test")
    test = test.take(test.labelled)
    if not len(test):
        raise UsageError("the test split has no labelled item to test on")
    adapter._read(train, None, None)  # settles whether images or texts
    before = adapter.extractor.encoded
    with timed(seconds, "embedding"):
        found = embed_part(adapter, train, "embedding the training items", tell)
        tested = embed_part(adapter, test, "embedding the test items", tell)
        extra = _extra(adapter, data, unlabelled, tell) if semi or unlabelled is not None else None
    good = found.good
    if not good.any():
        raise ModelgraftError(
            f"none of the {len(good)} training items could be read: {next(filter(None, found.errors))}"
        )
    readable = train.take(good)
    features = np.ascontiguousarray(found.features[good])
    with timed(seconds, "learning"), listening(progress):
        adapter.fit_features(features, readable, extra)
    calibrated = None
    if calibrate:
        with timed(seconds, "calibrating"):
            calibrated = calibrate_in_probe(adapter, features, readable, tested, test)
    with timed(seconds, "testing"):
        evaluation = adapter.evaluate_features(tested, test)
        adapter.evaluation_ = evaluation
    with timed(seconds, "zero-shot"):
        zero_shot = _zero_shot(adapter, features, readable, tested, test)
    repeated: list[Pair] = []
    if find_repeated:
        with timed(seconds, "looking for duplicates"):
            repeated = near_duplicates(train, test)
    notes = list(dict.fromkeys([*data.notes, *adapter.notes_, *found.notes, *tested.notes]))
    broken = {train.identity(n): e for n, e in enumerate(found.errors) if e is not None}
    if broken:
        name, why = next(iter(broken.items()))
        notes.append(f"{len(broken)} of {len(train)} training items could not be read; the first: {name}: {why}")
    if line := report(repeated, len(test)):
        notes.append(line)
    return ProbeRun(
        adapter,
        train,
        test,
        found,
        tested,
        evaluation,
        zero_shot,
        chance_of(readable, evaluation),
        repeated,
        extra,
        {name: round(value, 3) for name, value in seconds.items()},
        adapter.extractor.encoded - before,
        peak_mib(),
        notes,
        calibrated,
    )


def embed_part(adapter: FrozenAdapter, data: Dataset, what: str, tell: Progress) -> Embedded:
    """Return the features of all items, telling how far it has got."""
    return adapter.extractor.embed(data.items, lambda done, total: tell(what, done, total))


def _extra(adapter: FrozenAdapter, data: Dataset, given: Any, tell: Progress) -> np.ndarray | None:
    """Features of the items without a label: those of the data, and those that were given."""
    parts = [data.part("unlabelled")] if "unlabelled" in data.split_names else []
    if given is not None:
        parts.append(adapter._read(given, None, "unlabelled"))
    found = [embed_part(adapter, part, "embedding the unlabelled items", tell) for part in parts if len(part)]
    return np.concatenate([f.features[f.good] for f in found]) if found else None


def _zero_shot(
    adapter: FrozenAdapter, features: np.ndarray, train: Dataset, tested: Embedded, test: Dataset
) -> Evaluation | None:
    """What the classes' names alone give, on the same features."""
    heads = {spec.name: spec for spec in list_heads()}
    fits = "text" in heads and adapter.task in heads["text"].tasks and adapter.head_name != "text"
    if "zero-shot" not in adapter.entry.tasks or not fits or adapter.extractor.layer is not None:
        return None
    try:
        return adapter.with_head("text").fit_features(features, train).evaluate_features(tested, test)
    except UsageError:  # a model that scores classes against each other has no zero-shot of several labels
        return None


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Write down how long the block takes, in seconds, under ``what``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[what] = time.perf_counter() - start
