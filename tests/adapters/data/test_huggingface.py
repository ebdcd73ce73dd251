"""Data sets of the real library ``datasets``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft_adapters.data.reading import read_data
from PIL import Image

from tests.adapters.data.conftest import MakeTree, picture

Features = datasets.Features
ClassLabel = datasets.ClassLabel
Value = datasets.Value


def _texts(labels: list[Any], feature: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"text": [f"text {n}" for n in range(len(labels))], "label": labels},
        features=Features({"text": Value("string"), "label": feature}),
    )


def test_texts_with_class_names_in_the_features_order() -> None:
    data = read_data(_texts([1, 0, -1, None, 2], ClassLabel(names=["world", "sports", "arts"])))
    assert (data.modality, data.classes) == ("text", ("world", "sports", "arts"))
    assert data.targets.tolist() == [1, 0, -1, -1, 2]
    assert list(data.items) == [f"text {n}" for n in range(5)]
    assert data.identity(3) == "row:3"


@pytest.mark.parametrize("kind", [datasets.Sequence, datasets.List])
def test_lists_of_class_labels_are_multi_label(kind: Any) -> None:
    data = read_data(_texts([[0, 2], [], None], kind(ClassLabel(names=["c", "b", "a"]))))
    assert (data.task, data.classes) == ("multi-label", ("c", "b", "a"))
    assert data.targets[:2].tolist() == [[1, 0, 1], [0, 0, 0]] and np.isnan(data.targets[2]).all()


def test_plain_values() -> None:
    assert read_data(_texts(["x", "y", None], Value("string"))).targets.tolist() == [0, 1, -1]
    assert read_data(_texts([10, 9], Value("int64"))).classes == ("9", "10")
    scores = _texts([n / 7 for n in range(40)], Value("float32"))
    with pytest.raises(UsageError, match="task='regression'"):
        read_data(scores)
    data = read_data(scores, task="regression")
    assert (data.targets.shape, data.classes) == ((40, 1), ("label",))


def _pictures(count: int = 3) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"img": [{"bytes": picture(n), "path": None} for n in range(count)], "label": [n % 2 for n in range(count)]},
        features=Features({"img": datasets.Image(), "label": ClassLabel(names=["cat", "dog"])}),
    )


def test_pictures_stay_files_until_they_are_read() -> None:
    data = read_data(_pictures())
    assert (data.modality, data.classes) == ("image", ("cat", "dog"))
    assert [item.read_bytes() for item in data.items] == [picture(n) for n in range(3)]
    assert Image.open(io.BytesIO(data.items[0].read_bytes())).size == (32, 24)


def test_selected_shuffled_and_transformed_sets_are_read_as_they_are() -> None:
    rows = _pictures(6).select([5, 1, 3])
    rows.set_transform(lambda batch: {"img": ["broken"] * len(batch["img"]), "label": batch["label"]})
    data = read_data(rows)
    assert [item.read_bytes() for item in data.items] == [picture(5), picture(1), picture(3)]
    assert data.targets.tolist() == [1, 1, 1]


def test_pictures_by_path(tree: MakeTree) -> None:
    folder = tree("1.jpg")
    rows = datasets.Dataset.from_dict({"image": [str(folder / "1.jpg"), str(folder / "gone.jpg")]})
    data = read_data(rows.cast_column("image", datasets.Image()))
    assert data.items[0].read_bytes() == picture(0)
    with pytest.raises(UnreadableItemError, match="No such file"):
        data.items[1].read_bytes()
    assert data.targets is None and "no labels are read" in data.notes[0]


def test_a_dict_of_splits(tmp_path: Path) -> None:
    feature = ClassLabel(names=["b", "a"])
    both = datasets.DatasetDict(
        {
            "train": _texts([0, 1], feature),
            "validation": _texts([1], feature),
            "test": _texts([-1], feature),
            "unsupervised": _texts([0], feature),
        }
    )
    data = read_data(both)
    assert data.split.tolist() == ["train", "train", "val", "test", "unlabelled"]
    assert data.targets.tolist() == [0, 1, 1, -1, -1]
    assert list(data.identities)[2:] == ["validation:0", "test:0", "unsupervised:0"]
    both.save_to_disk(tmp_path / "saved")
    saved = read_data(tmp_path / "saved")
    assert (saved.targets.tolist(), saved.split.tolist()) == (data.targets.tolist(), data.split.tolist())
    _texts([0, 1], feature).save_to_disk(tmp_path / "one")
    assert read_data(tmp_path / "one").targets.tolist() == [0, 1]
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(ModelgraftError, match="is no data set that can be read"):
        read_data(tmp_path / "one")


def test_real_pictures_through_the_library(shared_data: Path) -> None:
    ours = read_data(shared_data / "ants_bees.tar").train
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": item.read_bytes(), "path": item.name} for item in ours.items],
            "label": ours.targets.tolist(),
        },
        features=Features({"image": datasets.Image(), "label": ClassLabel(names=list(ours.classes))}),
    )
    theirs = read_data(rows)
    assert theirs.targets.tolist() == ours.targets.tolist()
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(theirs.items, ours.items, strict=True))


def test_a_real_table_through_the_library(shared_data: Path) -> None:
    rows = datasets.Dataset.from_csv(str(shared_data / "trec.csv"), cache_dir=None, keep_in_memory=True)
    data = read_data(rows, label_column="fine_label")
    ours = read_data(shared_data / "trec.csv", label_column="fine_label")
    assert (data.classes, data.targets.tolist()) == (ours.classes, ours.targets.tolist())
    assert list(data.items) == list(ours.items)


def test_wrong_use_is_said() -> None:
    with pytest.raises(UsageError, match="without streaming=True"):
        read_data(_pictures().to_iterable_dataset())
    with pytest.raises(UsageError, match="has no rows"):
        read_data(_pictures().select([]))
    with pytest.raises(UsageError, match="no column 'x'; it has 'img', 'label'"):
        read_data(_pictures(), label_column="x")
    with pytest.raises(UsageError, match="labels= goes with a list"):
        read_data(_pictures(), [1, 2, 3])
    with pytest.raises(UsageError, match="holds neither images nor texts"):
        read_data(_pictures(), item_column="label")
    captioned = _pictures().add_column("text", ["a", "b", "c"])
    with pytest.raises(UsageError, match=r"has images \('img'\) and texts \('text'\)"):
        read_data(captioned)
    assert read_data(captioned, modality="text").items == ["a", "b", "c"]
    assert read_data(captioned, modality="image").modality == "image"
    numbers = datasets.Dataset.from_dict({"x": [1, 2], "y": [3, 4]})
    with pytest.raises(UsageError, match="cannot tell which column holds the items"):
        read_data(numbers)
