"""The rule that all faults of docs/reliability.md share, and what a row of its table is.

`survived` is the rule: after a fault a client has the right bytes, or it has left with 1 and one line that
names the model and the cure; what a reader of the cache finds is whole or absent; and the fault over, pulling again mends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.weights.bench import NAME, REPO, TOKEN, Bench, Pulled, sha256

RIGHT: Final = "right bytes"
REFUSED: Final = "refused"
Outcome = tuple[str, str, str]
"""Outcome, what the user is told, what was counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    fault: str
    outcome: str
    told: str
    """What the user reads; empty if nothing."""
    counted: str
    """What the stand-in counted, where that is the point."""
    loads: int
    wrong: int

    def markdown(self) -> str:
        """The line."""
        told = self.told.replace("|", "\\|")
        cells = [self.fault, self.outcome, told, self.counted, str(self.loads), str(self.wrong)]
        return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault: what it is called, and how it is brought about."""

    key: str
    fault: str
    run: Callable[[Bench], Outcome]
    """Gives outcome, told and counted; asserts the rest."""
    slow: bool = False
    """Left out where a run of the tests should be short."""

    def row(self, bench: Bench) -> Row:
        """Bring it about on a bench made new."""
        bench.begin()
        outcome, told, counted = self.run(bench)
        return Row(self.fault, outcome, told, counted, bench.tally.loads, bench.tally.wrong)


CASES: list[Case] = []


def case(fault: str, *, slow: bool = False) -> Callable[[Callable[[Bench], Outcome]], None]:
    """Note a function as a case of the table."""

    def note(run: Callable[[Bench], Outcome]) -> None:
        CASES.append(Case(run.__name__, fault, run, slow))

    return note


def told(bench: Bench, pulled: Pulled, name: str, cure: str) -> str:
    """One line on standard error that names the model and the cure (a regular expression), without what differs by run."""
    assert pulled.code == 1, (pulled.code, pulled.err)
    assert pulled.err.startswith("modelgraft: error: ") and pulled.err.count("\n") == 1, pulled.err
    assert "Traceback" not in pulled.err and "should not happen" not in pulled.err, pulled.err
    assert name in pulled.line and re.search(cure, pulled.line), pulled.line
    assert len(pulled.line) < 500 and TOKEN not in pulled.err + pulled.out
    return bench.plain(pulled.line)


def whole(bench: Bench, name: str = NAME, repo: str = REPO) -> None:
    """What lies in the cache under the name of the weights is the published file, or is not there."""
    for file in bench.files(repo):
        assert sha256(file) == bench.published[name], f"{file} is not what was published"


def has_it(bench: Bench, pulled: Pulled, name: str = NAME, repo: str = REPO) -> None:
    """The pull went well, the bytes are right, and the model loads from them alone."""
    assert pulled.code == 0, pulled.err
    assert "Traceback" not in pulled.err and TOKEN not in pulled.err + pulled.out
    assert bench.files(repo), "pulled, and not in the cache"
    whole(bench, name, repo)
    answer = bench.load(name)
    assert "error" not in answer, answer


def survived(bench: Bench, pulled: Pulled, cure: str = "", name: str = NAME, repo: str = REPO) -> tuple[str, str]:
    """The rule of this module; outcome and what was told."""
    if pulled.code == 0:
        has_it(bench, pulled, name, repo)
        return RIGHT, ""
    line = told(bench, pulled, name, cure)
    whole(bench, name, repo)
    answer = bench.load(name)
    assert "error" in answer or bench.files(repo), "loaded what was refused"
    bench.hub.mend()
    has_it(bench, bench.pull(name), name, repo)
    return REFUSED, line


def times_sent(bench: Bench) -> str:
    """How much was sent, measured in files."""
    return f"{bench.sent() / bench.size:.2f} files sent"
