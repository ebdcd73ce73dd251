"""Which column is what: splits of any usual spelling, columns that only name rows, first lines that are data."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data import columns, names, table_files
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data

from tests.adapters.data.conftest import MakeTree


def _table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _splits(data: Dataset) -> list[str] | None:
    return None if data.split is None else data.split.tolist()


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("subset", "train eval", "train test"),
        ("Data_Split", "Train EVALUATION", "train test"),
        ("partition", "training holdout", "train test"),
        ("set", "train held-out", "train test"),
        ("phase", "train validation test", "train val test"),
        ("fold", "train dev testing", "train val test"),
        ("split", "train eval test", "train val test"),
        ("usage", "train2017 val2017", "train val"),
        ("set name", "train_set test_set", "train test"),
    ],
)
def test_a_split_by_any_usual_name(tmp_path: Path, column: str, values: str, splits: str) -> None:
    rows = "".join(f"some text,x, {value} \n" for value in values.split())
    data = read_data(_table(tmp_path, f"text,label,{column}\n{rows}"))
    assert _splits(data) == splits.split()
    other = [value for value, role in zip(values.split(), splits.split(), strict=True) if value != role]
    assert all(any(repr(f" {value} ") in note for note in data.notes) for value in other)
    assert ("val" in splits.split()) == any("'val' (1 item) is not trained on" in note for note in data.notes)


def test_without_the_names_the_held_out_rows_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _table(tmp_path, "text,label,subset\na b,x,train\nc d,y,eval\n")
    assert len(read_data(path).train) == 1
    monkeypatch.setattr(columns, "_split_column", lambda table, used: (None, []))
    assert read_data(path).split is None  # the wrong answer: both are trained on


def test_what_looks_like_a_split_and_is_not_used_is_told(tmp_path: Path) -> None:
    def notes(column: str, *values: str) -> str:
        rows = "".join(f"some text,x,{value}\n" for value in values)
        data = read_data(_table(tmp_path, f"text,label,{column}\n{rows}"))
        assert data.split is None
        return " / ".join(data.notes)

    assert "column 'fold' is not read as a split: its values are '0', '1'" in notes("fold", "0", "1")
    assert "column 'subset' is not read as a split" in notes("subset", "a", "b")
    assert "column 'is_train' looks like a split" in notes("is_train", "1", "0")
    assert "column 'role' looks like a split" in notes("role", "train", "test")
    known = read_data(_table(tmp_path, "text,label,split\na b,x,train\nc d,y,extra\n"))
    assert "the split 'extra' (1 item) is not trained on and not tested on" in known.notes
    with pytest.raises(UsageError, match=r"t\.csv:3 says no split"):
        read_data(_table(tmp_path, "text,label,split\na b,x,train\nc d,y,NaN\n"))


def test_folders_named_after_splits(tree: MakeTree) -> None:
    data = read_data(tree("train2017/a/1.jpg", "train2017/b/1.jpg", "val2017/a/1.jpg", root="coco"))
    assert (data.split_names, data.classes) == (("train", "val"), ("a", "b"))
    data = read_data(tree("training_set/a/1.jpg", "Test-Set/a/1.jpg", root="sets"))
    assert data.split_names == ("test", "train")
    assert any("'Test-Set' is 'test'" in note for note in data.notes)
    with pytest.raises(UsageError, match="'seg_test', 'seg_train' read as splits"):
        read_data(tree("seg_train/a/1.jpg", "seg_test/a/1.jpg", root="seg"))
    assert read_data(tree("tr/1.jpg", "de/1.jpg", root="languages")).classes == ("de", "tr")


def test_two_names_of_one_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'val', 'validation' are one split"):
        read_data(
            {"train": ["a b"], "val": ["c d"], "validation": ["e f"]},
            {"train": ["x"], "val": ["x"], "validation": ["x"]},
        )


def test_a_first_line_that_is_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (
        "a good film,pos\na bad film,neg\nnot bad at all,pos\n",
        "a good film,1\na bad film,0\n",
        "a.jpg,cat\nb.jpg,dog\nc.jpg,cat\n",
    ):
        (tmp_path / "b.jpg").touch()
        with pytest.raises(UsageError, match=r"the first line of t\.csv reads as data"):
            read_data(_table(tmp_path, content))
    assert read_data(_table(tmp_path, "0,1\na good film,1\na bad film,0\n")).classes == (
        "0",
        "1",
    )  # as pandas writes it
    monkeypatch.setattr(columns, "_check_header", lambda table, names: None)
    assert len(read_data(_table(tmp_path, "a good film,1\na bad film,0\nfilm three,1\n"))) == 2  # the first row is gone


def test_columns_that_name_rows_are_no_labels(tmp_path: Path) -> None:
    assert read_data(_table(tmp_path, ",text,species\n0,a b,x\n1,c d,y\n")).classes == ("x", "y")
    for column in ("", "Unnamed: 0", "id", "index"):
        data = read_data(_table(tmp_path, f"{column},text\n0,a b\n1,c d\n"))
        assert data.targets is None and any("no labels are read" in note for note in data.notes)
    many = "".join(f"some words {n},w{n}\n" for n in range(30))
    assert read_data(_table(tmp_path, f"text,what\n{many}")).targets is None
    assert read_data(_table(tmp_path, f"text,label\n{many}")).targets is not None  # it is named so
    both = read_data(_table(tmp_path, "text,Label,label\na b,x,p\nc d,y,q\n"))
    assert both.classes == ("x", "y") and "takes 'label' instead" in both.notes[0]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("text;label\nhello, world, and all;x\nwell, well, well;y\n", "t.csv"),
        ('"text, or more";label\na;x\nb;y\n', "t.csv"),
        ("text\tlabel\na, b; c\tx\nd\ty\n", "t.csv"),
        ("text,label\na b,x\nc d,y\n", "t.tsv"),
        ("sep=;\ntext;label\na,b;x\nc;y\n", "t.csv"),
        ("\ntext,label\r\na,x\r\nb,y\r\n", "t.csv"),
        ('text,label\n"a;b;c",x\n"d;e;f",y\n', "t.csv"),
    ],
)
def test_the_separator_is_told_by_more_than_the_first_line(tmp_path: Path, content: str, name: str) -> None:
    options = {"item_column": "text, or more"} if "or more" in content else {}
    assert read_data(_table(tmp_path, content, name), **options).classes == ("x", "y")


def test_bytes_and_names_that_are_not_one_thing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="zero bytes"):
        read_data(_table(tmp_path, "text,label\na,b\n".encode("utf-16-le")))
    with pytest.raises(UsageError, match="zero bytes"):
        read_data(_table(tmp_path, "text,label\na,b\n".encode("utf-32")))
    with pytest.raises(UsageError, match="says 'text' twice"):
        read_data(_table(tmp_path, '{"text": "a", "text": "b", "label": "x"}\n', "t.jsonl"))
    with pytest.raises(UsageError, match="is not in the first line"):
        read_data(_table(tmp_path, "text,label\na,b\n"), separator=";")
    with pytest.raises(UsageError, match="is a list, not a text"):
        read_data([{"text": ["a"], "label": "x"}], item_column="text")


def test_paths_of_another_place_and_system(tmp_path: Path, tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree("pictures/a.jpg", "pictures/b.jpg")
    table = _table(folder, "path,label\npictures\\a.jpg,x\npictures\\b.jpg,y\n")
    windows = read_data(table)
    assert all(map(os.path.isfile, windows.items)) and any("read with / for" in note for note in windows.notes)
    inside = _table(folder / "pictures", "path,label\npictures/a.jpg,x\n,y\n")
    monkeypatch.chdir(folder)
    there = read_data(inside)
    assert os.path.isfile(there.items[0]) and any("from the working folder" in note for note in there.notes)
    assert any("1 row without a path" in note for note in there.notes)
    for address in ("https://x.org/a.jpg", "s3://bucket/a.jpg", "file:///a.jpg"):
        with pytest.raises(UsageError, match="holds addresses"):
            read_data(_table(tmp_path, f"path,label\n{address},x\n"))


def test_a_data_set_without_splits_says_them_in_a_column() -> None:
    rows = {"text": ["a b", "c d", "e f"], "label": ["x", "y", "x"], "subset": ["train", "eval", "train"]}
    data = read_data(datasets.Dataset.from_dict(rows))
    assert _splits(data) == ["train", "test", "train"] and any("'eval' is 'test'" in note for note in data.notes)
    odd = read_data(datasets.Dataset.from_dict({**rows, "subset": ["train", "b", "c"]}))
    assert odd.split is None and any("'subset' is not read as a split" in note for note in odd.notes)


def test_names_are_compared_without_signs() -> None:
    assert names.split_names(["Train", " test ", "eval"]) == {"Train": "train", " test ": "test", "eval": "val"}
    assert names.split_names(["train", "hold out"]) == {"train": "train", "hold out": "test"}
    assert not names.is_split("testament") and not names.is_split("tr") and names.is_split("Unlabeled2017")
    assert table_files.SEPARATORS[0] == ","
