"""Rows as they come: the same bytes as if all were known, in memory that does not grow, with names of any kind."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from modelgraft.cli import render
from modelgraft_adapters.cli.prediction_writers import FORMATS, make_writer

LABELS = ["cat", "dog=1", "a\rb", "é"]
ODD = "caf\udce9.jpg"
"""As Python names a file whose name is not UTF-8."""


def _row(path: str, number: int, labels: list[str] = LABELS, **more: Any) -> dict[str, Any]:
    scores = {label: 1 / (2 + number + n) for n, label in enumerate(labels)}
    return {"path": path, "label": labels[0], "score": 0.5, "scores": scores, "error": None, "note": None, **more}


ROWS = [
    _row("a.jpg", 0),
    _row("two\rlines\n.jpg", 1),
    _row(ODD, 2),
    {**_row("b.jpg", 3), "label": None, "score": None, "scores": {}, "error": f"no such file {ODD}"},
]


def _written(format: str, rows: list[dict[str, Any]], folder: Path, labels: list[str] | None = LABELS) -> bytes:
    path = folder / f"out.{format}"
    with make_writer(format, path, labels) as writer:
        for row in rows:
            writer.write(row)
    return path.read_bytes()


def test_json_is_what_it_was(tmp_path: Path) -> None:
    for rows in (ROWS, ROWS[:1], []):
        assert _written("json", rows, tmp_path).decode() == render.json_text(rows)
    lines = _written("jsonl", ROWS, tmp_path).decode()
    assert lines == "".join(map(render.json_line, ROWS)) and [json.loads(line) for line in lines.splitlines()] == ROWS


def test_an_odd_name_is_told_in_every_format_the_same_way(tmp_path: Path) -> None:
    told = "caf\\udce9.jpg"
    for format in ("table", "csv", "json", "jsonl"):
        assert told in _written(format, ROWS, tmp_path).decode("utf-8")
    table = _parquet(_written("parquet", ROWS, tmp_path))
    assert table["path"][2] == told and table["error"][3] == f"no such file {told}"


def test_csv_quotes_a_lone_carriage_return(tmp_path: Path) -> None:
    found = list(csv.reader(io.StringIO(_written("csv", ROWS, tmp_path).decode(), newline="")))
    assert len(found) == 1 + len(ROWS) and {len(row) for row in found} == {9}
    assert found[0][7] == "score:a\rb" and found[2][0] == "two\rlines\n.jpg"


def test_parquet_in_row_groups_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    rows = [*ROWS, *(_row(f"{n}.jpg", n, text=None) for n in range(40))]
    whole = _parquet(_written("parquet", rows, tmp_path))
    monkeypatch.setattr("modelgraft_adapters.cli.prediction_writers.VALUES_PER_GROUP", 10)
    assert _parquet(_written("parquet", rows, tmp_path)) == whole
    assert whole["scores"][1] == list(ROWS[1]["scores"].items()) and whole["score"][3] is None
    assert list(_parquet(_written("parquet", [], tmp_path))) == ["path", "label", "score", "error", "note", "scores"]


def _parquet(data: bytes) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    found: dict[str, list[Any]] = pq.read_table(io.BytesIO(data)).to_pydict()
    return found


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    row = {**_row("a.jpg", 0), "score": float("nan"), "scores": {"cat": float("inf"), "dog=1": 0.5}}
    for format in ("json", "jsonl"):
        text = _written(format, [row], tmp_path).decode()
        found = json.loads(text, parse_constant=lambda word: pytest.fail(word))
        found = found[0] if format == "json" else found
        assert found["score"] is None and found["scores"] == {"cat": None, "dog=1": 0.5}
    assert (
        "nan" not in _written("csv", [row], tmp_path).decode()
        and "inf" not in _written("csv", [row], tmp_path).decode()
    )


@pytest.mark.full
@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_rows(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand labels; kept, a row of them takes over 100 kB. (Of Parquet, what Python holds; its row groups are small here.)"""
    monkeypatch.setattr("modelgraft_adapters.cli.prediction_writers.VALUES_PER_GROUP", 20_000)
    labels = [f"label {n}" for n in range(1000)]

    def peak(rows: int) -> int:
        tracemalloc.start()
        with make_writer(format, tmp_path / "out", labels) as writer:
            for n in range(rows):
                writer.write(_row(f"{n}.jpg", n, labels))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)  # imports
    assert peak(120) < peak(40) + (200_000 if format != "table" else 400_000)


def test_a_run_that_breaks_off_writes_no_file_and_ends_what_is_shown(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for format in FORMATS:
        with pytest.raises(RuntimeError), make_writer(format, tmp_path / "out", LABELS) as writer:
            writer.write(ROWS[0])
            raise RuntimeError
        assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), make_writer("json", None, LABELS) as writer:
        writer.write(ROWS[0])
        raise RuntimeError
    assert json.loads(capfdbinary.readouterr().out) == [ROWS[0]]
