"""The entries of one plugin as they lie in the snapshot: what filters and look-ups read as columns, whole entries as a line each.

Reading thousands of entries as objects is most of the time of a listing; a column of a hundred thousand values is read in
milliseconds, and only the entries that are shown are ever parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Self, overload

Entry = dict[str, Any]
"""An entry in plain JSON types, as `modelgraft.entry.Entry.to_dict` makes it."""

_CODED: Mapping[str, Callable[[Entry], Any]] = {
    "modality": lambda e: e["modality"],
    "tasks": lambda e: e["tasks"],
    "licence": lambda e: e.get("licence"),
    "input_size": lambda e: e.get("input_size"),
    "embed_dim": lambda e: e.get("embed_dim"),
}
# Few distinct values: kept as codes into a list of them, so that a filter looks at each value once.
_LATE = ("aliases", "retired", "default")
# Most entries lack most of these, and no filter asks for them.
_TOGETHER = 1000


class Table(Sequence[Entry]):
    """Entries of one plugin. As a sequence it gives them as fresh dicts, parsed when asked for."""

    def __init__(self, columns: dict[str, Any], data: bytes, start: int = 0) -> None:
        """The table whose lines begin at ``start`` of ``data``."""
        self.columns = columns
        """``name``, ``params``, ``repo``: a value per entry (None where there is none). ``coded``: column -> distinct values and a
        code per entry. ``metrics``: name -> positions and figures. ``lengths``: of every line in bytes."""
        self._data = data
        self._starts: list[int] = list(accumulate(columns["lengths"], initial=start))

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """The table of some entries."""
        columns: dict[str, Any] = {
            "name": [e["name"] for e in entries],
            "params": [e.get("params") for e in entries],
            "repo": [(e.get("weights") or {}).get("repo") for e in entries],
            "coded": {},
            "metrics": {},
        }
        for column, value_of in _CODED.items():
            codes: dict[str, int] = {}
            column_codes = [codes.setdefault(json.dumps(value_of(e)), len(codes)) for e in entries]
            columns["coded"][column] = [[json.loads(text) for text in codes], column_codes]
        for n, e in enumerate(entries):
            for metric, figure in e.get("metrics", {}).items():
                if isinstance(figure, (int, float)):
                    positions, figures = columns["metrics"].setdefault(metric, ([], []))
                    positions.append(n)
                    figures.append(figure)
        late = {column: [[n, e[column]] for n, e in enumerate(entries) if e.get(column)] for column in _LATE}
        lines = [json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in (late, *entries)]
        columns["lengths"] = [len(line) for line in lines]
        return cls(columns, b"".join(lines))

    @property
    def raw(self) -> bytes:
        """The lines: one with what only look-ups by name need, then an entry each."""
        return self._data[self._starts[0] : self._starts[-1]]

    @property
    def end(self) -> int:
        """Where the lines of the next table begin."""
        return self._starts[-1]

    @property
    def names(self) -> list[str]:
        """Canonical names, in order."""
        names: list[str] = self.columns["name"]
        return names

    def coded(self, column: str) -> tuple[list[Any], list[int]]:
        """Distinct values of a column, and which of them each entry has."""
        values, codes = self.columns["coded"][column]
        return values, codes

    def plain(self, column: str) -> list[Any] | None:
        """A value per entry, without reading the entries; None for a column that only they have."""
        if column in ("name", "params"):
            values: list[Any] = self.columns[column]
            return values
        if column in _CODED:
            distinct, codes = self.coded(column)
            return [distinct[code] for code in codes]
        return None

    @cached_property
    def _late(self) -> dict[str, dict[int, Any]]:
        return {column: dict(pairs) for column, pairs in self._line(0).items()}

    def sparse(self, column: str) -> dict[int, Any]:
        """Position -> ``aliases``, ``retired`` or ``default``, for the entries that have one."""
        return self._late[column]

    def metric(self, name: str) -> dict[int, float]:
        """Position -> figure, for the entries that have one."""
        return dict(zip(*self.columns["metrics"].get(name, ((), ())), strict=True))

    def _line(self, at: int) -> Any:
        return json.loads(self._data[self._starts[at] : self._starts[at + 1]])

    def __len__(self) -> int:
        return len(self._starts) - 2

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        where = range(len(self))[at]
        if isinstance(where, int):
            entry: Entry = self._line(where + 1)
            return entry
        return list(self.at(where))

    def __iter__(self) -> Iterator[Entry]:
        return self.at(range(len(self)))

    def at(self, positions: Sequence[int]) -> Iterator[Entry]:
        """The entries at some positions, in that order. Parsed by the thousand: one reading shares the texts of all its keys."""
        for first in range(0, len(positions), _TOGETHER):
            lines = [
                self._data[self._starts[n + 1] : self._starts[n + 2]] for n in positions[first : first + _TOGETHER]
            ]
            yield from json.loads(b"[" + b",".join(lines) + b"]")


EMPTY = Table.of(())
