"""What a comparison found: rows of a model and a strategy each, from what was kept of every learning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.metrics.many_rows import corrected
from modelgraft_adapters.metrics.paired import Answers, Difference, Reach, difference, reach
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.metrics.spread import CurvePoint, mean_interval
from modelgraft_adapters.saved.card import plain


@dataclass(slots=True, eq=False)
class Row:
    """One model, trained in one way."""

    model: str
    strategy: str
    status: str
    """``done``; ``cannot``: the model has not what the strategy needs; ``failed``."""
    reason: str = ""
    """Why, if not done."""
    points: list[CurvePoint] = field(default_factory=list)
    """What is known, fewest labels first; zero-shot has one, of no labels."""
    score: Score | None = None
    """With the most labels: the mean over the seeds and its 95 % interval."""
    difference: Difference | None = None
    """To the best row; None for that row, and NaN where a score is undefined."""
    reach: Reach | None = None
    learning: float | None = None
    """Seconds, with the most labels, the mean over the seeds; encoding what is trained on included."""
    testing: float | None = None
    joules: float | None = None
    """Of learning and testing."""
    peak_mib: float | None = None
    """Of the process that did nothing but this row."""
    gpu_peak_mib: float | None = None
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(slots=True, eq=False)
class Comparison:
    """What was found, best row first."""

    task: str
    metric: str
    classes: tuple[str, ...]
    learnt: int
    """Classes that are trained: the first so many. Of a regression its columns."""
    train: int
    test: int
    shots: tuple[int | None, ...]
    seeds: tuple[int, ...]
    wanted: float | None
    """The score that `Row.reach` is about."""
    chance: float | None
    """Always the most frequent class of the training items, on the test items (single-label)."""
    rows: list[Row]
    ran: int
    """Trainings that were done now."""
    kept: int
    """Trainings that were there already."""
    energy: str
    """What the energy is of, or why there is none."""
    settings: dict[str, Any]
    versions: dict[str, str]
    notes: list[str]

    @property
    def failed(self) -> list[Row]:
        """Rows that went wrong."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def done(self) -> list[Row]:
        """Rows with a score."""
        return [row for row in self.rows if row.status == "done"]

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        found: dict[str, Any] = plain({**asdict(self), "rows": [row.record() for row in self.rows]})
        return found


def score_of(record: Mapping[str, Any]) -> Score:
    """The main score of what was kept of a learning."""
    # A figure that is no number is null in a file that others read too.
    first = record["test"]["scores"][0]
    value, low, high = (math.nan if first[key] is None else first[key] for key in ("value", "low", "high"))
    return Score(first["name"], value, low, high, str(first.get("note") or ""))


def read(row: Row, records: Sequence[Mapping[str, Any]], task: str) -> None:
    """Points and costs of a row from what was kept of its trainings, fewest labels first. A row that is not done has no score."""
    for shots in dict.fromkeys(record["shots"] for record in records):
        found = [record for record in records if record["shots"] == shots]
        scores = [score_of(record) for record in found]
        mean, low, high = mean_interval(scores)
        if task != "regression":
            low, high = max(low, 0.0), min(high, 1.0)
        items = float(np.mean([record["items"] for record in found]))
        row.points.append(CurvePoint(shots, items, mean, low, high, tuple(score.value for score in scores)))
    row.notes = list(
        dict.fromkeys(note for record in records if record["shots"] == records[-1]["shots"] for note in record["notes"])
    )
    if row.status != "done":
        return
    last, first = row.points[-1], score_of(records[0])
    most = [record for record in records if record["shots"] == last.shots]
    row.score = Score(first.name, last.mean, last.low, last.high, score_of(most[0]).note)
    row.learning = float(np.mean([record["seconds"]["learning"] for record in most]))
    row.testing = float(np.mean([record["seconds"]["testing"] for record in most]))
    joules = [record["joules"] for record in most if record["joules"] is not None]
    row.joules = float(np.mean(joules)) if joules else None
    row.peak_mib = max(record["peak_mib"] for record in records)
    cards = [record["gpu_peak_mib"] for record in records if record["gpu_peak_mib"] is not None]
    row.gpu_peak_mib = max(cards) if cards else None


def judge(rows: list[Row], answers: Mapping[int, list[Answers]], wanted: float | None, classes: int) -> None:
    """Sort the rows, best first; find their differences to the best, corrected for looking at all, and labels to the wanted score.

    Rows whose score the test items do not define come last, and differ from nothing.
    """
    rows.sort(key=rank)
    known = [row for row in rows if row.score is not None and row.score.defined]
    for row in rows:
        if row.score is not None and not row.score.defined:
            row.difference = Difference(math.nan, math.nan, math.nan, None)
    together = corrected([answers[id(row)] for row in known]) if len(known) > 1 else []
    for row, all_of_them in zip(known[1:], together[1:], strict=True):
        row.difference = replace(difference(answers[id(row)], answers[id(known[0])]), corrected=all_of_them)
    for row in rows if wanted is not None else ():
        row.reach = reach(row.points, classes, wanted or 0.0)


def rank(row: Row) -> tuple[bool, float]:
    """What rows are sorted by: those with a score first, the best first."""
    if row.score is None or not row.score.defined:
        return True, 0.0
    return False, -row.score.value


def chance_on(train: Dataset, test: Dataset) -> float | None:
    """The share of the test items that the most frequent class of the training items is right on (single-label)."""
    if train.task != "single-label" or train.targets is None or test.targets is None:
        return None
    return float((test.targets == np.bincount(train.targets).argmax()).mean())


def short_names(models: Sequence[str], most: int | None = None) -> dict[str, str]:
    """Name -> what a table or chart calls it: its last part, where that is one model's alone.

    Args:
        most: characters; a longer one loses its beginning.
    """
    last = {name: name.rstrip("/").rpartition("/")[2] for name in models}
    found = {name: end if sum(end == other for other in last.values()) == 1 else name for name, end in last.items()}
    if most is None:
        return found
    return {name: text if len(text) <= most else f"…{text[1 - most :]}" for name, text in found.items()}


def seconds(value: float) -> str:
    """A time for people."""
    return f"{value:.1f} s" if value < 99.95 else f"{value / 60:.1f} min" if value < 5970 else f"{value / 3600:.1f} h"
