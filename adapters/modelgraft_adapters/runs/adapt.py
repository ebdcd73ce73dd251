"""A whole run of domain adaptation, from two sources of data to scores: what ``modelgraft adapt`` does.

The target's labels, where it has some, are looked at when everything has been chosen, and by nothing that chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.learning import listening

from modelgraft_adapters.alignment.naming import SOURCE_ONLY, TRAINED
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.estimators.adaptation import DomainAdapter
from modelgraft_adapters.estimators.base import Adapter
from modelgraft_adapters.estimators.frozen import FrozenAdapter, unreadable
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.costs import peak_mib
from modelgraft_adapters.metrics.paired import Answers, Difference, difference
from modelgraft_adapters.metrics.scores import Evaluation
from modelgraft_adapters.runs.probe import Progress, embed_part, timed

SPLIT, GIVEN, SAME = "test split", "labelled target", "adapted items"
"""What the target was scored on: its split ``test``; data given for it; the very items whose features it was adapted to."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """How one method did."""

    name: str
    source: Evaluation
    """On the held-out part of the source."""
    target: Evaluation | None
    """None where no item of the target has a label."""
    gain: Difference | None
    """On the target, over source-only, item by item; of source-only itself None."""

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        gain = self.gain
        return {
            "method": self.name,
            "source": self.source.record(),
            "target": None if self.target is None else self.target.record(),
            "gain": None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high, "p": gain.p},
        }


@dataclass(slots=True)
class AdaptRun:
    """What a run found."""

    adapter: Adapter
    """What was made: of the method that was taken."""
    train: Dataset
    """The labelled items of the source that heads were trained on."""
    target: Dataset
    """The items that were adapted to; their labels are gone."""
    results: list[MethodResult]
    """Source-only first."""
    scored_on: str | None
    """`SPLIT`, `GIVEN` or `SAME`; None where the target has no labels."""
    broken: int
    """Items of any part that could not be read."""
    items: int
    encoded: int
    """Items that went through the model; the others were in the feature store."""
    seconds: dict[str, float]
    peak_mib: float
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        """The method that was taken."""
        return str(self.adapter.report_["adaptation"]["method"])

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        a = self.adapter
        return {
            "model": a.entry.name,
            "precision": a.extractor.card["precision"]["dtype"],
            "engine": a.extractor.card.get("engine", "torch"),
            "classes": list(a.classes),
            "train": len(self.train),
            "target_items": len(self.target),
            "scored_on": self.scored_on,
            "method": self.method,
            "results": [result.record() for result in self.results],
            "report": a.report_,
            "unreadable": self.broken,
            "encoded": self.encoded,
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "notes": self.notes,
        }


def run_adapt(
    adapter: DomainAdapter,
    source: Dataset,
    target: Dataset,
    *,
    labelled_target: Dataset | None = None,
    test_fraction: float = 0.2,
    network: str | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress | None = None,
) -> AdaptRun:
    """Split the source, embed, adapt, and score the method, source-only and all that ``auto`` tried.

    Args:
        adapter: not fitted; its method says what is done.
        source: labelled; without a split ``test`` one is drawn by class, ``test_fraction`` of the items.
        target: with or without labels, which are taken off. Of a target that is split the split ``train`` is adapted to.
        labelled_target: items of the target with labels to score on, that nothing is adapted to. None: the target's split
            ``test``; of a target with labels and no split the same items, since no label was seen.
        network: ``adabn``, ``tent``, ``deep-coral`` or ``dann``: what is done to the network of an ``adapter`` whose
            method is ``source-only``.
        settings: of that.

    Raises:
        UsageError: no labels in the source, no items in the target, another task than one class an item, images and texts.
        ModelgraftError: no item of a part could be read.
    """
    seconds: dict[str, float] = {}
    tell = progress or (lambda what, done, total: None)
    _check_alike(source, target, labelled_target)
    source = source if "test" in source.split_names else stratified_split(source, test_fraction, adapter.drawn)
    source = check_for_training(source)
    train, held = source.part("train"), source.part("test")
    held = held.take(held.labelled)
    if not len(held):
        raise UsageError("the test split of the source has no labelled item to test on")
    adapted, scored, scored_on = _parts(target, labelled_target)
    adapter._read(train, None, None)  # settles whether images or texts
    if network in TRAINED:
        _check_trained(network, settings, adapter, train)
    before = adapter.extractor.encoded
    with timed(seconds, "embedding"):
        found = embed_part(adapter, train, "embedding the source", tell)
        of_held = embed_part(adapter, held, "embedding the held-out part of the source", tell)
        other = embed_part(adapter, adapted, "embedding the target", tell)
        of_scored = (
            other if scored_on in (SAME, None) else embed_part(adapter, scored, "embedding the labelled target", tell)
        )
    for name, embedded in (("source", found), ("target", other)):
        if not embedded.good.any():
            first = next(filter(None, embedded.errors))
            raise ModelgraftError(f"none of the {len(embedded.good)} items of the {name} could be read: {first}")
    readable = train.take(found.good)
    features = np.ascontiguousarray(found.features[found.good])
    with timed(seconds, "learning"), listening(progress):
        adapter.fit_features(features, readable, other.features[other.good])
        candidates = adapter.candidates()
        if SOURCE_ONLY not in candidates:
            plain, _ = adapter.candidate(SOURCE_ONLY, features, readable, other.features[other.good])
            candidates = {SOURCE_ONLY: plain, **candidates}
    with timed(seconds, "testing"):
        results = _scored(candidates, (of_held, held), (of_scored, scored) if scored_on else None)
    encoded = adapter.extractor.encoded - before
    made: Adapter = adapter
    if network is not None:
        with timed(seconds, f"{network}, with testing"):
            made, more = _network(
                network, settings, adapter, (readable, adapted), (held, scored if scored_on else None), tell
            )
            results.append(_beside(results[0], more, len(scored)))
    if scored_on in (SPLIT, GIVEN):
        made.evaluation_ = next(one.target for one in results if one.name == made.report_["adaptation"]["method"])
    embedded_parts = [(train, found), (held, of_held), (adapted, other)]
    embedded_parts += [(scored, of_scored)] if scored_on in (SPLIT, GIVEN) else []
    notes = [*source.notes, *target.notes, *made.notes_, *found.notes, *other.notes]
    notes += [line for part, embedded in embedded_parts for line in unreadable(part, embedded)]
    return AdaptRun(
        made,
        train,
        adapted,
        results,
        scored_on,
        sum(int((~embedded.good).sum()) for _, embedded in embedded_parts),
        sum(len(part) for part, _ in embedded_parts),
        encoded,
        {name: round(value, 3) for name, value in seconds.items()},
        peak_mib(),
        list(dict.fromkeys(notes)),
    )


def _check_alike(source: Dataset, *others: Dataset | None) -> None:
    """Say before anything is embedded what cannot go together.

    Raises:
        UsageError: images and texts, or labels that are no classes.
    """
    if source.task != "single-label":
        raise UsageError(f"domains are adapted for one class an item; the source's labels are {source.task}")
    for other in others:
        if other is not None and other.modality != source.modality:
            raise UsageError(
                f"the source holds {source.modality}s and the target {other.modality}s; domains are adapted within one kind"
            )


def _parts(target: Dataset, labelled: Dataset | None) -> tuple[Dataset, Dataset, str | None]:
    """The items to adapt to, without labels; those to score on, with; and what these are.

    Raises:
        UsageError: no items, or ``labelled`` has no labels.
    """
    adapted = target.part("train") if "train" in target.split_names else target
    if not len(adapted):
        raise UsageError("the target has no items to adapt to")
    blind = replace(adapted, targets=None, split=None)
    if labelled is not None:
        part = labelled.part("test") if "test" in labelled.split_names else labelled
        if not part.labelled.any():
            raise UsageError("the labelled target has no item with a label; leave --labelled-target out")
        return blind, part.take(part.labelled), GIVEN
    if "test" in target.split_names and "train" in target.split_names:
        part = target.part("test")
        if part.labelled.any():
            return blind, part.take(part.labelled), SPLIT
    return blind, adapted, SAME if adapted.labelled.any() else None


def _network(
    method: str,
    settings: Mapping[str, Any],
    adapter: DomainAdapter,
    domains: tuple[Dataset, Dataset],
    tested: tuple[Dataset, Dataset | None],
    tell: Progress,
) -> tuple[Adapter, MethodResult]:
    """The adapter with its network adapted, and how it does; its features are its own, and taken anew."""
    from modelgraft_adapters.finetuning.norm_adaptation import adabn, tent

    source, target = domains
    if method in TRAINED:
        made = _trained(method, settings, adapter, source, target, tell)
    else:
        seeded = {"seed": adapter.drawn} if method == "tent" else {}
        change: Any = {"adabn": adabn, "tent": tent}[method]
        made = change(adapter, target, X_source=source, **settings, **seeded)
    found = [
        None if part is None else made.evaluate_features(made.extractor.embed(part.items), part) for part in tested
    ]
    assert found[0] is not None
    return made, MethodResult(method, found[0], found[1], None)


def _check_trained(method: str, settings: Mapping[str, Any], adapter: DomainAdapter, train: Dataset) -> None:
    """Say before anything is embedded what the network cannot be trained on, or by.

    Raises:
        UsageError: texts, a layer, a setting that cannot be.
    """
    from modelgraft_adapters.finetuning.settings import Settings

    if train.modality != "image":
        raise UsageError(f"{method} trains a network on images; of texts take a method that moves features, or auto")
    if adapter.extractor.layer is not None:
        raise UsageError(
            f"the adapter reads the layer {adapter.extractor.layer!r}; {method} trains the model's embedding"
        )
    Settings.of({**settings, "semi": method})


def _trained(
    method: str, settings: Mapping[str, Any], adapter: DomainAdapter, source: Dataset, target: Dataset, tell: Progress
) -> Adapter:
    """A network trained on both domains; the labels are the source's."""
    from modelgraft_adapters.finetuning.tuner import FineTuner

    options: Any = {"modality": "image", "seed": adapter.drawn, "class_weight": adapter.class_weight}
    options |= {name: adapter.extractor_options[name] for name in ("device", "workers")}
    tuner = FineTuner(
        adapter.model,
        **options,
        **{**settings, "semi": method},
        tell=lambda now: tell(f"training by {method}", now.step, now.steps),
    )
    tuner.fit(replace(source, split=None), unlabelled=target)
    tuner.report_ = {
        **tuner.report_,
        "adaptation": {"method": method, "target_items": len(target), **settings},
    }
    count = f"{len(target):,} items of the target without labels"
    tuner.notes_ = [f"adapted to {count} by {method}", *tuner.notes_]
    return tuner


def _beside(base: MethodResult, one: MethodResult, count: int) -> MethodResult:
    """A result with its difference to source-only on the target's items."""
    if one.target is None or base.target is None:
        return one
    return replace(one, gain=difference([Answers.of(one.target, count)], [Answers.of(base.target, count)]))


def _scored(
    candidates: dict[str, FrozenAdapter], held: tuple[Embedded, Dataset], target: tuple[Embedded, Dataset] | None
) -> list[MethodResult]:
    """Every method on both parts."""
    results: list[MethodResult] = []
    base: Answers | None = None
    for name in sorted(candidates, key=lambda one: one != SOURCE_ONLY):
        fitted = candidates[name]
        on_target = None if target is None else fitted.evaluate_features(*target)
        gain = None
        if on_target is not None and target is not None:
            answers = Answers.of(on_target, len(target[1]))
            gain = None if base is None else difference([answers], [base])
            base = answers if base is None else base
        results.append(MethodResult(name, fitted.evaluate_features(*held), on_target, gain))
    return results
