"""What one value says: nothing, a list, a number; the same from every kind of source."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data import cells, encoding, tables
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.reading import read_data

MISSING = [
    None,
    "",
    " \u00a0",
    float("nan"),
    np.float32("nan"),
    np.datetime64("NaT"),
    pandas.NaT,
    pandas.NA,
    Decimal("NaN"),
]
MISSING += [Decimal("sNaN"), pyarrow.scalar(None), np.ma.masked, complex("nan")]


def _labels(data: Dataset) -> list[str | None]:
    assert data.targets is not None
    return [None if number < 0 else data.classes[number] for number in data.targets]


def test_everything_that_means_nothing_is_missing() -> None:
    for value in MISSING:
        assert cells.is_missing(value), repr(value)
        assert encode(["a", value, "b"]).targets.tolist() == [0, -1, 1], repr(value)
    for value in (0, False, 0.0, [], b"", "0", np.zeros(2), {}):
        assert not cells.is_missing(value), repr(value)


def _columns(tmp_path: Path, kind: str, columns: dict[str, list[Any]]) -> Any:
    """The same table in another kind of source."""
    frame = pandas.DataFrame(columns)
    if kind == "csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
        return tmp_path / "t.csv"
    if kind == "jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / "t.jsonl"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"
    return frame if kind == "pandas" else datasets.Dataset.from_dict(columns)


KINDS = ("csv", "jsonl", "parquet", "pandas", "datasets")


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_of_0_and_1_and_lists_of_names_are_what_they_are(tmp_path: Path, kind: str) -> None:
    text = ["a b", "c d", "e f"]
    matrix = read_data(_columns(tmp_path, kind, {"text": text, "label": [[1, 0], [1, 1], [0, 1]]}))
    assert (matrix.task, matrix.classes) == ("multi-label", ("0", "1"))
    assert matrix.targets is not None and matrix.targets.tolist() == [[1, 0], [1, 1], [0, 1]]
    names = read_data(_columns(tmp_path, kind, {"text": text, "label": [["a", "b"], ["a"], []]}))
    assert (names.task, names.classes) == ("multi-label", ("a", "b"))
    assert names.targets is not None and names.targets.tolist() == [[1, 1], [1, 0], [0, 0]]


def test_a_matrix_in_lists_without_the_guard_is_names(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = [[1, 0], [1, 1], [0, 1]]
    assert encode(raw, classes=("wet", "cold")).classes == ("wet", "cold")
    monkeypatch.setattr(encoding, "multi_hot", lambda values, call: None)
    assert encode(raw).targets.tolist() == [[1, 1], [0, 1], [1, 1]]  # the wrong answer


def test_lists_that_say_two_things_are_refused() -> None:
    with pytest.raises(UsageError, match="different length"):
        encode([[1, 0, 0], [1, 0]])
    with pytest.raises(UsageError, match="item 1 does not read as a list"):
        encode(["['a']", "[b c]"])
    with pytest.raises(UsageError, match=r"that of item 1 does not"):
        encode(["['a', 'b']", "a"])
    assert encode(["[unknown]", "[known]"]).classes == ("[known]", "[unknown]")
    assert encode([[0], [1], [0, 1]]).classes == ("0", "1")  # class numbers
    assert encode(["[0 1 1]", "[1 0 0]"]).targets.tolist() == [[0, 1, 1], [1, 0, 0]]  # as NumPy prints them
    assert encode(['["a", "b"]', "[]", ""]).targets[:2].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_text_are_no_words(tmp_path: Path, kind: str) -> None:
    source = _columns(tmp_path, kind, {"text": ["a b", None, "c d"], "label": ["x", "y", None]})
    data = read_data(source)
    assert list(data.items) == ["a b", "", "c d"] and _labels(data) == ["x", "y", None]
    assert any("1 row without a text" in note for note in data.notes)
    assert any("1 item without a label" in note for note in data.notes)


def test_missing_texts_of_frames_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pandas.DataFrame({"text": pandas.array(["a b", pandas.NA, "c"], "string"), "label": ["x", np.nan, "z"]})
    assert list(read_data(frame).items) == ["a b", "", "c"]
    assert list(read_data(["a", float("nan"), pandas.NA, None], ["x", "y", "x", "y"]).items) == ["a", "", "", ""]
    odd = pandas.DataFrame({"text": ["a b", np.nan, "c"], "label": ["x", "y", "z"]})
    assert list(read_data(odd).items) == ["a b", "", "c"]
    monkeypatch.setattr(tables, "texts_of", lambda values, call: ([str(value) for value in values], ()))
    assert list(read_data(odd).items) == ["a b", "nan", "c"]  # the wrong answer


def test_one_label_has_one_name_however_its_column_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.csv").write_text("text,label\na b,0\nc d,1\n")
    (tmp_path / "test.csv").write_text("text,label\ne f,0.0\ng h,1.0\n")
    assert _labels(read_data(tmp_path)) == ["0", "1"] * 2
    assert read_data(tmp_path).classes == ("0", "1")
    for raw in (
        [1, 0],
        [1.0, 0.0],
        ["1", "0"],
        ["1.0", "0.0"],
        ["1.", "0."],
        np.array([1, 0], np.float32),
        [Decimal("1.0"), 0],
    ):
        assert encode(raw).classes == ("0", "1"), raw
    assert encode(["01", "1"]).classes == ("01", "1")
    assert encode(["1.0", "x"]).classes == ("1.0", "x")  # no column of numbers
    big = 2**53 + 1
    assert encode([str(big), f"{big}.0", big + 2, "1"]).classes == ("1", str(big), str(big + 2))
    for raw in ([True, False], ["true", "FALSE"], ["True", "False"], np.array([True, False])):
        assert encode(raw).classes == ("False", "True")
    assert encode([True, 1, 0]).classes == ("0", "1", "True")  # 1 is no truth value
    monkeypatch.setattr(encoding, "names_of", lambda values: [str(value) for value in values])
    assert read_data(tmp_path).classes == ("0", "0.0", "1", "1.0")  # the wrong answer


def test_numbers_as_people_write_them_are_refused_with_the_reason() -> None:
    for value in ("1,5", "1,234.5", "1.234.567", "1 234", "1'000"):
        with pytest.raises(UsageError, match="decimal point and no other mark"):
            encode(["2.5", value], "regression")
    with pytest.raises(UsageError, match="numbers with commas"):
        encode([f"{n},5" for n in range(30)])
    for value in ("inf", float("inf"), "-Infinity", "1e999"):
        with pytest.raises(UsageError, match="not finite"):
            encode([1.0, value], "regression")


def test_words_that_may_mean_nothing_are_told() -> None:
    assert any("'None'" in note for note in encode(["None", "cat"]).notes)
    assert any("label_separator='|'" in note for note in encode(["a|b", "a", "b"]).notes)
    assert encode(["a", "b"]).notes == ()
