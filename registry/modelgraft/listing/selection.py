"""Which entries meet a user's conditions, and in which order: over the columns of tables, without reading an entry."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypedDict

from modelgraft.entry import MODALITIES, TASKS
from modelgraft.errors import UsageError
from modelgraft.host.table import Table
from modelgraft.listing.benchmarks import ranked_by
from modelgraft.listing.licences import GROUPS, in_group

SORTS: Final = ("name", "params", "embed_dim", "score")
"""What a list can be sorted by: names from A, numbers from the smallest, scores from the best; ``-`` before it turns that round."""

Place = tuple[int, int]
"""An entry: which table, which position in it."""


class Conditions(TypedDict, total=False):
    """What `modelgraft.list_models` takes; a key that is absent or None asks for nothing."""

    provider: str | None
    modality: str | None
    task: str | None
    licence: str | None
    min_params: float | None
    max_params: float | None
    embed_dim: int | None
    input_size: int | str | Sequence[int] | None
    min_score: float | None
    benchmark: str | None
    sort: str | None
    reverse: bool


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions read and checked."""

    pattern: str | None
    provider: str | None
    coded: tuple[tuple[str, Callable[[Any], bool]], ...]
    """Column of few distinct values -> which of them will do."""
    min_params: float | None
    max_params: float | None
    min_score: float | None
    benchmarks: tuple[str, ...]
    """Where the score is looked for, in this order."""
    sort: str
    reverse: bool

    @classmethod
    def read(cls, pattern: str | None, conditions: Conditions, tables: Sequence[Table]) -> Self:
        """Check what the user asked for.

        Raises:
            UsageError: a modality, task, benchmark or sort that does not exist, or an image size that is none.
        """
        modality, task, licence = conditions.get("modality"), conditions.get("task"), conditions.get("licence")
        embed_dim, size = conditions.get("embed_dim"), conditions.get("input_size")
        sort, benchmark = conditions.get("sort") or "name", conditions.get("benchmark")
        for value, known, what in (
            (modality, MODALITIES, "modality"),
            (task, TASKS, "task"),
            (sort.removeprefix("-"), SORTS, "sort"),
        ):
            if value is not None and value not in known:
                raise UsageError(f"no {what} {value!r}; there are {', '.join(known)}")
        coded: list[tuple[str, Callable[[Any], bool]]] = []
        if modality is not None:
            coded.append(("modality", lambda value: modality == value or modality in value.split("-")))
        if task is not None:
            coded.append(("tasks", lambda value: task in value))
        if licence is not None:
            coded.append(("licence", licence_test(licence)))
        if embed_dim is not None:
            coded.append(("embed_dim", lambda value: value == embed_dim))
        if size is not None:
            channels, *sides = read_size(size)
            coded.append(
                ("input_size", lambda value: bool(value) and value[1:] == sides and channels in (None, value[0]))
            )
        if benchmark is not None:
            benchmark = one_benchmark(benchmark, {name for table in tables for name in table.columns["metrics"]})
        return cls(
            pattern=pattern,
            provider=conditions.get("provider"),
            coded=tuple(coded),
            min_params=conditions.get("min_params"),
            max_params=conditions.get("max_params"),
            min_score=conditions.get("min_score"),
            benchmarks=ranked_by(task, benchmark),
            sort=sort.removeprefix("-"),
            reverse=sort.startswith("-") != bool(conditions.get("reverse")),
        )

    def matches(self, table: Table) -> list[int]:
        """Positions of the entries that meet every condition."""
        found: Sequence[int] = range(len(table))
        for column, wanted in self.coded:
            values, codes = table.coded(column)
            good = {code for code, value in enumerate(values) if wanted(value)}
            if len(good) < len(values):
                found = [n for n in found if codes[n] in good]
        params: list[int | None] = table.columns["params"]
        if (least := self.min_params) is not None:
            found = [n for n in found if (count := params[n]) is not None and count >= least]
        if (most := self.max_params) is not None:
            found = [n for n in found if (count := params[n]) is not None and count <= most]
        if self.min_score is not None:
            scores = self.scores(table)
            found = [n for n in found if n in scores and scores[n][1] >= self.min_score]
        names = table.names
        if self.provider is not None:
            start = f"{self.provider}/".lower()
            found = [n for n in found if names[n].lower().startswith(start)]
        if self.pattern is not None:
            # Names and hub repositories, not every alias: a name that a library retired says little about what took its place.
            test, repos = text_test(self.pattern, part=True), table.columns["repo"]
            found = [n for n in found if test(names[n]) or ((repo := repos[n]) is not None and test(repo))]
        return list(found)

    def scores(self, table: Table) -> dict[int, tuple[int, float]]:
        """Position -> (which benchmark, figure), for the entries that have a figure."""
        found: dict[int, tuple[int, float]] = {}
        for rank in reversed(range(len(self.benchmarks))):
            figures = table.metric(self.benchmarks[rank]).items()
            found.update(
                (n, (rank, score)) for n, score in figures if score == score
            )  # NaN is no figure: it would rank first
        return found

    def run(self, tables: Sequence[Table]) -> list[Place]:
        """Where the entries are that meet every condition, in order; those without the value that it sorts by come last."""
        found = [(t, n) for t, table in enumerate(tables) for n in self.matches(table)]
        names = [table.names for table in tables]
        by_name = self.sort == "name"
        found.sort(key=lambda place: names[place[0]][place[1]].lower(), reverse=self.reverse and by_name)
        if by_name:
            return found
        value_of = self._values(tables)
        there = [place for place in found if value_of(place) is not None]
        without = [place for place in found if value_of(place) is None]
        if self.sort == "score":  # a benchmark after the other, whichever way round
            sign = 1 if self.reverse else -1
            there.sort(key=lambda place: ((scored := value_of(place))[0], sign * scored[1]))
        else:
            there.sort(key=value_of, reverse=self.reverse)
        return there + without

    def benchmarks_of(self, tables: Sequence[Table], places: Iterable[Place]) -> dict[str, int]:
        """Which benchmarks the scores of some entries are from, and how many from each."""
        scores = [self.scores(table) for table in tables]
        counts = Counter(scores[t][n][0] for t, n in places if n in scores[t])
        return {name: counts[rank] for rank, name in enumerate(self.benchmarks) if rank in counts}

    def _values(self, tables: Sequence[Table]) -> Callable[[Place], Any]:
        if self.sort == "score":
            scores = [self.scores(table) for table in tables]
            return lambda place: scores[place[0]].get(place[1])
        if self.sort == "params":
            return lambda place: tables[place[0]].columns["params"][place[1]]
        columns = [table.coded(self.sort) for table in tables]
        return lambda place: columns[place[0]][0][columns[place[0]][1][place[1]]]


def licence_test(wanted: str) -> Callable[[str | None], bool]:
    """Whether a licence as stated is the one wanted: a group of `modelgraft.listing.licences`, an id, or a shell pattern of ids."""
    if wanted.lower() in GROUPS:
        return lambda stated: in_group(stated, wanted.lower())
    test = text_test(wanted)
    return lambda stated: stated is not None and test(stated)


def read_size(size: int | str | Sequence[int]) -> list[int | None]:
    """``[channels or None, height, width]`` from 224, ``224``, ``224x224``, ``3x224x224`` or the numbers.

    Raises:
        UsageError: none of these.
    """
    try:
        parts = [size] if isinstance(size, int) else size.lower().split("x") if isinstance(size, str) else list(size)
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if not 1 <= len(numbers) <= 3 or min(numbers) <= 0:
        raise UsageError(f"no image size {size!r}; write 224, 224x224 (height, width) or 3x224x224")
    if len(numbers) == 1:
        return [None, numbers[0], numbers[0]]
    return [None, *numbers] if len(numbers) == 2 else [*numbers]


def one_benchmark(wanted: str, known: set[str]) -> str:
    """The benchmark a user means: by its name, or by a part or shell pattern that fits one alone.

    Raises:
        UsageError: none fits, or several do; they are listed.
    """
    exact = [name for name in known if name.lower() == wanted.lower()]
    test = text_test(wanted, part=True)
    found = exact or sorted(name for name in known if test(name))
    if len(found) == 1:
        return found[0]
    fits = found or sorted(known)
    listed = "; ".join(fits[:8]) + (f" and {len(fits) - 8} more" if len(fits) > 8 else "") or "none"
    what = f"{wanted!r} fits {len(found)} benchmarks" if found else f"no published benchmark {wanted!r}"
    raise UsageError(f"{what}{'' if found else '; there are'}: {listed}")


def text_test(pattern: str, part: bool = False) -> Callable[[str], bool]:
    """A shell pattern, letter case aside, as a test.

    Args:
        part: a pattern without wildcards may be a part of the text; one with them may match what follows the first slash.
    """
    pattern = pattern.lower()
    if not any(mark in pattern for mark in "*?["):
        return (lambda text: pattern in text.lower()) if part else (lambda text: pattern == text.lower())
    matches = re.compile(fnmatch.translate(pattern)).match
    if not part:
        return lambda text: matches(text.lower()) is not None
    return lambda text: matches(text.lower()) is not None or matches(text.lower().partition("/")[2]) is not None
