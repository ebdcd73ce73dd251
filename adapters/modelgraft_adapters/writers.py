"""Rows of predictions to standard output or a file: table, JSON, JSON lines, CSV, Parquet.

A row has ``path, label, score, scores, error, note`` (and ``text`` for texts). JSON lines are written as they come; the others
when all is known. A file appears whole or not at all.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, Final

from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.paths import write_atomic

FORMATS: Final = ("table", "json", "jsonl", "csv", "parquet")
Row = dict[str, Any]


def make_writer(format: str, output: Path | None, labels: list[str] | None) -> Writer:
    """The writer for a format.

    Args:
        output: a file, or None for standard output.
        labels: all labels, where every row has a score for each: CSV then has a column per label.

    Raises:
        UsageError: no such format, or Parquet without pyarrow or onto a terminal.
    """
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}; there are {', '.join(FORMATS)}")
    if format == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'modelgraft[parquet]'") from None
        if output is None and sys.stdout.isatty():
            raise UsageError("Parquet is not for a terminal; add --output FILE, or redirect standard output")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"the folder of {str(output)!r} does not exist")
    return _KINDS[format](output, labels)


class Writer:
    """Collects rows and writes them at the end; a run that breaks off writes no file."""

    def __init__(self, output: Path | None, labels: list[str] | None) -> None:
        self.output = output
        self.labels = labels
        self.rows: list[Row] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # What is known is shown even if the run was interrupted, but a file is only written whole.
        if kind is None or self.output is None:
            self.close()

    def write(self, row: Row) -> None:
        """Take one row."""
        self.rows.append(row)

    def close(self) -> None:
        """Write all rows."""
        data = self.encode()
        if self.output is not None:
            write_atomic(self.output, data)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def encode(self) -> bytes:
        """The file's bytes."""
        raise NotImplementedError


class _Text(Writer):
    def encode(self) -> bytes:
        out = io.StringIO()
        self.print(out)
        return out.getvalue().encode("utf-8", "backslashreplace")

    def print(self, out: io.StringIO) -> None:
        raise NotImplementedError


class _Table(_Text):
    def print(self, out: io.StringIO) -> None:
        others = any(len(row["scores"]) > 1 for row in self.rows)
        columns = ("path", "label", "score", *(("next best",) if others else ()), *(("note",) if self._noted() else ()))
        render.table(columns, [self._cells(row, others) for row in self.rows], right=("score",), out=out)

    def _noted(self) -> bool:
        return any(row["error"] or row["note"] for row in self.rows)

    def _cells(self, row: Row, others: bool) -> list[str]:
        score = "" if row["score"] is None else f"{row['score']:.3f}"
        label = "error" if row["error"] else "(none)" if row["label"] is None else row["label"]
        ranked = list(row["scores"].items())
        if ranked and row["score"] is None:  # a regression: numbers, none of which is a better answer than the others
            label, ranked = ", ".join(f"{name} {value:.4g}" for name, value in ranked), []
        beside = [item for item in ranked if item[0] != row["label"]][:2]
        cells = [row["path"], label, score]
        if others:
            cells.append(", ".join(f"{name} {value:.3f}" for name, value in beside))
        if self._noted():
            cells.append(row["error"] or row["note"] or "")
        return cells


class _Json(_Text):
    def print(self, out: io.StringIO) -> None:
        render.as_json(self.rows, out)


class _JsonLines(_Text):
    def write(self, row: Row) -> None:
        if self.output is None:
            sys.stdout.write(render.json_line(row))
            sys.stdout.flush()  # a reader down the pipe sees each row when it is known
        else:
            super().write(row)

    def print(self, out: io.StringIO) -> None:
        out.writelines(render.json_line(row) for row in self.rows)


class _Csv(_Text):
    def print(self, out: io.StringIO) -> None:
        # One column a label is what a spreadsheet wants; after --top-k rows differ in labels, so they stay JSON.
        columns = [*_columns(self.rows), *(f"score:{label}" for label in self.labels or ())]
        if self.labels is None:
            columns.insert(columns.index("score") + 1, "scores")
        flat = ({**row, **{f"score:{k}": v for k, v in row["scores"].items()}} for row in self.rows)
        render.as_csv(columns, flat, out)


class _Parquet(Writer):
    def encode(self) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [(name, pa.float64() if name == "score" else pa.string()) for name in _columns(self.rows)]
        schema = pa.schema([*fields, ("scores", pa.map_(pa.string(), pa.float64()))])
        rows = [{**row, "scores": list(row["scores"].items())} for row in self.rows]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, write_page_checksum=True)
        return sink.getvalue()


def _columns(rows: list[Row]) -> list[str]:
    text = ["text"] if rows and "text" in rows[0] else []
    return ["path", *text, "label", "score", "error", "note"]


_KINDS: Final[dict[str, type[Writer]]] = {
    "table": _Table,
    "json": _Json,
    "jsonl": _JsonLines,
    "csv": _Csv,
    "parquet": _Parquet,
}
