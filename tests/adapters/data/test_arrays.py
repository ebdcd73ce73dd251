"""Lists and arrays: what the items are, and which labels go with them."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters.data.reading import read_data
from PIL import Image

from tests.adapters.data.conftest import MakeTree


def test_texts() -> None:
    data = read_data(["good", "bad", "see photo.jpg"], ["pos", "neg", None])
    assert (data.modality, data.classes, data.targets.tolist()) == ("text", ("neg", "pos"), [1, 0, -1])
    assert data.identity(1) == "item 1"
    assert read_data(np.array(["a", "b"])).items == ["a", "b"]
    assert read_data(("a", None, ""), modality="text").items == ["a", "", ""]


def test_paths_are_pictures_if_one_exists(tree: MakeTree) -> None:
    folder = tree("1.jpg")
    paths = [str(folder / "1.jpg"), str(folder / "gone.jpg")]
    data = read_data(paths, ["a", "b"])
    assert (data.modality, list(data.identities)) == ("image", paths)
    assert read_data([Path(path) for path in paths]).modality == "image"
    with pytest.raises(UsageError, match="does not exist; say modality='text'"):
        read_data(["gone.jpg"])
    assert read_data(["gone.jpg"], modality="text").modality == "text"
    with pytest.raises(UsageError, match=r"others not \('a text'\)"):
        read_data([paths[0], "a text"])
    assert read_data(["see 1.jpg", "a text"]).modality == "text"


def test_pictures_in_memory() -> None:
    grey = np.zeros((3, 5, 7), np.uint8)
    assert [item.shape for item in read_data(grey).items] == [(5, 7)] * 3
    colour = np.zeros((2, 5, 7, 3), np.uint8)
    assert read_data(colour, [0, 1]).modality == "image"
    assert read_data([Image.new("RGB", (4, 4)), colour[0]]).modality == "image"
    with pytest.raises(UsageError, match="is one image; put it into a list"):
        read_data(colour[0])
    for wrong in (colour.astype(np.float32), np.zeros((5, 7), np.uint8)):
        with pytest.raises(UsageError, match="holds no images"):
            read_data(wrong)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_labels_of_every_container(kind: Any) -> None:
    assert read_data(["a", "b", "c"], kind([2, 0, 2])).targets.tolist() == [1, 0, 1]


def test_labels_for_the_other_tasks() -> None:
    assert read_data(["a", "b"], [["x"], ["x", "y"]]).task == "multi-label"
    assert read_data(["a", "b"], ["x;y", "y"], label_separator=";").targets.tolist() == [[1, 1], [0, 1]]
    assert read_data(["a", "b"], np.array([[0.5, 1], [2, 3]]), task="regression").targets.shape == (2, 2)


@pytest.mark.parametrize(
    ("items", "labels", "message"),
    [
        ([], None, "no items"),
        (["a", "b"], ["x"], "2 items and 1 labels"),
        (["a", "b"], "xy", "one label for each of the 2 items"),
        (["a", "b"], 3, "one label for each of the 2 items"),
        (["a", np.zeros((2, 2), np.uint8)], None, "items of several kinds: str and 'ndarray'"),
        (42, None, "a int is no list of items"),
    ],
)
def test_wrong_use_is_said(items: Any, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_data(items, labels)


def test_texts_that_are_none_are_said() -> None:
    with pytest.raises(UsageError, match="item 1 is a int, not a text"):
        read_data(["a", 3], modality="text")


def test_real_multi_label_pictures(shared_data: Path) -> None:
    """Which cells each photograph of a blood smear shows, from its boxes."""
    path = shared_data / "bccd.tar"
    with tarfile.open(path) as archive:
        boxes = {
            name: re.findall("<name>(.*?)</name>", archive.extractfile(name).read().decode())
            for name in archive.getnames()
            if name.endswith(".xml")
        }
    items = list(read_data(path).items)
    cells = [boxes[item.name.replace("/image/", "/xml/").replace(".jpg", ".xml")] for item in items]
    data = read_data(items, cells)
    assert (data.modality, data.task, data.classes) == ("image", "multi-label", ("Platelets", "RBC", "WBC"))
    assert [set(np.array(data.classes)[row > 0]) for row in data.targets] == [set(names) for names in cells]


def test_rows_are_a_table_and_other_things_are_refused() -> None:
    data = read_data([{"text": "a b", "label": "x"}, {"text": "c d"}])
    assert (data.items, data.targets.tolist(), data.identity(1)) == (["a b", "c d"], [0, -1], "row 1")
    for wrong in ([0.5, 0.25], [{"text": "a"}, 3], [[1, 2], [3, 4]]):
        with pytest.raises(UsageError, match="neither a text nor an image"):
            read_data(wrong)
