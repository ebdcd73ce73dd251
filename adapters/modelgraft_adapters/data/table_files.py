"""Table files (CSV, TSV, JSON lines, JSON, Parquet) to columns, each row with the place it comes from."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.data.names import counted, some
from modelgraft_adapters.data.parquet_files import read_parquet
from modelgraft_adapters.media.files import MOST_TABLE_BYTES, read_regular

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
MOST_COLUMNS: Final = 16_384
"""As many as a spreadsheet has."""
_SPARSE_CELLS: Final = 10_000_000
_LARGEST_RATIO: Final = 50
_TRIED_LINES: Final = 50
_TRIED_SIGNS: Final = 1 << 18
SEPARATORS: Final = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length."""

    columns: dict[str, Sequence[Any]]
    """Name -> N values; of text files strings, an empty one where nothing stands."""
    identities: Sequence[str]
    """(N) ``table.csv:7``: the line of the file, of Parquet the row from 1."""
    name: str
    """What messages call it."""
    folder: str | None = None
    """What paths in it are relative to."""


def is_table(path: str) -> bool:
    """Whether a file of this name is a table."""
    return path.lower().endswith(SUFFIXES)


def read_table(path: str, separator: str | None = None) -> Table:
    """Read a table file by its suffix.

    CSV: the first line names the columns; UTF-8 (or UTF-16 with its mark); quotes as RFC 4180 has them, so that fields hold
    separators and line breaks; empty lines are passed over. Without ``separator`` a ``.tsv`` has tabs, a ``.csv`` (or a
    ``.tsv`` without a tab) whichever of comma, semicolon, tab and bar parts the first lines into most fields. JSON lines: an object
    a line; JSON: a list of objects. Parquet needs pyarrow.

    Raises:
        UsageError: no rows, two columns of one name, a row of another length (with its line), bytes that are no text, bad JSON.
        ModelgraftError: the file cannot be read; pyarrow is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix == ".parquet":
            names, values, count = read_parquet(path)
            columns = dict(zip(_header(names, path), values, strict=True))
            identities: list[str] = [f"{os.path.basename(path)}:{number}" for number in range(1, count + 1)]
        elif suffix in (".csv", ".tsv"):
            columns, identities = _csv(path, separator)
        elif suffix == ".json":
            columns, identities = _json(path)
        else:
            columns, identities = _json_lines(path)
    except OSError as error:
        raise ModelgraftError(f"cannot read the table {path!r}: {error.strerror or error}") from None
    if not identities:
        raise UsageError(f"the table {path!r} has no rows")
    return Table(columns, identities, os.path.basename(path), os.path.dirname(path) or ".")


def _text(path: str) -> str:
    content = read_regular(path, MOST_TABLE_BYTES, pipe=True)
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(coding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}:{line} is not {coding[:6].upper().rstrip('-')} text; save the table as UTF-8"
        ) from None


def _csv(path: str, separator: str | None) -> tuple[dict[str, Sequence[Any]], list[str]]:
    text, given = _text(path), separator is not None
    if "\0" in text[:4096]:
        raise UsageError(f"{path} holds zero bytes, as UTF-16 without its mark and UTF-32 do; save the table as UTF-8")
    if separator is None and path.lower().endswith(".tsv") and "\t" in text.partition("\n")[0]:
        separator = "\t"
    if stated := re.match(r"sep=(.)\r?\n", text):  # what Excel writes before the header
        separator, text = separator or stated[1], "\n" + text[stated.end() :]
    if separator is None:
        separator = _separator(text)
    elif len(separator) != 1:
        raise UsageError(f"separator={separator!r}: a table's columns are parted by one character")
    first = text.lstrip("\r\n").partition("\n")[0]
    if given and separator not in first:
        raise UsageError(f"separator={separator!r} is not in the first line of {path!r}: {first[:80]!r}")
    if '"' not in first and first.count(separator) >= MOST_COLUMNS:
        raise UsageError(_too_wide(path, first.count(separator) + 1))
    # The reader's own limit of 131,072 characters a field is for hostile input; long documents are data here.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    rows: list[list[str]] = []
    identities: list[str] = []
    name = os.path.basename(path)
    start = 1
    try:
        for row in reader:
            begun, start = start, reader.line_num + 1
            if not row:
                continue
            if header is None:
                header = _header([cell.strip() for cell in row], path)
                continue
            if len(row) != len(header):
                raise UsageError(
                    f"{path}:{begun} has {counted(len(row), 'field')} where the first line has {len(header)}; "
                    f"a field that holds {separator!r} must stand in quotes"
                )
            rows.append(row)
            identities.append(f"{name}:{begun}")
    except csv.Error as error:
        raise UsageError(f"{path}:{start} is not well-formed: {error}") from None
    if header is None:
        raise UsageError(f"the table {path!r} is empty")
    return {column: [row[index] for row in rows] for index, column in enumerate(header)}, identities


def _separator(text: str) -> str:
    """The one that parts the first records into most fields, as many in each; else the one the first line has most of."""
    lines = list(io.StringIO(text[:_TRIED_SIGNS], newline=""))
    lines = lines[: _TRIED_LINES if len(text) <= _TRIED_SIGNS else min(_TRIED_LINES, len(lines) - 1)]
    widths = {}
    for sign in SEPARATORS:
        try:
            rows = [len(row) for row in csv.reader(lines, delimiter=sign) if row]
        except csv.Error:
            continue
        if rows and min(rows) == max(rows):
            widths[sign] = rows[0]
    if widths and max(widths.values()) > 1:
        return max(widths, key=lambda sign: widths[sign])
    first = text.lstrip("\r\n").partition("\n")[0]
    return max(SEPARATORS, key=first.count)  # the first of them where there is none


def _header(names: Sequence[str], path: str) -> list[str]:
    if len(names) > MOST_COLUMNS:
        raise UsageError(_too_wide(path, len(names)))
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(
            f"the table {path!r} has two columns named {some(repeated)}; the first line must name each column"
        )
    return list(names)


def _too_wide(path: str, columns: int) -> str:
    return f"the table {path!r} has {columns:,} columns; at most {MOST_COLUMNS:,} are read"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        raise ValueError(f"an object says {some(repeated)} twice")
    return found


def _json_lines(path: str) -> tuple[dict[str, Sequence[Any]], list[str]]:
    records, identities = [], []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_object))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}:{number} is not JSON: {error}") from None
        identities.append(f"{os.path.basename(path)}:{number}")
    return from_records(records, identities), identities


def _json(path: str) -> tuple[dict[str, Sequence[Any]], list[str]]:
    try:
        records = json.loads(_text(path), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}; a file with an object a line is called .jsonl") from None
    if not isinstance(records, list):
        raise UsageError(f"{path} holds a {type(records).__name__}; a table in JSON is a list of objects")
    identities = [f"{os.path.basename(path)}:{number}" for number in range(1, len(records) + 1)]
    return from_records(records, identities), identities


def from_records(records: Sequence[Any], identities: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Columns of N objects; None where an object lacks a name.

    Raises:
        UsageError: a record that is no object; far more names than values.
    """
    names: dict[str, None] = {}
    given = 0
    for record, identity in zip(records, identities, strict=True):
        if not isinstance(record, dict):
            raise UsageError(f"{identity} is a {type(record).__name__}; each row is an object, such as {{'text': ...}}")
        names.update(dict.fromkeys(record))
        given += len(record)
        # Each row of another name makes a table that grows with the square of the file.
        if len(names) > MOST_COLUMNS:
            raise UsageError(
                f"{identity}: the objects have over {MOST_COLUMNS:,} different names; a table's are the same"
            )
    if len(names) * len(records) > max(_SPARSE_CELLS, _LARGEST_RATIO * given):
        raise UsageError(
            f"{len(records):,} objects of {len(names):,} names, and only {given:,} values; a table's objects have the same names"
        )
    return {name: [record.get(name) for record in records] for name in names}
