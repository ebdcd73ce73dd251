"""Rows of predictions to standard output or a file: table, JSON, JSON lines, CSV, Parquet.

A row has ``path, label, score, scores, error, note``, and what was asked for of ``text`` (of texts), ``ood``, ``set`` and
``precision``. Rows are written as they come, so that memory does not grow with them; a table alone, whose columns are as wide as
their cells, keeps what it shows. A file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.outputs import Output, check_output, told

FORMATS: Final = ("table", "json", "jsonl", "csv", "parquet")
MORE: Final = ("text", "ood", "set", "precision")
"""What rows have where it was asked for."""
_NUMBERS: Final = ("score", "ood")
VALUES_PER_GROUP: Final = 1 << 17
"""Scores that a row group of Parquet holds, about: what is kept in memory."""
Row = dict[str, Any]


def make_writer(format: str | None, output: Path | None, labels: list[str] | None) -> Writer:
    """The writer for a format; that it can write there is tried.

    Args:
        format: None goes by the output's name: ``out.csv`` is CSV, and what has no such name a table.
        output: a file, or None for standard output.
        labels: all labels, where every row has a score for each: CSV then has a column per label.

    Raises:
        UsageError: no such format, or Parquet without pyarrow or onto a terminal.
        UsageError, ModelgraftError: as `check_output`.
    """
    if format is None:
        suffix = "" if output is None else output.suffix.lower().removeprefix(".")
        format = suffix if suffix in FORMATS else "table"
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}; there are {', '.join(FORMATS)}")
    if format == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'modelgraft[parquet]'") from None
        if output is None and sys.stdout.isatty():
            raise UsageError("Parquet is not for a terminal; add --output FILE, or redirect standard output")
    return _KINDS[format](None if output is None else check_output(output), labels)


class Writer:
    """Writes rows as they come; a run that breaks off writes no file."""

    shows_rows = True
    """Rows are seen as they come, where they go to a terminal."""

    more: Sequence[str] = ()
    """Which of `MORE` rows have."""
    precision: str | None = None

    def __init__(self, output: Path | None, labels: list[str] | None) -> None:
        self.output = output
        self.labels = labels
        self._file: Output | None = None

    def ask(self, *, text: bool = False, ood: bool = False, sets: bool = False, precision: str | None = None) -> None:
        """Have rows say the text, how strange an item is, the set of its classes, and what was computed in."""
        wanted = {"text": text, "ood": ood, "set": sets, "precision": precision is not None}
        self.more, self.precision = [name for name, there in wanted.items() if there], precision

    @property
    def on_terminal(self) -> bool:
        """Whether rows appear on a terminal as they come: then there is no need for another sign of progress."""
        return self.output is None and self.shows_rows and sys.stdout.isatty()

    def __enter__(self) -> Self:
        if self.output is not None:
            with told(self.output):
                self._file = Output(self.output)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.end()
                if self._file is not None:
                    assert self.output is not None
                    with told(self.output):
                        self._file.place()
            else:
                self.abandon()
        finally:
            if self._file is not None:
                self._file.discard()

    def write(self, row: Row) -> None:
        """Take one row."""
        raise NotImplementedError

    def end(self) -> None:
        """Write what follows the last row."""

    def abandon(self) -> None:
        """The run broke off: on standard output what is known is ended properly, a file is thrown away."""
        if self._file is None:
            with contextlib.suppress(BrokenPipeError):
                self.end()

    def emit(self, text: str) -> None:
        """Write text: UTF-8 to a file, to standard output as that has it."""
        if self._file is None:
            sys.stdout.write(text)
            return
        assert self.output is not None
        with told(self.output):
            self._file.file.write(text.encode("utf-8", "backslashreplace"))

    @property
    def plain(self) -> bool:
        """Whether JSON is to be ASCII."""
        return self._file is None and not render.is_utf8(sys.stdout)


class _Table(Writer):
    """The cells of a row: path, label, score, ood, set, next best, note."""

    shows_rows = False

    def __init__(self, output: Path | None, labels: list[str] | None) -> None:
        super().__init__(output, labels)
        self._cells: list[tuple[str, ...]] = []
        self._others = self._noted = False

    def write(self, row: Row) -> None:
        score = "" if row["score"] is None else f"{row['score']:.3f}"
        label = "error" if row["error"] else "(none)" if row["label"] is None else row["label"]
        ranked = list(row["scores"].items())
        self._others = self._others or len(ranked) > 1
        self._noted = self._noted or bool(row["error"] or row["note"])
        if ranked and row["score"] is None:  # a regression: numbers, none of which is a better answer than the others
            label, ranked = ", ".join(f"{name} {value:.4g}" for name, value in ranked), []
        beside = [f"{name} {value:.3f}" for name, value in ranked[:3] if name != row["label"]][:2]
        strange = "" if row.get("ood") is None else f"{row['ood']:.4f}"
        note = row["error"] or row["note"] or ""
        among = "" if row.get("set") is None else ", ".join(row["set"]) or "(none)"
        self._cells.append((row["path"], label, score, strange, among, ", ".join(beside), note))

    def end(self) -> None:
        shown = [True, True, True, "ood" in self.more, "set" in self.more, self._others, self._noted]
        names = ("path", "label", "score", "ood", "set", "next best", "note")
        columns = list(zip(*self._cells, strict=True)) or [()] * len(names)
        kept = [(name, column) for name, column, there in zip(names, columns, shown, strict=True) if there]
        out: Any = sys.stdout
        if self._file is not None:
            out = io.StringIO()
        render.columns([name for name, _ in kept], [column for _, column in kept], right=("score", "ood"), out=out)
        if self._file is not None:
            self.emit(out.getvalue())


class _Json(Writer):
    _begun = False

    def write(self, row: Row) -> None:
        text = render.json_text(row, plain=self.plain).rstrip("\n").replace("\n", "\n  ")
        self.emit(f"{',' if self._begun else '['}\n  {text}")
        self._begun = True

    def end(self) -> None:
        self.emit("\n]\n" if self._begun else "[]\n")


class _JsonLines(Writer):
    def write(self, row: Row) -> None:
        self.emit(render.json_line(row, plain=self.plain))
        if self._file is None:
            sys.stdout.flush()  # a reader down the pipe sees each row when it is known


class _Csv(Writer):
    _lines: render.CsvLines | None = None

    def write(self, row: Row) -> None:
        if self._lines is None:
            self._begin()
        assert self._lines is not None
        if self.labels is not None:
            row = {**row, **{f"score:{label}": value for label, value in row["scores"].items()}}
        row = {name: value if name == "scores" else _joined(value) for name, value in row.items()}
        self.emit(self._lines.line(row))

    def end(self) -> None:
        if self._lines is None:
            self._begin()

    def emit(self, text: str) -> None:
        if self._file is not None:
            super().emit(text)
        else:
            render.write_utf8(text, sys.stdout)

    def _begin(self) -> None:
        # One column a label is what a spreadsheet wants; after --top-k rows differ in labels, so they stay JSON.
        columns = [*_columns(self.more), *(f"score:{label}" for label in self.labels or ())]
        if self.labels is None:
            columns.insert(columns.index("score") + 1, "scores")
        self._lines = render.CsvLines(columns)
        self.emit(self._lines.header())


class _Parquet(Writer):
    shows_rows = False

    def __init__(self, output: Path | None, labels: list[str] | None) -> None:
        super().__init__(output, labels)
        self._writer: Any = None
        self._columns: list[str] = []
        self._begin_group()

    def write(self, row: Row) -> None:
        if not self._columns:
            self._columns = _columns(self.more)
        self._rows.append([row[name] if name in _NUMBERS else _text(_joined(row[name])) for name in self._columns])
        self._labels += [render.encodable(name) for name in row["scores"]]
        self._values += row["scores"].values()
        self._ends.append(len(self._values))
        if len(self._values) + len(self._ends) >= VALUES_PER_GROUP:
            self._flush()

    def end(self) -> None:
        if self._ends[1:] or self._writer is None:
            self._flush()
        self._writer.close()
        if self._file is None:
            sys.stdout.buffer.flush()

    def abandon(self) -> None:
        super().abandon()
        if self._writer is not None:  # else it tries to when it is collected, and complains
            with contextlib.suppress(Exception):
                self._writer.close()

    def _begin_group(self) -> None:
        self._rows: list[list[Any]] = []
        self._labels: list[str] = []
        self._values: list[float] = []
        self._ends = [0]

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = _columns(self.more)
        kinds = {name: pa.float64() if name in _NUMBERS else pa.string() for name in names}
        schema = pa.schema([*kinds.items(), ("scores", pa.map_(pa.string(), pa.float64()))])
        if self._writer is None:
            sink: Any = _Counted(sys.stdout.buffer) if self._file is None else self._file.file
            self._writer = pq.ParquetWriter(sink, schema, write_page_checksum=True)
        columns = list(zip(*self._rows, strict=True)) or [()] * len(names)
        arrays = [pa.array(column, kinds[name]) for name, column in zip(names, columns, strict=True)]
        scores = pa.MapArray.from_arrays(
            pa.array(self._ends, pa.int32()), pa.array(self._labels, pa.string()), pa.array(self._values, pa.float64())
        )
        with told(self.output or Path("standard output")):
            self._writer.write_table(pa.Table.from_arrays([*arrays, scores], schema=schema))
        self._begin_group()


class _Counted(io.RawIOBase):
    """A stream that knows how much was written to it, as Parquet's footer must: a pipe does not."""

    def __init__(self, sink: Any) -> None:
        self._sink, self._position = sink, 0

    def write(self, data: Any) -> int:
        self._sink.write(data)
        self._position += memoryview(data).nbytes
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True


def _columns(more: Sequence[str]) -> list[str]:
    """The names of a row's values but the scores."""
    names = ("path", "text", "label", "score", "ood", "set", "error", "note", "precision")
    return [name for name in names if name not in MORE or name in more]


def _joined(value: Any) -> Any:
    """The labels of a set in one cell."""
    return "|".join(value) if isinstance(value, list) else value


def _text(value: str | None) -> str | None:
    return None if value is None else render.encodable(value)


_KINDS: Final[dict[str, type[Writer]]] = {
    "table": _Table,
    "json": _Json,
    "jsonl": _JsonLines,
    "csv": _Csv,
    "parquet": _Parquet,
}
