"""Accuracy against the number of labels: the same head trained again on few items of each class, from features that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import checked_shots, few_shot
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.estimators.head_inputs import checked_seed
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.scores import Evaluation
from modelgraft_adapters.metrics.spread import CurvePoint, mean_interval

SHOTS: Final = (1, 2, 4, 8, 16, None)
SEEDS: Final = (0, 1, 2)
_RESAMPLES: Final = 100


def learning_curve(
    adapter: FrozenAdapter,
    train: Dataset,
    train_features: Embedded | np.ndarray,
    test: Dataset,
    test_features: Embedded | np.ndarray,
    shots: Sequence[int | None] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    whole: Evaluation | None = None,
    unlabelled: np.ndarray | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[CurvePoint]:
    """Learn the adapter's head, with its settings, on ``shots`` labels of each class, and score it on the test split.

    Draws are nested: with one seed the items of fewer shots are among those of more. What the folds chose is chosen anew from the
    few items alone. No item is read or embedded; ``adapter`` itself stays as it is. Steps that would draw every item are left
    to None ("all"), which is trained once, since there is nothing to draw.

    Args:
        adapter: whose kind, head and settings are used; it need not be fitted.
        train: N items.
        train_features: theirs, (N, D); rows that are not finite are left out, as unreadable.
        test: M items, with labels.
        test_features: theirs, (M, D).
        shots: labels of each class, 1 or more; None is all. One that is named twice is one.
        seeds: of the draws, and of heads that draw at random. One that is named twice is one: it would draw the same again.
        whole: the score of what was trained on all of ``train``, if it is known; it is then not trained again.
        progress: told what is being done, how many labels were trained on, and how many there are over all draws.
        unlabelled: (U, D), for semi-supervised heads; they train on the items that are not drawn as well.

    Returns:
        a point for each of ``shots`` that the data have the items for, in order.

    Raises:
        UsageError: features that are not of these items, no seeds or shots, a shot below 1, numbers that are not whole.
    """
    steps, drawn_by = checked_steps(shots), checked_seeds(seeds)
    rows, found = _rows(train, train_features, "train"), _embedded(test, test_features)
    if rows.shape[1] != found.features.shape[1]:
        raise UsageError(f"training features of {rows.shape[1]} numbers and test features of {found.features.shape[1]}")
    good = np.flatnonzero(np.isfinite(rows).all(axis=1) & train.labelled)
    data, rows = replace(train.take(good), split=None), rows[good]
    points: list[CurvePoint] = []
    draws = {count: [_drawn(data, count, seed) for seed in drawn_by] for count in steps if count is not None}
    work = [len(index) for drawn in draws.values() for index in drawn if len(index) < len(data)]
    work += [len(data)] * (None in steps and whole is None)
    learnt = 0

    def tell(labels: int) -> None:
        nonlocal learnt
        learnt += labels
        if progress is not None:
            progress("learning curve", learnt, sum(work))

    tell(0)
    for count in steps:
        if count is None:
            everything = np.arange(len(data))
            result = whole or _learnt(adapter, data, rows, everything, test, found, adapter.drawn, unlabelled)
            point = CurvePoint(
                None, float(len(data)), result.score.value, result.score.low, result.score.high, (result.score.value,)
            )
            points.append(point)
            tell(len(data) if whole is None else 0)
            continue
        drawn = draws[count]
        if all(len(index) == len(data) for index in drawn):
            if None not in steps:
                raise UsageError(f"{count} shots are all {len(data)} items there are; None stands for all")
            continue
        results = []
        for index, seed in zip(drawn, drawn_by, strict=True):
            results.append(_learnt(adapter, data, rows, index, test, found, seed, unlabelled).score)
            tell(len(index) if len(index) < len(data) else 0)
        mean, low, high = mean_interval(results)
        if data.task != "regression":
            low, high = max(low, 0.0), min(high, 1.0)
        items = float(np.mean([len(index) for index in drawn]))
        points.append(CurvePoint(count, items, mean, low, high, tuple(score.value for score in results)))
    return points


def checked_steps(shots: Any) -> tuple[int | None, ...]:
    """Return numbers of labels of each class, each once, in the order they were given.

    Raises:
        UsageError: none, or one that is neither a whole number of 1 or more nor None.
    """
    listed = _listed("shots", shots)
    return tuple(dict.fromkeys(None if count is None else checked_shots(count) for count in listed))


def checked_seeds(seeds: Any) -> tuple[int, ...]:
    """Return the seeds of draws, each once, in the order they were given.

    Raises:
        UsageError: none, or one that is no seed; see `examples.checked_seed`.
    """
    listed = _listed("seeds", seeds)
    if None in listed:
        raise UsageError("seeds holds None; a draw that is to be compared with others takes a whole number")
    return tuple(dict.fromkeys(checked_seed(seed) for seed in listed))


def _listed(what: str, given: Any) -> list[Any]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise UsageError(f"{what}={given!r}; give them in a list")
    listed = list(given)
    if not listed:
        raise UsageError(f"{what} is empty; give at least one")
    return listed


def _learnt(
    adapter: FrozenAdapter,
    data: Dataset,
    rows: np.ndarray,
    drawn: np.ndarray,
    test: Dataset,
    found: Embedded,
    seed: int,
    unlabelled: np.ndarray | None,
) -> Evaluation:
    if "unlabelled" in adapter.spec.needs:
        rest = np.delete(rows, drawn, axis=0)
        unlabelled = rest if unlabelled is None else np.concatenate([unlabelled, rest])
    sibling = adapter.with_head(adapter.head_name, **adapter.settings)
    sibling.seed = seed
    sibling.fit_features(rows[drawn], data.take(drawn), unlabelled)
    return sibling.evaluate_features(found, test, _RESAMPLES)


def _drawn(data: Dataset, shots: int, seed: int) -> np.ndarray:
    """(n,) int64: which items are drawn."""
    return np.asarray(few_shot(replace(data, items=range(len(data))), shots, seed).items, np.int64)


def _rows(data: Dataset, features: Embedded | np.ndarray, what: str) -> np.ndarray:
    rows = features.features if isinstance(features, Embedded) else np.asarray(features)
    if rows.ndim != 2 or len(rows) != len(data):
        raise UsageError(f"{what}: features of shape {rows.shape} for {len(data)} items; (items, numbers) is needed")
    return rows


def _embedded(data: Dataset, features: Embedded | np.ndarray) -> Embedded:
    rows = _rows(data, features, "test")
    if isinstance(features, Embedded):
        return features
    errors = tuple(None if good else "no features" for good in np.isfinite(rows).all(axis=1).tolist())
    return Embedded(rows, errors, (), 0, {})
