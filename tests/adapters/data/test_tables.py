"""Tables: which column is what, in every format, and what is said when one is odd."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft_adapters.data.cells import SPELLED_MISSING
from modelgraft_adapters.data.reading import read_data

from tests.adapters.data.conftest import MakeTree, picture


def _write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _labels(data) -> list[str | None]:
    return [None if number < 0 else data.classes[number] for number in data.targets]


def test_real_tables(shared_data: Path) -> None:
    data = read_data(shared_data / "ag_news.csv")
    assert (data.modality, data.task, data.notes) == ("text", "single-label", ())
    assert data.classes == ("Business", "Sci/Tech", "Sports", "World")
    assert (len(data.train), len(data.test)) == (2000, 1000)
    with open(shared_data / "ag_news.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(data.items) == [row["text"] for row in rows]
    assert _labels(data) == [row["label"] for row in rows]
    assert read_data(shared_data / "sst2.csv").split_names == ("train", "val")


def test_two_columns_of_labels(shared_data: Path) -> None:
    coarse = read_data(shared_data / "trec.csv")
    fine = read_data(shared_data / "trec.csv", label_column="fine_label")
    assert (len(coarse.classes), list(coarse.items)) == (6, list(fine.items))
    assert "DESC:def" in fine.classes and len(fine.classes) > 40
    assert coarse.notes == ("labels are read from column 'label'; label_column= takes 'fine_label' instead",)
    assert fine.notes == ()


def test_a_score_is_no_class(shared_data: Path) -> None:
    with pytest.raises(UsageError, match="task='regression'"):
        read_data(shared_data / "sts_small.csv")
    data = read_data(shared_data / "sts_small.csv", task="regression")
    assert (data.targets.shape, data.classes) == ((600, 1), ("label",))
    assert data.targets.min() >= 0 and data.targets.max() <= 5


def test_csv_as_it_lies_in_the_world(tmp_path: Path) -> None:
    content = '\ufeffText,Label\r\n"one, ""two""\nthree",a\r\n\r\n  ,b\r\n,a\r\n"x",\r\n'
    data = read_data(_write(tmp_path, content))
    assert list(data.items) == ['one, "two"\nthree', "  ", "", "x"]
    assert _labels(data) == ["a", "b", "a", None]
    assert list(data.identities) == ["table.csv:2", "table.csv:5", "table.csv:6", "table.csv:7"]
    utf16 = _write(tmp_path, "text\tlabel\nä\tb\n".encode("utf-16"), "u.tsv")
    assert list(read_data(utf16).items) == ["ä"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    content = "\n".join(separator.join(row) for row in (("text", "label", "id"), ("a b", "x", "1"), ("c d", "y", "2")))
    assert read_data(_write(tmp_path, content)).classes == ("x", "y")
    assert read_data(_write(tmp_path, content), separator=separator).classes == ("x", "y")
    with pytest.raises(UsageError, match="separator='::'"):
        read_data(_write(tmp_path, content), separator="::")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,b\nc\n", r"table\.csv:3 has 1 field where the first line has 2"),
        ('text,label\n"a\nb",x\nc,d,e\n', r"table\.csv:4 has 3 fields"),
        ('text,label\n"never closed,b\n', r"table\.csv:2 is not well-formed"),
        ("text,label,text\na,b,c\n", "two columns named 'text'"),
        ("text,label\n", "has no rows"),
        ("", "is empty"),
        ("x,y\n1,2\n", r"cannot tell which column of table\.csv holds the items; it has 'x', 'y'"),
        ("text,image\nhello there,1.jpg\n", r"has texts \('text'\) and images \('image'\)"),
        ("text,split\nhello,\n", r"table\.csv:2 says no split"),
        ("image,label\na.jpg,x\n", "none of the 1 images of table.csv exists"),
        ("image,label\nhttps://x.org/a.jpg,x\n", "download the images first"),
        (b"text,label\nok,a\n\xff,b\n", r"table\.csv:3 is not UTF-8 text"),
    ],
)
def test_odd_csv_is_refused_with_the_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_data(_write(tmp_path, content))


def test_long_fields_are_data(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert read_data(_write(tmp_path, f"text,label\n{text},a\n")).items[0] == text


ROWS: list[dict[str, Any]] = [
    {"review": "good film", "category": "pos", "split": "train"},
    {"review": "", "category": None, "split": "validation"},
    {"review": "bad film", "category": "neg", "split": "test"},
]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.json", "t.parquet", "pandas", "arrow"])
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    source: Any = path
    if name.endswith(("csv", "tsv")):
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter="\t" if name == "t.tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    elif name == "t.json":
        path.write_text(json.dumps(ROWS))
    elif name.endswith(("json", "jsonl")):
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    elif name == "t.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif name == "pandas":
        source = __import__("pandas").DataFrame(ROWS)
    else:
        source = pyarrow.Table.from_pylist(ROWS)
    data = read_data(source)
    assert (data.modality, list(data.items)) == ("text", ["good film", "", "bad film"])
    assert _labels(data) == ["pos", None, "neg"]
    assert data.split.tolist() == ["train", "val", "test"]
    assert len(data.identities) == 3 and "1 item without a label" in data.notes[0]


def test_paths_are_relative_to_the_table(tree: MakeTree) -> None:
    folder = tree("pictures/a.jpg", "pictures/b.jpg")
    table = _write(folder, "filename,label\npictures/a.jpg,x\n pictures/b.jpg ,y\npictures/gone.jpg,y\n")
    data = read_data(table)
    assert data.modality == "image"
    assert Path(data.items[0]).read_bytes() == picture(0)
    assert Path(data.items[1]).read_bytes() == picture(1)
    assert len(data) == 3  # an image that is gone becomes an error row, not a gap
    absolute = _write(folder, f"where,label\n{folder}/pictures/a.jpg,x\n", "absolute.csv")
    assert Path(read_data(absolute).items[0]).read_bytes() == picture(0)


def test_columns_by_content_and_by_option(tmp_path: Path, tree: MakeTree) -> None:
    path = _write(tmp_path, "a,b,c\nsome words here,x,1\nmore words too,y,2\n")
    with_label = read_data(path, label_column="b")
    assert list(with_label.items) == ["some words here", "more words too"] and with_label.classes == ("x", "y")
    unlabelled = read_data(path)
    assert unlabelled.targets is None
    assert unlabelled.notes == (
        "no labels are read: none of the columns 'b', 'c' is named for them; give label_column=",
    )
    assert read_data(path, item_column="b", label_column="c").items == ["x", "y"]
    only = read_data(_write(tmp_path, "a,b\nsome words here,x\nmore words too,y\n"))
    assert only.classes == ("x", "y") and "the only one left" in only.notes[0]
    for option in ("item_column", "label_column", "split_column"):
        with pytest.raises(UsageError, match=r"no column 'z'; it has 'a', 'b', 'c'"):
            read_data(_write(tmp_path, "a,b,c\nsome words here,x,1\n"), **{option: "z"})


def test_a_column_of_provenance_is_not_taken_for_pictures(tmp_path: Path) -> None:
    data = read_data(_write(tmp_path, "file,text,label\nreview1.xml,good film,a\nreview2.xml,bad film,b\n"))
    assert (data.modality, data.items[0]) == ("text", "good film")
    captions = _write(tmp_path, "image,caption,text\n1.jpg,a cat,a cat\n")
    assert read_data(captions, modality="text").items == ["a cat"]


def test_whole_numbers_are_names_and_nan_is_missing(tmp_path: Path) -> None:
    data = read_data(_write(tmp_path, "text,label\na,0\nb,10\nc,9\nd,NaN\ne,null\nf,None\n"))
    assert data.classes == ("0", "10", "9", "None")
    assert _labels(data)[3:] == [None, None, "None"]
    table = pyarrow.table({"text": ["a", "b", "c"], "label": pyarrow.array([1, None, 2])})
    assert _labels(read_data(table)) == ["1", None, "2"]


def test_a_column_named_set_is_a_split_only_if_it_says_splits(tmp_path: Path) -> None:
    assert read_data(_write(tmp_path, "text,label,set\na b,x,easy\nc d,y,hard\n")).split is None
    assert read_data(_write(tmp_path, "text,label,set\na b,x,train\nc d,y,Test\n")).split_names == ("test", "train")
    assert read_data(_write(tmp_path, "text,label,split\na b,x,train\nc d,y,fold 2\n")).split_names == (
        "fold 2",
        "train",
    )


def test_multi_label_three_ways(tmp_path: Path) -> None:
    want = [[1, 1], [0, 0], [0, 1]]
    by_separator = read_data(_write(tmp_path, "text,tags\na,x|y\nb,|\nc,y\n"), label_separator="|", separator=",")
    columns = read_data(_write(tmp_path, "text,x,y\na,1,1\nb,0,false\nc,0.0,TRUE\n"), label_column=["x", "y"])
    lists = read_data(
        _write(
            tmp_path, "".join(json.dumps({"text": "t", "tags": t}) + "\n" for t in (["x", "y"], [], ["y"])), "t.jsonl"
        )
    )
    arrow = read_data(pyarrow.table({"text": ["a", "b", "c"], "labels": [["x", "y"], [], ["y"]]}))
    for data in (by_separator, columns, lists, arrow):
        assert (data.task, data.classes, data.targets.tolist()) == ("multi-label", ("x", "y"), want)


def test_several_label_columns_that_are_not_0_and_1(tmp_path: Path) -> None:
    path = _write(tmp_path, "text,u,v\na,1.5,2\nb,,4\n")
    with pytest.raises(UsageError, match="task='regression'"):
        read_data(path, label_column=["u", "v"])
    data = read_data(path, label_column=["u", "v"], task="regression")
    assert data.classes == ("u", "v")
    assert data.targets[0].tolist() == [1.5, 2.0] and np.isnan(data.targets[1]).all()
    with pytest.raises(UsageError, match=r"table\.csv:2: 'yes' in one of several label columns"):
        read_data(_write(tmp_path, "text,u,v\na,yes,2\n"), label_column=["u", "v"])
    with pytest.raises(UsageError, match="2 label columns for a single-label task"):
        read_data(path, label_column=["u", "v"], task="single-label")


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_with_pictures_inside(tmp_path: Path, struct: bool) -> None:
    cells: list[Any] = [picture(0), picture(1), None]
    if struct:
        (tmp_path / "b.png").write_bytes(picture(1))
        cells = [{"bytes": picture(0), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells, "label": ["a", "b", "a"]}), tmp_path / "t.parquet")
    data = read_data(tmp_path / "t.parquet")
    assert data.modality == "image"
    assert [item.read_bytes() for item in data.items[:2]] == [picture(0), picture(1)]
    with pytest.raises(UnreadableItemError, match="holds no image"):
        data.items[2].read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": \n', r"t\.jsonl:2 is not JSON"),
        ("t.jsonl", '{"text": "a"}\n[1]\n', r"t\.jsonl:2 is a list; each row is an object"),
        ("t.json", '{"text": "a"}', "holds a dict; a table in JSON is a list of objects"),
        ("t.json", "[" * 100_000, "is not JSON"),
        ("t.parquet", "no parquet", "is not a Parquet file"),
    ],
)
def test_odd_json_and_parquet_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_data(_write(tmp_path, content, name))


def test_a_folder_of_tables_named_after_splits(tmp_path: Path) -> None:
    _write(tmp_path, "text,label\na b,10\nc d,9\n", "train.csv")
    _write(tmp_path, "text,label\ne f,8\n", "test.csv")
    data = read_data(tmp_path)
    assert data.classes == ("8", "9", "10")
    assert _labels(data.train) == ["10", "9"] and _labels(data.test) == ["8"]
    _write(tmp_path, "text,label\ne f,8\n", "extra.csv")
    with pytest.raises(UsageError, match="several tables"):
        read_data(tmp_path)


def test_rows_of_an_unlabelled_split_have_no_label(tmp_path: Path) -> None:
    data = read_data(_write(tmp_path, "text,label,split\na b,x,train\nc d,0,unlabeled\n"))
    assert (data.classes, _labels(data), data.split.tolist()) == (("x",), ["x", None], ["train", "unlabelled"])


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelgraftError, match="No such file"):
        read_data(tmp_path / "t.csv")


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.text(characters, max_size=20).filter(lambda text: text.strip().lower() not in SPELLED_MISSING)
cells = st.lists(st.tuples(words, st.sampled_from(["a", "b c", "0"])), min_size=1, max_size=8)


@settings(deadline=None)
@given(cells, st.sampled_from([",", "\t", ";"]))
def test_what_a_csv_writer_writes_is_read_back(rows: list[tuple[str, str]], separator: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerows([("text", "label"), *rows])
        data = read_data(path)
    assert list(data.items) == [text for text, _ in rows]
    assert _labels(data) == [label for _, label in rows]
