"""Items are the same because of what they are, never because of their place in a list."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from modelgraft_adapters import LinearProbe
from modelgraft_adapters.data.dataset import Dataset, repeated
from modelgraft_adapters.data.overlap import Contents
from modelgraft_adapters.data.reading import read_data
from PIL import Image

from tests.adapters.data.conftest import MakeTar, MakeTree, picture

rng = np.random.default_rng(0)


def _shared(known: Dataset, asked: Dataset) -> int:
    return known.places.shared(asked.places)


def test_other_items_of_the_same_shape_are_others() -> None:
    first, second = (list(rng.integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)) for _ in range(2))
    assert _shared(read_data(first), read_data(second)) == 0
    assert _shared(read_data(first), read_data([second[0], first[3].copy()])) == 1
    pictures = [Image.fromarray(one) for one in first]
    assert _shared(read_data(pictures), read_data([Image.fromarray(one) for one in (first[1], second[1])])) == 1
    assert _shared(read_data(["a b", "c d"]), read_data(["e f", "g h"])) == 0
    assert _shared(read_data(["a b", "c d", ""]), read_data(["g h", "a b", ""])) == 1
    assert _shared(read_data(["a b"]), read_data(first)) == 0


def test_tables_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for name, words in (("one", "a b"), ("two", "c d")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(f"text,label\n{words},x\n{words} too,y\n")
    one, two = (read_data(tmp_path / name / "data.csv") for name in ("one", "two"))
    assert one.identities == two.identities  # what they were known by
    assert _shared(one, two) == 0 and _shared(one, one) == 2


def test_files_are_known_by_path_and_by_content(tree: MakeTree, tar: MakeTar, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree("a/1.png", "a/2.png", "b/3.png")
    data = read_data(folder)
    copied = folder.parent / "elsewhere"
    shutil.copytree(folder, copied)
    (copied / "b" / "3.png").write_bytes(picture(40))
    assert _shared(data, data) == 3
    assert _shared(data, read_data(copied)) == 2
    (folder.parent / "link").symlink_to(folder)
    assert _shared(data, read_data(folder.parent / "link")) == 3
    shard = read_data(tar({"x.png": picture(0), "x.cls": b"a", "y.png": picture(41), "y.cls": b"b"}))
    assert (_shared(shard, shard), _shared(data, shard)) == (2, 1)
    gone = Dataset([str(folder / "gone.png")], "image")
    assert _shared(gone, gone) == 0
    assert Contents((), "image").shared(data.places) == 0


def test_the_warning_of_an_adapter(recwarn: pytest.WarningsRecorder) -> None:
    words = [f"a {colour} {n}" for n in range(8) for colour in ("red", "blue")]
    probe = LinearProbe("embedded/sprig", C=1.0).fit(words, ["r", "b"] * 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe.evaluate([f"the {word}" for word in words], ["r", "b"] * 8)
    with pytest.warns(UserWarning, match="2 of the 3 items were trained on: the score may flatter"):
        probe.evaluate([words[5], words[2], "another"], ["b", "r", "b"])
    with pytest.warns(UserWarning, match="16 of the 16 items were trained on: this is no test"):
        probe.evaluate(words, ["r", "b"] * 8)


def test_repeated_items_of_a_given_split_are_told() -> None:
    data = read_data({"train": ["a", "b", "c"], "test": ["c", "d"]}, {"train": ["x", "y", "x"], "test": ["x", "y"]})
    assert "1 of the 2 test items are in the training data too" in repeated(data).notes[-1]
    data = read_data({"train": ["a", "b", "c"], "test": ["e", "d"]}, {"train": ["x", "y", "x"], "test": ["x", "y"]})
    assert repeated(data) is data
