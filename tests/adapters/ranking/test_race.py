"""What a race keeps of its candidates, with answers that are written here: who goes on, who breaks, whom random weights beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from modelgraft import Entry
from modelgraft_adapters.ranking.candidates import Candidate
from modelgraft_adapters.ranking.halving import Rung
from modelgraft_adapters.ranking.race import Race, Settings
from modelgraft_adapters.ranking.worker import Job

from tests.adapters.ranking.images import made

RUNGS = (Rung(60, 4), Rung(120, 2))


class Written:
    """Answers in the place of processes: each model has its accuracy; some break on the second sample."""

    def __init__(self, accuracies: dict[str, float], breaks: tuple[str, ...] = (), random: float = 0.2) -> None:
        self.accuracies, self.breaks, self.random = accuracies, breaks, random

    def answers(self, jobs: list[Job]) -> list[dict[str, Any]]:
        return [self._answer(job) for job in jobs]

    def _answer(self, job: Job) -> dict[str, Any]:
        count = len(job.data)
        if job.model in self.breaks and count > 60:
            return {"failed": "its process ended by signal 9"}
        share = self.random if job.random else self.accuracies[job.model]
        right = "1" * round(share * count) + "0" * (count - round(share * count))
        return {
            "values": {"probe": share},
            "right": {"probe": right},
            "missing": {},
            "curve": [],
            "unreadable": 0,
            "encoded": count,
            "seconds_per_item": 0.1 if job.measure else None,
            "peak_mib": 100.0,
            "embed_dim": 8,
            "notes": [],
        }


def race(pool: Written, names: str = "abcd") -> tuple[Race, list[str]]:
    told: list[str] = []
    one = Race(made(120), Settings(by="probe", scores=("probe",)), pool, {}, told.append)  # type: ignore[arg-type]
    one.run([Candidate(Entry(f"x/{name}", "image", ("features",))) for name in names], RUNGS)
    return one, told


def test_the_better_half_goes_on() -> None:
    one, told = race(Written({"x/a": 0.5, "x/b": 0.9, "x/c": 0.7, "x/d": 0.3}))
    status = {name: (row.status, row.items) for name, row in one.rows.items()}
    assert status == {"x/a": ("dropped", 60), "x/b": ("ranked", 120), "x/c": ("ranked", 120), "x/d": ("dropped", 60)}
    assert one.embedded == 4 * 60 + 2 * 60 and told == ["4 candidates on 60 items", "2 candidates on 120 items"]
    assert one.rows["x/b"].difference is None and one.rows["x/b"].rank_low == 1
    apart = one.rows["x/d"].difference
    assert apart is not None and apart.worse and apart.rows == 4
    last = one.rows["x/c"].difference
    assert last is not None and last.rows == 2, "of the last sample, not of the first"
    assert all(row.seconds_per_item == 0.1 for row in one.rows.values())


def test_one_that_breaks_late_has_no_score_of_before() -> None:
    one, told = race(Written({"x/a": 0.5, "x/b": 0.9, "x/c": 0.7, "x/d": 0.3}, breaks=("x/b",)))
    row = one.rows["x/b"]
    assert row.status == "failed" and row.score is None and row.first is None and not row.values
    left = one.rows["x/c"]
    assert left.status == "ranked" and left.difference is None and left.rank_low is None, "it is alone now"
    assert "x/b: its process ended by signal 9" in told


def test_random_weights_that_do_better_are_told() -> None:
    one, _ = race(Written({"x/a": 0.3, "x/b": 0.4}, random=0.9), "ab")
    one.compare_with_random(RUNGS)
    row = one.rows["x/b"]
    assert row.hurts and row.control == 0.9 and any("hurts here" in note for note in row.notes)
    assert one.of_random == 2 * 120
    good, _ = race(Written({"x/a": 0.3, "x/b": 0.9}, random=0.4), "ab")
    good.compare_with_random(RUNGS)
    assert not good.rows["x/b"].hurts and good.rows["x/b"].over_control is not None
    assert np.isclose(good.rows["x/b"].over_control.value, 0.5, atol=0.02)


def test_all_that_break_leave_nothing() -> None:
    one, _ = race(Written({"x/a": 0.3, "x/b": 0.4}, breaks=("x/a", "x/b")), "ab")
    assert {row.status for row in one.rows.values()} == {"failed"} and one.gain(120) == []
