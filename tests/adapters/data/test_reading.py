"""The one door: dispatch, options that do not go with a source, splits put together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.dataset import Dataset, join
from modelgraft_adapters.data.reading import read_data

from tests.adapters.data.conftest import MakeTree


def test_a_dataset_is_returned_as_it_is() -> None:
    data = read_data(["a", "b"], ["x", "y"])
    assert read_data(data) is data
    with pytest.raises(UsageError, match="task= does not go with a Dataset; it takes no options"):
        read_data(data, task="regression")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "no file or folder '.*nowhere' .in Python, texts and single items are given as a list"),
        ("nowhere/*.tar", "no file '.*' matches"),
        ("{0..999999}.tar", "names no files, or more than 100,000"),
        ("{5..2}.tar", "names no files"),
    ],
)
def test_what_is_not_there(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_data(tmp_path / path)


def test_files_of_other_kinds(tmp_path: Path, tree: MakeTree) -> None:
    for name, message in (("a.zip", "unzip it"), ("a.docx", "is no data that is read")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match=message):
            read_data(tmp_path / name)
    folder = tree("1.jpg", "2.jpg")
    assert len(read_data(str(folder / "*.jpg"))) == 2


def test_options_that_do_not_go_with_the_source(tmp_path: Path, tree: MakeTree, shared_data: Path) -> None:
    folder = tree("a/1.jpg", "b/1.jpg")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (folder, {"label_column": "x"}, "label_column= does not go with a folder of classes"),
        (shared_data / "ag_news.csv", {"class_level": 2}, "class_level= does not go with a table"),
        (shared_data / "flowers5.tar", {"separator": ","}, "separator= does not go with tar files"),
        (["a"], {"split_column": "x"}, "split_column= does not go with a list"),
        (folder, {"labels": [1, 2]}, "labels= goes with a list or array"),
        (["a"], {"modality": "audio"}, "there are 'image' and 'text'"),
    ]
    for source, options, message in cases:
        with pytest.raises(UsageError, match=message):
            read_data(source, **options)


def test_a_mapping_names_splits(tree: MakeTree) -> None:
    first, second = tree("a/1.jpg", "b/1.jpg", root="one"), tree("b/1.jpg", "c/1.jpg", root="two")
    data = read_data({"training": first, "dev": second})
    assert data.classes == ("a", "b", "c")
    assert data.split.tolist() == ["train", "train", "val", "val"]
    assert [data.classes[n] for n in data.targets] == ["a", "b", "b", "c"]
    lists = read_data({"train": ["t", "u"], "test": ["v"]}, {"train": [10, 9], "test": [8]})
    assert [lists.classes[n] for n in lists.targets] == ["10", "9", "8"]
    with pytest.raises(UsageError, match=r"names its splits .*, not its columns: 'text', 'label'"):
        read_data({"text": ["a"], "label": ["b"]})
    with pytest.raises(UsageError, match="a mapping with the same splits"):
        read_data({"train": ["a"]}, ["b"])


def test_joined_parts_of_each_task() -> None:
    multi = join({"train": read_data(["a"], [["x", "y"]]), "test": read_data(["b"], [["z"]]), "val": read_data(["c"])})
    assert multi.classes == ("x", "y", "z")
    assert np.nan_to_num(multi.targets, nan=7).tolist() == [[1, 1, 0], [0, 0, 1], [7, 7, 7]]
    numbers = join({s: read_data(["a"], [v], task="regression") for s, v in (("train", 1.5), ("test", 2.5))})
    assert numbers.targets.tolist() == [[1.5], [2.5]]
    ordered = read_data(["a", "b"], ["low", "high"], classes=["low", "high"])
    assert join({"train": ordered, "test": read_data(["c"], ["high"])}).classes == ("low", "high")
    single = join({"train": ordered, "test": read_data(["c"])})
    assert single.targets.tolist() == [0, 1, -1]
    with pytest.raises(UsageError, match="differ in task: multi-label, single-label"):
        join({"train": ordered, "test": read_data(["b"], [["z"]])})
    with pytest.raises(UsageError, match="differ in modality"):
        join({"train": ordered, "test": read_data(np.zeros((1, 5, 5), np.uint8))})


def test_a_dataset_of_different_lengths_is_refused() -> None:
    with pytest.raises(UsageError, match="2 items and 1 targets"):
        Dataset(["a", "b"], "text", targets=np.zeros(1, np.int64))


def test_reading_a_table_imports_no_heavy_library(shared_data: Path) -> None:
    code = (
        "import sys; from modelgraft_adapters.data.reading import read_data; read_data(sys.argv[1]);"
        "print(sorted({'torch', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared_data / "trec.csv")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
