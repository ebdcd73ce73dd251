"""Which pretrained model suits these data: what ``modelgraft rank`` does.

Every candidate embeds the same stratified sample of the training part and is scored on it; the worse half is dropped, the sample
grows, and so on (`halving`). The test part is never looked at.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Final

import numpy as np
from modelgraft.devices import device_of
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.sampling import nested_order
from modelgraft_adapters.defaults import checked_count
from modelgraft_adapters.estimators.head_inputs import checked_seed
from modelgraft_adapters.features.identity import versions
from modelgraft_adapters.ranking.candidates import check_download, files_of, find_candidates
from modelgraft_adapters.ranking.halving import Rung, plan
from modelgraft_adapters.ranking.pool import Pool
from modelgraft_adapters.ranking.race import BY, DEFAULT_SCORES, Race, Settings, Tell, new_row
from modelgraft_adapters.ranking.results import Ranking, Row, mark_front
from modelgraft_adapters.ranking.scoring import NAMES, OF_SOURCE, SCORES

SAMPLE: Final = 1000
"""Items that the last candidates are scored on."""
PER_CLASS: Final = 10
"""Of many classes more: so many of each."""
LEAST: Final = 60
"""Items of the smallest sample, and two of each class."""
FEWEST: Final = 10
"""Labelled items, with fewer of which nothing is said."""
MAX_DOWNLOAD: Final = 2e9
CONDITIONS: Final = (
    *("provider", "task", "licence", "min_params", "max_params", "embed_dim", "input_size", "min_score", "benchmark"),
    *("sort", "reverse"),
)
"""Of `modelgraft.list_models`; what is to be read is the data's own."""


def rank_models(
    data: Any,
    models: str | Sequence[str] = (),
    *,
    by: str = BY,
    scores: Sequence[str] = DEFAULT_SCORES,
    layers: Sequence[str | None] = (None,),
    sample: int | None = None,
    halving: bool = True,
    control: bool = True,
    max_download: float = MAX_DOWNLOAD,
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    tell: Tell = lambda text: None,
    **conditions: Any,
) -> Ranking:
    """Rank pretrained models by how well their frozen features suit the labels of data.

    Args:
        data: a `Dataset`, or what `read_data` reads; single-label. Only its training part is used.
        models: names, folders, patterns of the catalogue; none takes all models that meet the conditions.
        by: score that candidates are ranked and dropped by.
        scores: which others to find; ``leep`` and ``nce`` take a second pass through the model.
        layers: where features are taken; None is the model's own embedding.
        sample: items of the largest sample; None takes 1,000, or 10 of each class where that is more.
        halving: drop the worse half after each of growing samples; False scores all candidates on the largest one.
        control: compare the last ones with random weights of the same architecture.
        max_download: bytes; more are not fetched, and nothing is.
        limit: models that a pattern may give.
        seed: of samples, folds, bootstraps and random weights.
        jobs: candidates at a time, each in a process of its own.
        tell: told a line for each step.
        conditions: as of `modelgraft.list_models`: ``provider``, ``max_params``, ``licence`` ...

    Raises:
        UsageError: data of another task, of one class or too few items; nothing to rank; more to download than is allowed.
    """
    settings = _settings(by, scores, seed, device, batch_size, workers, jobs)
    _check_conditions(conditions, max_download)
    began = time.perf_counter()
    train, notes = _training_part(data)
    words = [models] if isinstance(models, str) else list(models)
    found, wrong, more = find_candidates(words, train.modality, conditions, list(layers) or [None], limit)
    entries = list({one.model: one.entry for one in found}.values())
    files, broken = files_of(entries)
    for line in [*more, *check_download(files, max_download)]:
        tell(line)
    ordered = train.take(nested_order(_targets(train), settings.seed)[: _largest(train, sample)])
    alive = [one for one in found if one.model not in broken]
    rungs = plan(len(alive), len(ordered), _least(train)) if halving and alive else (Rung(len(ordered), len(alive)),)
    with Pool(settings.jobs) as pool:
        race = Race(ordered, settings, pool, files, tell)
        race.run(alive, rungs)
        if control:
            race.compare_with_random(rungs)
        gain = race.gain(len(train))
    rows = [*race.rows.values()]
    rows += [new_row(one, files, "failed", broken[one.model]) for one in found if one.model in broken]
    rows += [Row(name, None, "cannot", reason) for name, reason in wrong]
    rows = _ordered(rows)
    mark_front(rows)
    return Ranking(
        by=settings.by,
        metric=NAMES[settings.by],
        modality=train.modality,
        classes=train.classes,
        available=len(train),
        rungs=rungs,
        rows=rows,
        embedded=race.embedded,
        of_random=race.of_random,
        everything=len(alive) * len(ordered),
        encoded=race.encoded,
        seconds=round(time.perf_counter() - began, 2),
        gain=gain,
        curve=race.curve,
        seed=settings.seed,
        versions={k: v for entry in entries for k, v in versions(entry.distribution).items()},
        notes=list(dict.fromkeys([*notes, *more, *race.notes, *(f"{r.name}: {n}" for r in rows for n in r.notes)])),
    )


def _settings(
    by: str,
    scores: Sequence[str],
    seed: Any,
    device: str | None,
    batch_size: int | None,
    workers: int | None,
    jobs: Any,
) -> Settings:
    wanted = tuple(dict.fromkeys([by, *scores]))
    if unknown := [name for name in wanted if name not in SCORES]:
        raise UsageError(f"no score {unknown[0]!r}; there are {', '.join(SCORES)}")
    if by in OF_SOURCE:
        raise UsageError(f"candidates are not ranked by {by}, which only models with classes of their own have")
    device_of(device)
    count = checked_count("jobs", jobs) or 1
    return Settings(by, wanted, checked_seed(seed), device, batch_size, workers, jobs=count)


def _check_conditions(conditions: dict[str, Any], max_download: Any) -> None:
    if unknown := [name for name in conditions if name not in CONDITIONS]:
        raise UsageError(f"no argument {unknown[0]!r}; conditions on models are {', '.join(CONDITIONS)}")
    number = isinstance(max_download, Real) and not isinstance(max_download, bool)
    if not number or not max_download >= 0:
        raise UsageError(f"max_download={max_download!r}; a number of bytes, 0 or more")


def _training_part(data: Any) -> tuple[Dataset, list[str]]:
    """The labelled items to rank on, and what is to be said of them."""
    whole = data if isinstance(data, Dataset) else read_data(data)
    if whole.targets is not None and whole.task != "single-label":
        raise UsageError(
            f"these data are {whole.task}; models are ranked on data with one class for each item. "
            "'modelgraft compare' takes other tasks"
        )
    part = whole.part("train") if "train" in whole.split_names else whole
    checked = check_for_training(replace(part, split=None))
    train = checked if checked.split is None else checked.part("train")
    if len(train) < FEWEST:
        raise UsageError(f"{len(train)} labelled items are too few to rank models by; at least {FEWEST} are needed")
    if np.bincount(_targets(train)).max() < 2:
        raise UsageError("no class has two items: nothing can be held out to score models by")
    return train, list(checked.notes)


def _targets(data: Dataset) -> np.ndarray:
    assert data.targets is not None
    return data.targets


def _largest(train: Dataset, sample: Any) -> int:
    wanted = checked_count("sample", sample, FEWEST) or max(SAMPLE, PER_CLASS * len(train.classes))
    return min(wanted, len(train))


def _least(train: Dataset) -> int:
    return max(LEAST, 2 * len(train.classes))


def _ordered(rows: list[Row]) -> list[Row]:
    """Those of the largest sample first, the best first; then what cannot, then what failed."""
    places = {"ranked": 0, "dropped": 0, "cannot": 1, "failed": 2}

    def key(row: Row) -> tuple[int, int, float, str]:
        value = 0.0 if row.score is None else -row.score.value
        return places[row.status], -row.items if row.status in ("ranked", "dropped") else 0, value, row.name

    return sorted(rows, key=key)
