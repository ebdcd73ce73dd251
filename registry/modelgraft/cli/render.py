"""Records to text: an aligned table, CSV, JSON, JSON lines. Plain Python: a table of 2,000 rows must not cost a second."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

__all__ = [
    "CsvLines",
    "as_csv",
    "as_json",
    "cell",
    "columns",
    "count",
    "encodable",
    "is_utf8",
    "json_line",
    "json_text",
    "parse_count",
    "printable",
    "table",
    "write_utf8",
]

MOST_CELL: Final = 500
"""Characters of a cell of a table for people. JSON, CSV and Parquet have all of it."""
MOST_MARKS: Final = 4
"""Combining marks that a letter of a living language has, and one more."""
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and signs that show nothing, and are printable all the same: two names would look alike."""
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet takes for a formula (OWASP, CSV Injection), or that was marked as none."""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def count(number: float | None) -> str:
    """A parameter count for people: 151.3M."""
    if number is None:
        return "-"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(int(number))


def parse_count(text: str) -> float:
    """The inverse: ``30M``, ``1.5B``, ``30e6``, ``30000000``.

    Raises:
        ValueError: not a number.
    """
    units = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}
    text = text.strip().lower()
    factor = units.get(text[-1:], 1.0)
    return float(text[:-1] if factor != 1.0 else text) * factor


def width(text: str) -> int:
    """Columns a text takes on a terminal (wide East Asian characters and emoji take two, marks none)."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def printable(text: str) -> str:
    """A text safe for a terminal line: what it would act on, and marks piled on one letter, are shown as escapes."""
    if text.isprintable() and text.isascii():
        return text
    out, marks = [], 0
    for c in text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        shown = c.isprintable() and marks <= MOST_MARKS and c not in _BLANK
        out.append(c if shown else c.encode("unicode_escape", "surrogatepass").decode())
    return "".join(out)


def cell(text: str) -> str:
    """A text for one cell of a table: as `printable`, and cut where it would bury the table."""
    if len(text) > MOST_CELL:
        text = text[: MOST_CELL - 1] + "…"
    return printable(text)


def table(
    names: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = (), out: TextIO | None = None
) -> None:
    """Print an aligned table; ``right`` names the columns of numbers."""
    cells = list(zip(*rows, strict=True)) or [()] * len(names)
    columns(names, cells, right, out)


def columns(
    names: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[str] = (), out: TextIO | None = None
) -> None:
    """As `table`, from the columns: a list of cells for each name."""
    out = out or sys.stdout
    padded = []
    for name, column in zip(names, cells, strict=True):
        shown = [name, *map(cell, column)]
        wide = max(map(width, shown))
        if all(map(str.isascii, shown)):  # then Python's own padding is right, and ten times as fast
            padded.append(
                [cell.rjust(wide) for cell in shown] if name in right else [cell.ljust(wide) for cell in shown]
            )
        else:
            pads = [" " * (wide - width(cell)) for cell in shown]
            pairs = zip(pads, shown, strict=True)
            padded.append([pad + cell if name in right else cell + pad for pad, cell in pairs])
    lines = ["  ".join(row).rstrip() + "\n" for row in zip(*padded, strict=True)]
    out.write(f"\x1b[1m{lines[0][:-1]}\x1b[0m\n" if _colour(out) else lines[0])
    out.write("".join(lines[1:]))


def _colour(out: TextIO) -> bool:
    import os

    return out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def as_json(value: Any, out: TextIO | None = None) -> None:
    """Write `json_text`, as the stream can take it."""
    out = out or sys.stdout
    out.write(json_text(value, plain=not is_utf8(out)))


def is_utf8(out: TextIO) -> bool:
    """Whether what is written there is UTF-8, as JSON must be. In other encodings escapes are written: valid in all of them."""
    name = getattr(out, "encoding", None) or "utf-8"  # a text in memory takes everything
    return name.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")


def json_text(value: Any, *, plain: bool = False) -> str:
    """Indented JSON and a newline; texts stay readable, what a terminal would act on and lone surrogates of odd file names are
    escaped; null for what is no number, which JSON has no word for.

    Args:
        plain: escape everything that is not ASCII.
    """
    return _escaped(json.dumps(_finite(value), indent=2, ensure_ascii=plain)) + "\n"


def json_line(value: Any, *, plain: bool = False) -> str:
    """One compact line of JSON; arguments as `json_text`."""
    return _escaped(json.dumps(_finite(value), ensure_ascii=plain)) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escaped(text: str) -> str:
    """JSON with the same meaning, in which nothing is hidden or sent to a terminal."""
    odd = {ord(c) for c in set(text) if not c.isprintable() and c != "\n"}
    return text.translate({c: json.dumps(chr(c))[1:-1] if c != 0x7F else "\\u007f" for c in odd}) if odd else text


def encodable(text: str) -> str:
    """A text that UTF-8 can hold: lone surrogates, which odd file names have, are shown as escapes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(c if not 0xD800 <= ord(c) <= 0xDFFF else f"\\u{ord(c):04x}" for c in text)
    return text


def as_csv(columns: Sequence[str], records: Iterable[Mapping[str, Any]], out: TextIO | None = None) -> None:
    """CSV with a header row (RFC 4180 quoting, newline line ends); lists become JSON, None an empty field.

    A text that a spreadsheet would run as a formula has an apostrophe before it (`from_csv_cell` takes it away).
    """
    lines = CsvLines(columns)
    write_utf8("".join([lines.header(), *map(lines.line, records)]), out or sys.stdout)


def write_utf8(text: str, out: TextIO) -> None:
    """Write text as UTF-8 whatever the encoding of the stream: CSV has no other way to hold a name."""
    if is_utf8(out):
        out.write(text)
    else:
        out.flush()
        out.buffer.write(text.encode("utf-8", "backslashreplace"))


class CsvLines:
    """CSV a line at a time, as `as_csv` writes it."""

    def __init__(self, columns: Sequence[str]) -> None:
        import csv

        self._columns = columns
        self._line = ""
        # Quoted where a reader would see the end of a line, which it does at a lone carriage return too.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def header(self) -> str:
        """The names of the columns."""
        return self._of(map(csv_cell, self._columns))

    def line(self, record: Mapping[str, Any]) -> str:
        """One record."""
        return self._of([csv_cell(record.get(name)) for name in self._columns])

    def write(self, line: str) -> None:
        """Called by the writer of the standard library."""
        self._line = line

    def _of(self, cells: Iterable[Any]) -> str:
        self._writer.writerow(cells)
        return self._line.removesuffix("\r\n") + "\n"


def csv_cell(value: Any) -> Any:
    """One CSV field."""
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        return encodable(json.dumps(_finite(value), ensure_ascii=False))
    if not isinstance(value, str):
        return "" if isinstance(value, float) and not math.isfinite(value) else value
    text = encodable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_cell(text: str) -> str:
    """The text that `csv_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
