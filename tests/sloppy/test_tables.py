"""Sloppy tables and labels: each is read as what was meant, refused in one line, or what was doubtful is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.reading import read_data

HEAD = "text,label\n"
TWO = ["a b", "c d"]

FILES: list[tuple[str, str | bytes, dict[str, Any], Any]] = [
    # file name, content, options; classes, or the words of a note or of the refusal
    ("zero-width.csv", HEAD + "a b,cat\nc d,cat\u200b\ne f,dog\n", {}, "blanks or invisible signs alone"),
    ("no-break.csv", HEAD + "a b,cat\u00a0\nc d,cat\ne f,dog\n", {}, ("cat", "dog")),
    ("full-width.csv", HEAD + "a b,\uff43at\nc d,cat\n", {}, "blanks or invisible signs alone"),
    ("two-blanks.csv", HEAD + "a b,red car\nc d,red  car\n", {}, "blanks or invisible signs alone"),
    ("percent.csv", HEAD + "a b,5%\nc d,6%\n", {"task": "regression"}, "is no number: '5%'"),
    ("currency.csv", HEAD + "a b,$5\nc d,$6\n", {"task": "regression"}, "is no number: '$5'"),
    ("excel-error.csv", HEAD + "a b,#REF!\nc d,x\ne f,y\n", {}, "1 item without a label"),
    ("excel-none.csv", HEAD + "a b,#N/A\nc d,x\ne f,y\n", {}, "1 item without a label"),
    ("old-mac.csv", "text,label\ra b,x\rc d,y\r", {}, ("x", "y")),
    ("latin-1.csv", HEAD.encode() + b"caf\xe9,x\n", {}, "latin-1.csv:2 is not UTF-8"),
    ("empty-columns.csv", "text,label,,\na,x,,\nb,y,,\n", {}, "two columns named ''"),
    ("comma-too-many.csv", HEAD + "a,x,\nb,y,\n", {}, "comma-too-many.csv:2 has 3 fields"),
    ("comment.csv", "# made by x\ntext,label\na,x\nb,y\n", {}, "comment.csv:2 has 2 fields"),
    ("yes-no.csv", "text,cat,dog\na b,yes,no\n", {"label_column": ["cat", "dog"]}, "they hold 0 and 1"),
    ("truth.csv", "text,cat,dog\na b,True,False\nc d,false,TRUE\n", {"label_column": ["cat", "dog"]}, ("cat", "dog")),
    ("twice.csv", HEAD + "a b,x\nc d,y\n", {"item_column": "text", "label_column": "text"}, "cannot be two things"),
    ("withheld.csv", HEAD + "a b,-1\nc d,0\ne f,1\n", {}, "-1 is a class"),
    ("given.csv", HEAD + "a b,1.0\nc d,2.0\n", {"classes": ["1", "2"]}, ("1", "2")),
    ("nested.jsonl", '{"text":"a b","label":{"x":1}}\n', {}, "is a dict, not a class name"),
    ("lists.jsonl", '{"text":"a b","label":[["x"]]}\n', {}, "is a list, not a class name"),
    ("nothing.jsonl", '{"text":"a b","label":null}\n{"text":"c","label":null}\n', {}, "no item has a label"),
    ("truth-and-0.jsonl", '{"text":"a b","label":true}\n{"text":"c","label":0}\n', {}, "labels of several types"),
    ("nan.jsonl", '{"text":NaN,"label":"x"}\n{"text":"c","label":"y"}\n', {}, "1 row without a text"),
]

LISTS: list[tuple[str, Any, Any, Any, Any]] = [
    ("shares", TWO, [[0.9, 0.1], [0.2, 0.8]], None, "not 0 or 1"),
    ("identity matrix", TWO, np.eye(2), None, ("0", "1")),
    ("bytes", TWO, [b"x", b"y"], None, ("x", "y")),
    ("masked", [*TWO, "e"], np.ma.array([1, 2, 3], mask=[0, 1, 0]), None, ("1", "3")),
    ("nullable integers", [*TWO, "e"], pandas.array([1, None, 2], "Int64"), None, ("1", "2")),
    ("categorical", [*TWO, "e"], pandas.Categorical(["x", None, "y"]), None, ("x", "y")),
    ("arrow", [*TWO, "e"], pyarrow.array(["x", None, "y"]), None, ("x", "y")),
    (
        "no date",
        [*TWO, "e"],
        np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]"),
        None,
        ("2024-01-01", "2024-01-02"),
    ),
    ("other rows", pandas.Series(TWO, index=[5, 7]), pandas.Series(["x", "y"], index=[7, 5]), None, "different rows"),
    ("a set", TWO, {"x", "y"}, None, "one label for each"),
    ("a mapping", TWO, {"a b": "x", "c d": "y"}, None, "one label for each"),
    ("one word", TWO, "xy", None, "one label for each"),
    ("groups in one word", TWO, ["x", "y"], "pq", "one group for each"),
    ("groups of two columns", TWO, ["x", "y"], np.zeros((2, 2)), "is a list, not a name"),
]


def _check(read: Any, expected: Any) -> None:
    try:
        data = read()
        notes = check_for_training(data).notes
    except UsageError as error:
        assert isinstance(expected, str) and expected in str(error) and "\n" not in str(error)
        return
    if isinstance(expected, str):
        assert any(expected in note for note in notes), notes
    else:
        assert data.classes == expected


@pytest.mark.parametrize(("name", "content", "options", "expected"), FILES, ids=[case[0] for case in FILES])
def test_files(tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], expected: Any) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    _check(lambda: read_data(tmp_path / name, **options), expected)


@pytest.mark.parametrize(("name", "items", "labels", "groups", "expected"), LISTS, ids=[case[0] for case in LISTS])
def test_lists(name: str, items: Any, labels: Any, groups: Any, expected: Any) -> None:
    _check(lambda: read_data(items, labels, groups=groups), expected)
