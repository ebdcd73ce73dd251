"""What is written for terminals and spreadsheets shows hostile names and does not obey them; programs get them unchanged."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft.cli import render
from modelgraft_adapters.cli.prediction_writers import Row, make_writer
from modelgraft_adapters.cli.progress import say
from modelgraft_adapters.cli.result_text import aligned
from PIL import Image

from tests.hostile import ALL, FORMULAS, TERMINAL

ROWS: list[Row] = [
    {"path": name, "label": other, "score": 0.5, "scores": {other: 0.5, "b": -0.25}, "error": None, "note": name}
    for name, other in zip(ALL, reversed(ALL), strict=True)
]


def _written(format: str, at: Path) -> str:
    with make_writer(format, at, None) as writer:
        for row in ROWS:
            writer.write(row)
    return at.read_bytes().decode("utf-8")


def _tame(text: str) -> None:
    """Nothing that a terminal acts on, that hides, or that turns the line around; one line for each row."""
    for c in set(text) - {"\n"}:
        assert unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), hex(ord(c))
    assert not any(all(unicodedata.combining(c) for c in text[n : n + 5]) for n in range(len(text) - 5))


@pytest.mark.parametrize("name", TERMINAL)
def test_a_name_on_a_terminal_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (render.printable(name), render.cell(name), aligned([(name, name)])[:-1]):
        _tame(text)
        assert "\n" not in text
    say(name)
    said = capsys.readouterr().err
    _tame(said)
    assert said.count("\n") == 1


def test_names_of_living_languages_stay_as_they_are() -> None:
    for name in ("Übergröße", "हिन्दी", "ภาษาไทยที่นี่", "Việt Nam", "עִבְרִית", "日本語", "❤️", "a\u0301\u0323"):
        assert render.printable(name) == name


def test_tables_of_predictions_have_a_line_for_each_row(tmp_path: Path) -> None:
    text = _written("table", tmp_path / "t")
    _tame(text)
    assert text.count("\n") == len(ROWS) + 1


def test_a_long_name_is_cut_for_people_alone(tmp_path: Path) -> None:
    long = "x" * 10**6
    out = io.StringIO()
    render.table(["name"], [[long], ["short"]], out=out)
    assert len(out.getvalue()) < 3000 and "…" in out.getvalue()
    assert json.loads(render.json_text([long])) == [long] and render.csv_cell(long) == long


def test_json_gives_every_name_back(tmp_path: Path) -> None:
    for format, read in (
        ("json", json.loads),
        ("jsonl", lambda text: [json.loads(line) for line in text.splitlines()]),
    ):
        text = _written(format, tmp_path / "t")
        assert all(c.isprintable() or c == "\n" for c in text)
        back = read(text)
        assert [row["path"].encode("utf-16", "surrogatepass") for row in back] == [
            name.encode("utf-16", "surrogatepass") for name in ALL
        ]


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    text = _written("csv", tmp_path / "t")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(ROWS)
    for row, name in zip(rows, ALL, strict=True):
        for value in row.values():
            number = render._NUMBER.fullmatch(value)
            assert number or not value or value[0] not in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", value
        back = render.from_csv_cell(row["path"])
        assert back == name or "\udc80" in name
    # Numbers are numbers, and texts that are numbers too.
    assert [render.csv_cell(value) for value in (-0.5, -1, "-1", "+1.5e-3", "")] == [-0.5, -1, "-1", "+1.5e-3", ""]


@given(st.text(alphabet="'=+-@\t\r\n1.e aé\"，,\uff1d"))
def test_what_stands_in_a_csv_can_be_had_back(text: str) -> None:
    out = io.StringIO()
    render.as_csv(["a", "b"], [{"a": text, "b": "z"}], out)
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert len(rows) == 2 and render.from_csv_cell(rows[1][0]) == text and rows[1][1] == "z"


@pytest.mark.full
def test_files_of_such_names_on_the_command_line(tmp_path: Path) -> None:
    """Through the command itself, the names as its own words and as classes."""
    names = [name for name in (*FORMULAS, *TERMINAL) if not set("/\0\udc80") & set(name)]
    for name in names:
        Image.new("RGB", (8, 8), "red").save(tmp_path / name, "png")
    command = [sys.executable, "-m", "modelgraft", "classify", "--labels", "=cmd|'x'!A0,\x1b[31mred"]
    command += ["--model", "embedded/sprig", "--device", "cpu", "-f"]
    for format in ("table", "csv"):
        done = subprocess.run([*command, format, "--", *names], capture_output=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        out = done.stdout.decode()
        if format == "table":
            _tame(out)
            assert out.count("\n") == len(names) + 1
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert all(value[:1] not in ("=", "+", "@", "\t", "\r", "\n") for row in rows for value in row.values())
    assert sorted(render.from_csv_cell(row["path"]) for row in rows) == sorted(names)
    assert rows[0]["label"] in ("'=cmd|'x'!A0", "\x1b[31mred")
