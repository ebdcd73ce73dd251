"""What a ranking found: a row for each candidate, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from modelgraft_adapters.metrics.paired import Corrected, Difference
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.ranking.gain import Forecast
from modelgraft_adapters.ranking.halving import Rung
from modelgraft_adapters.saved.card import plain

RESAMPLES: Final = 1000


@dataclass(slots=True, eq=False)
class Row:
    """One candidate."""

    model: str
    layer: str | None
    status: str
    """``ranked``; ``dropped`` after a smaller sample; ``cannot``: the model cannot do it; ``failed``."""
    reason: str = ""
    """Why, if not ranked."""
    items: int = 0
    """Of the last sample that it was scored on."""
    score: Score | None = None
    """What it is ranked by, on that sample, with a 95 % interval where it is an accuracy."""
    first: Score | None = None
    """The same on the smallest sample, which all candidates were scored on."""
    values: dict[str, float] = field(default_factory=dict)
    """Every score that is defined, by its name."""
    missing: dict[str, str] = field(default_factory=dict)
    """Scores that are not there, and why."""
    difference: Corrected | None = None
    """To the best of the same sample, corrected for looking at all of them; None for the best one, and where nothing is known item
    by item."""
    rank_low: int | None = None
    rank_high: int | None = None
    """Ranks among the candidates of the same sample that 95 of 100 bootstrap samples of its items give."""
    best_of: float | None = None
    """Share of these in which it is the best."""
    control: float | None = None
    """The same score, on a small sample, of the same architecture with random weights."""
    over_control: Difference | None = None
    """How much the pretrained weights do better on that sample."""
    seconds_per_item: float | None = None
    peak_mib: float | None = None
    """Of the process while it embedded: with the libraries, and what candidates before it have left there."""
    params: int | None = None
    embed_dim: int | None = None
    size: int | None = None
    """Bytes of its files."""
    licence: str | None = None
    pareto: bool = False
    """On the sample that all were scored on, no candidate is better and no slower, or quicker and no worse."""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The model's name, and the layer where it is not the usual one."""
        return self.model if self.layer is None else f"{self.model} [{self.layer}]"

    @property
    def scored(self) -> bool:
        """Whether there is a score."""
        return self.score is not None

    @property
    def hurts(self) -> bool:
        """Whether random weights do better, beyond chance."""
        return self.over_control is not None and self.over_control.high < 0


@dataclass(slots=True, eq=False)
class Ranking:
    """What was found, best row first."""

    by: str
    """Score that rows are ranked by."""
    metric: str
    """What it is, for people."""
    modality: str
    classes: tuple[str, ...]
    available: int
    """Labelled items of the training part."""
    rungs: tuple[Rung, ...]
    rows: list[Row]
    embedded: int
    """Items that were asked of the candidates in all."""
    of_random: int
    """Items that were asked of random weights beside."""
    everything: int
    """Items that embedding all candidates on the largest sample would have taken."""
    encoded: int
    """Items that went through a model now; the others were in the feature store."""
    seconds: float
    gain: list[Forecast]
    """What more labels may bring the best candidate."""
    curve: list[tuple[int, float]]
    """Labels, accuracy: what that is fitted to."""
    seed: int
    versions: dict[str, str]
    notes: list[str]

    @property
    def ranked(self) -> list[Row]:
        """Rows that were scored on all items of the sample."""
        return [row for row in self.rows if row.status == "ranked"]

    @property
    def failed(self) -> list[Row]:
        """Rows that went wrong."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def best(self) -> Row | None:
        """The first row, if it has a score."""
        return self.ranked[0] if self.ranked else None

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        found: dict[str, Any] = plain(
            {**asdict(self), "rows": [{"name": row.name, **asdict(row)} for row in self.rows]}
        )
        return found

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping for each row: ``pandas.DataFrame(ranking.table())``. None where there is nothing."""
        return [_flat(number, row, self.by) for number, row in enumerate(self.rows, 1)]


COLUMNS: Final = (
    *(
        "rank",
        "name",
        "model",
        "layer",
        "status",
        "reason",
        "items",
        "by",
        "score",
        "low",
        "high",
        "worse_by_low",
        "worse_by_high",
    ),
    *("p", "rank_low", "rank_high", "best_of", "probe", "knn", "logme", "h_score", "gbc", "leep", "nce", "control"),
    *("over_control", "seconds_per_item", "peak_mib", "params", "embed_dim", "size", "licence", "pareto"),
)


def _flat(number: int, row: Row, by: str) -> dict[str, Any]:
    score, apart = row.score, row.difference
    found: dict[str, Any] = {
        "rank": number if row.scored else None,
        "name": row.name,
        "model": row.model,
        "layer": row.layer,
        "status": row.status,
        "reason": row.reason or None,
        "items": row.items,
        "by": by,
        "score": None if score is None else score.value,
        "low": None if score is None else _known(score.low),
        "high": None if score is None else _known(score.high),
        "worse_by_low": None if apart is None else _known(apart.low),
        "worse_by_high": None if apart is None else _known(apart.high),
        "p": None if apart is None else _known(apart.p),
        "over_control": None if row.over_control is None else row.over_control.value,
    }
    found |= {name.replace("-", "_"): value for name, value in row.values.items()}
    return {name: found[name] if name in found else getattr(row, name, None) for name in COLUMNS}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ranks(right: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how sure an order by accuracy is: a bootstrap over the items, the same ones for all candidates.

    Args:
        right: (K, N), 1 or 0.
        seed: of the bootstrap.

    Returns:
        (K,) low and (K,) high ends of the 95 % interval of each rank, 1 the best, and (K,) how often each is best; equal ones
        share it.
    """
    rows, count = right.shape
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    hits = np.rint(weights @ right.T.astype(np.float64)).astype(np.int64)  # (B, K)
    better = (hits[:, None, :] > hits[:, :, None]).sum(axis=2)
    equal = (hits[:, None, :] == hits[:, :, None]).sum(axis=2)
    rank = better + (equal + 1) / 2
    low, high = np.quantile(rank, [0.025, 0.975], axis=0)
    first = np.where(better == 0, 1 / equal, 0.0).mean(axis=0)
    return np.floor(low).astype(int).clip(1), np.ceil(high).astype(int).clip(1, rows), first


def mark_front(rows: Sequence[Row]) -> None:
    """Mark the rows of the Pareto front of the first score against seconds an item."""
    known = [
        (row, row.first.value, row.seconds_per_item) for row in rows if row.first and row.seconds_per_item is not None
    ]
    for row, value, seconds in known:
        row.pareto = not any(v >= value and s <= seconds and (v, s) != (value, seconds) for _, v, s in known)
