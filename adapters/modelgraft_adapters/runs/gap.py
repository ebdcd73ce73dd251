"""How far one's data are from other data, by the features of a pretrained model: what ``modelgraft gap`` does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import counted
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.metrics.intervals import mean_of_shares
from modelgraft_adapters.runs import gap_labels
from modelgraft_adapters.runs.gap_labels import MOST
from modelgraft_adapters.runs.gap_result import ClassShift, Gap, StrangeItem
from modelgraft_adapters.shift.apart import a_distance, proxy_a_distance
from modelgraft_adapters.shift.frechet import frechet
from modelgraft_adapters.shift.mmd import PERMUTATIONS, mmd
from modelgraft_adapters.shift.reference import LEAST_ITEMS, make_reference
from modelgraft_adapters.shift.sides import LEAST, checked_sides, drawn

Progress = Callable[[str, int, int], None]
"""Told what is being done, items done, items there are."""
STRANGEST: Final = 10


def measure_gap(
    source: Any,
    target: Any,
    model: Any,
    *,
    labels: bool | None = None,
    strangest: int = STRANGEST,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    layer: str | None = None,
    modality: Literal["image", "text"] | None = None,
    tell: Progress | None = None,
    **options: Any,
) -> Gap:
    """Measure how far a target is from a source, and whether by more than chance.

    >>> photos = [f"docs/photos/{name}.jpg" for name in ("cat", "cup", "orange-flower", "rocket")] * 3
    >>> measure_gap(photos, photos, "embedded/sprig").there
    False

    Args:
        source: what is trained on: a `Dataset`, whatever `read_data` reads, or items. All splits are looked at together.
        target: what is to be predicted, likewise.
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone.
        labels: compare classes, or estimate how frequent they are in a target without labels; None does where there are labels.
        strangest: how many target items to name.
        permutations: of the tests.
        seed: of all that is drawn.
        layer, modality: as `FeatureExtractor`'s.
        tell: progress.
        options: as `FeatureExtractor`'s: device, dtype, batch_size, workers, engine, store.

    Raises:
        UsageError: fewer than 10 items on a side, images against texts, or labels that are asked for and not there.
        ModelgraftError: no item of a side could be read.
    """
    if strangest < 0 or permutations < 19:
        raise UsageError(f"{strangest} strangest items, {permutations} permutations; at least 0 and 19 are needed")
    one, other = _read(source, target, modality)
    check_sides(one, other, labels)
    extractor = FeatureExtractor(model, modality=one.modality, layer=layer, **options)
    notes = [*one.notes, *other.notes, *told_same(source, target)]
    features, kept = [], []
    unreadable: dict[str, str] = {}
    for name, data in (("source", one), ("target", other)):
        found = extractor.embed(data.items, _named(tell, name))
        if not found.good.any():
            reason = next(filter(None, found.errors), "there are none")
            raise ModelgraftError(f"none of the {len(data)} items of the {name} could be read: {reason}")
        unreadable |= {data.identity(n): str(e) for n, e in enumerate(found.errors) if e is not None}
        notes += found.notes
        features.append(found.features[found.good])
        kept.append(data.take(found.good))
    shared = kept[0].places.shared(kept[1].places)
    if shared:
        notes.append(
            f"{shared} of the {len(kept[1])} target items are in the source too: they make the gap look smaller than it is"
        )
    return gap_of_features(
        features[0],
        features[1],
        kept[0],
        kept[1],
        model=extractor.entry.name,
        layer=layer,
        labels=labels,
        strangest=strangest,
        permutations=permutations,
        seed=seed,
        shared=shared,
        unreadable=unreadable,
        notes=notes,
    )


def gap_of_features(
    source_features: np.ndarray,
    target_features: np.ndarray,
    source: Dataset,
    target: Dataset,
    *,
    model: str = "",
    layer: str | None = None,
    labels: bool | None = None,
    strangest: int = STRANGEST,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    shared: int = 0,
    unreadable: dict[str, str] | None = None,
    notes: list[str] | None = None,
) -> Gap:
    """As `measure_gap`, of features (N, D) and (M, D) that were taken before of just these items.

    Raises:
        UsageError: as `measure_gap`; features that are no rows of finite numbers.
    """
    one, other = checked_sides(source_features, target_features, LEAST)
    notes = list(notes or ())
    rng = np.random.default_rng(seed)
    a, b = one[drawn(len(one), MOST, rng)], other[drawn(len(other), MOST, rng)]
    rbf = mmd(a, b, permutations=permutations, seed=seed)
    apart = proxy_a_distance(a, b, seed=seed)
    error = mean_of_shares(np.array(apart.wrong, float), np.array(apart.items, float))
    counted_classes: tuple[tuple[ClassShift, ...], tuple[str, ...]] = ((), ())
    label_shift = None
    if labels is not False and gap_labels.has_classes(source):
        if gap_labels.has_classes(target):
            label_shift = gap_labels.counted(source, target, permutations, seed)
            counted_classes = gap_labels.classes(one, other, source, target, rbf.bandwidth, permutations, seed, notes)
        else:
            label_shift = gap_labels.estimated(
                source_features, target_features, source, permutations, seed, bool(labels), notes
            )
    named, oods = _strange(source_features, target_features, target, strangest, seed, notes)
    return Gap(
        model=model,
        layer=layer,
        source=source,
        target=target,
        compared=(len(a), len(b)),
        mmd=rbf,
        linear=mmd(a, b, kernel="linear", permutations=permutations, seed=seed),
        apart=apart,
        apart_interval=(a_distance(error[1]), a_distance(error[0])),
        frechet=frechet(one, other, seed=seed),
        labels=label_shift,
        classes=counted_classes[0],
        only_in_target=counted_classes[1],
        strangest=named,
        oods=oods,
        shared=shared,
        unreadable=unreadable or {},
        notes=tuple(dict.fromkeys(notes)),
        seed=seed,
    )


def _read(source: Any, target: Any, modality: Any) -> tuple[Dataset, Dataset]:
    one, other = (read_data(data, modality=modality) for data in (source, target))
    if one.modality != other.modality:
        raise UsageError(
            f"the source holds {one.modality}s and the target {other.modality}s; a gap is between data of one kind"
        )
    return one, other


def check_sides(source: Dataset, target: Dataset, labels: bool | None) -> None:
    """Refuse, before anything is embedded, what nothing can be said of.

    Raises:
        UsageError: fewer than 10 items on a side; labels that are asked for and not there.
    """
    for name, data in (("source", source), ("target", target)):
        if len(data) < LEAST:
            raise UsageError(f"the {name} has {counted(len(data), 'item')}, and at least {LEAST} are needed; give more")
    if labels and not gap_labels.has_classes(source):
        why = "has none" if not source.labelled.any() else f"has labels of the task {source.task}"
        raise UsageError(
            f"label shift is told by one class for each item of the source, and it {why}; give such labels"
        )


def told_same(source: Any, target: Any) -> list[str]:
    """Return a line where source and target are one place, or none."""
    if not all(isinstance(place, (str, os.PathLike)) for place in (source, target)):
        return []
    if os.path.realpath(source) != os.path.realpath(target):
        return []
    return [f"source and target are the same place ({os.fspath(source)}): nothing is compared with anything else"]


def _named(tell: Progress | None, side: str) -> Callable[[int, int], None] | None:
    return None if tell is None else lambda done, total: tell(f"embedding the {side}", done, total)


def _strange(
    source: np.ndarray, target: np.ndarray, data: Dataset, count: int, seed: int, notes: list[str]
) -> tuple[tuple[StrangeItem, ...], tuple[float, ...]]:
    reference = make_reference(source, seed)
    if reference is None:
        notes.append(f"which items are strange is not told: the source has fewer than {LEAST_ITEMS} different items")
        return (), ()
    distances = reference.distance(target)
    oods = reference.shares_of(distances)
    order = np.argsort(-distances, kind="stable")[:count]
    named = [StrangeItem(int(n), data.identity(int(n)), float(distances[n]), float(oods[n])) for n in order]
    return tuple(named), tuple(oods.tolist())
