"""Candidates on samples that grow, until the last ones are scored on all items."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.metrics.intervals import wilson
from modelgraft_adapters.metrics.many_rows import corrected
from modelgraft_adapters.metrics.paired import Answers, difference
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.ranking.candidates import Candidate, Files
from modelgraft_adapters.ranking.gain import Forecast, forecast
from modelgraft_adapters.ranking.halving import Rung, kept
from modelgraft_adapters.ranking.pool import Pool
from modelgraft_adapters.ranking.results import Row, ranks
from modelgraft_adapters.ranking.scoring import COUNTED, NAMES
from modelgraft_adapters.ranking.worker import Job

BY: Final = "knn"
"""What ranks best of what every candidate has, by `benchmarks/ranking.py` (docs/ranking.md)."""
DEFAULT_SCORES: Final = ("knn", "probe", "logme")
CONTROL: Final = 256
"""Items that random weights are compared on, at most, where a sample was so small."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How candidates are run."""

    by: str = BY
    scores: tuple[str, ...] = DEFAULT_SCORES
    seed: int = 0
    device: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    measure: bool = True
    """Find the time of an item."""
    jobs: int = 1
    """Candidates at a time."""


class Race:
    """Candidates on growing samples."""

    def __init__(self, data: Dataset, settings: Settings, pool: Pool, files: dict[str, Files], tell: Tell) -> None:
        self.data, self.settings, self.pool, self.files, self.tell = data, settings, pool, files, tell
        self.rows: dict[str, Row] = {}
        """By the candidates' names."""
        self._by_name: dict[str, Candidate] = {}
        self.answers: dict[str, dict[int, np.ndarray]] = {}
        """What each got right by the score, on each sample (its items): (n,) 1, 0 or NaN."""
        self.embedded = self.of_random = self.encoded = 0
        self.curve: list[tuple[int, float]] = []
        self.notes: list[str] = []

    def run(self, alive: list[Candidate], rungs: Sequence[Rung]) -> None:
        """Score, drop, and go on."""
        before = 0
        for number, rung in enumerate(rungs):
            last = number == len(rungs) - 1
            self.tell(f"{len(alive)} candidate{'s' * (len(alive) != 1)} on {rung.items} items")
            jobs = [self._job(one, rung.items, measure=number == 0 and self.settings.measure) for one in alive]
            self.embedded += len(alive) * (rung.items - before)
            before = rung.items
            for one, answer in zip(alive, self.pool.answers(jobs), strict=True):
                self._take(one, answer, rung.items)
            alive = sorted((one for one in alive if self.rows[one.name].status == "ranked"), key=self._order)
            self._judge(alive, rung.items)
            if not last:
                for one in alive[kept(len(alive)) :]:
                    self.rows[one.name].status = "dropped"
                    self.rows[one.name].reason = f"in the worse half on {rung.items} items"
                alive = alive[: kept(len(alive))]
            if not alive:
                return

    def compare_with_random(self, rungs: Sequence[Rung]) -> None:
        """Score the last candidates' architectures with random weights, on a small sample that they were scored on."""
        if self.settings.by not in COUNTED:
            self.notes.append(f"no comparison with random weights: {self.settings.by} is not known item by item")
            return
        items = max((r.items for r in rungs if r.items <= CONTROL), default=rungs[0].items)
        asked = [one for one in self._last() if one.layer is None]
        self.tell(f"random weights of {len(asked)} architecture{'s' * (len(asked) != 1)} on {items} items")
        jobs = [self._job(one, items, random=True) for one in asked]
        self.of_random += len(asked) * items
        for one, answer in zip(asked, self.pool.answers(jobs), strict=True):
            row, reason = self.rows[one.name], answer.get("cannot") or answer.get("failed")
            if reason:
                row.notes.append(f"not compared with random weights: {reason}")
                continue
            self.encoded += answer["encoded"]
            random = _right(answer["right"][self.settings.by])
            row.control = answer["values"][self.settings.by]
            row.over_control = difference([_answers(self.answers[one.name][items])], [_answers(random)])
            if row.hurts:
                row.notes.append("random weights of the same architecture do better: what it was trained on hurts here")

    def gain(self, available: int) -> list[Forecast]:
        """What more labels may bring the best candidate: its learning curve, from features that are stored, and what follows.

        Args:
            available: labelled items there are, of which the sample is a part.
        """
        best = next(iter(self._last()), None)
        if best is None:
            return []
        answer = self.pool.answers([self._job(best, len(self.data), curve=True)])[0]
        if "curve" not in answer:
            self.notes.append(f"no learning curve: {answer.get('failed') or answer.get('cannot')}")
            return []
        self.encoded += answer["encoded"]
        right = np.stack([_right(text) for _, text in answer["curve"]])
        right = right[:, ~np.isnan(right).any(axis=0)]
        sizes = [labels for labels, _ in answer["curve"]]
        self.curve = [(size, float(hits.mean())) for size, hits in zip(sizes, right, strict=True)]
        most = max(available, sizes[-1])
        try:
            return forecast(sizes, right, [most, 2 * most, 4 * most], self.settings.seed)
        except UsageError as error:
            self.notes.append(f"nothing is foretold of more labels: {error}")
            return []

    def _job(
        self, one: Candidate, items: int, *, measure: bool = False, random: bool = False, curve: bool = False
    ) -> Job:
        chosen = self.settings
        wanted = (chosen.by,) if random else () if curve else chosen.scores
        threads = max(1, (os.cpu_count() or 1) // chosen.jobs) if chosen.jobs > 1 else None
        return Job(
            one.named or one.entry.name,
            one.layer,
            self.data.take(np.arange(items)),
            wanted,
            chosen.seed,
            random,
            curve,
            measure,
            chosen.device,
            chosen.batch_size,
            chosen.workers,
            threads,
        )

    def _take(self, one: Candidate, answer: dict[str, Any], items: int) -> None:
        """What became of a candidate on a sample, to its row."""
        self._by_name[one.name] = one
        row = self.rows.setdefault(one.name, new_row(one, self.files, "ranked"))
        for status in ("cannot", "failed"):
            if status in answer:
                row.status, row.reason = status, answer[status]
                row.score = row.first = (
                    None  # of a smaller sample: it says nothing of a candidate that broke on this one
                )
                row.difference = row.rank_low = row.rank_high = row.best_of = None
                row.values = {}
                self.tell(f"{one.name}: {row.reason}")
                return
        self.encoded += answer["encoded"]
        row.items, row.values, row.missing = items, answer["values"], answer["missing"]
        row.difference = row.rank_low = row.rank_high = row.best_of = None  # of the sample before
        row.embed_dim = answer["embed_dim"]
        row.notes = list(dict.fromkeys([*row.notes, *answer["notes"]]))
        if answer["unreadable"]:
            row.notes.append(f"{answer['unreadable']} of {items} items could not be read, and are left out")
        if answer["seconds_per_item"] is not None:
            row.seconds_per_item = answer["seconds_per_item"]
        row.peak_mib = max(row.peak_mib or 0.0, answer["peak_mib"])
        by = self.settings.by
        if by not in row.values:
            row.status, row.reason = "cannot", f"no {by}: {row.missing.get(by, 'it is not defined')}"
            return
        low = high = np.nan
        if by in answer["right"]:
            right = _right(answer["right"][by])
            self.answers.setdefault(one.name, {})[items] = right
            known = right[~np.isnan(right)]
            low, high = wilson(float(known.sum()), len(known))
        row.score = Score(NAMES[by], row.values[by], low, high)
        row.first = row.first or row.score

    def _last(self) -> list[Candidate]:
        """Those that were scored on all items, the best first."""
        there = [self._by_name[name] for name, row in self.rows.items() if row.status == "ranked"]
        return sorted(there, key=self._order)

    def _order(self, one: Candidate) -> tuple[float, str]:
        score = self.rows[one.name].score
        return (-score.value if score is not None else np.inf, one.name)

    def _judge(self, alive: list[Candidate], items: int) -> None:
        """How sure the order on a sample is."""
        if self.settings.by not in COUNTED or len(alive) < 2:
            return
        rows = [self.answers[one.name][items] for one in alive]
        for one, apart in zip(alive, corrected([[_answers(right)] for right in rows]), strict=True):
            self.rows[one.name].difference = apart
        known = ~np.isnan(rows).any(axis=0)
        if not known.any():
            return
        low, high, first = ranks(np.stack(rows)[:, known], self.settings.seed)
        for n, one in enumerate(alive):
            row = self.rows[one.name]
            row.rank_low, row.rank_high, row.best_of = int(low[n]), int(high[n]), float(first[n])


def new_row(one: Candidate, files: dict[str, Files], status: str, reason: str = "") -> Row:
    """Return the row of a candidate that nothing but its entry and its files is known of."""
    entry, about = one.entry, files.get(one.model)
    return Row(
        one.model,
        one.layer,
        status,
        reason,
        params=entry.params,
        embed_dim=entry.embed_dim,
        size=None if about is None else about.size,
        licence=entry.licence,
    )


def _right(text: str) -> np.ndarray:
    return np.array([np.nan if sign == "-" else float(sign) for sign in text])


def _answers(right: np.ndarray) -> Answers:
    return Answers("single-label", right, np.zeros((0, 0)), np.zeros((0, 0)))
