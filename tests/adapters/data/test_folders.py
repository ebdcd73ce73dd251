"""Class folders: splits, classes, what is left out, and in which order."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.folders import read_folder
from modelgraft_adapters.data.reading import read_data

from tests.adapters.data.conftest import MakeTree


def _labels(data) -> list[str | None]:
    return [None if number < 0 else data.classes[number] for number in data.targets]


def test_a_class_per_folder_in_the_order_of_paths(tree: MakeTree) -> None:
    data = read_data(tree("dog/2.jpg", "dog/10.jpg", "cat/1.PNG"))
    assert [Path(item).name for item in data.items] == ["1.PNG", "10.jpg", "2.jpg"]
    assert (data.classes, data.split, data.modality, data.task) == (("cat", "dog"), None, "image", "single-label")
    assert _labels(data) == ["cat", "dog", "dog"]
    assert list(data.identities) == list(data.items)


def test_splits_and_their_synonyms(tree: MakeTree) -> None:
    folder = tree(
        *(
            "Training/a/1.jpg",
            "validation/a/1.jpg",
            "dev/a/2.jpg",
            "testing/b/1.jpg",
            "unlabeled/1.jpg",
            "unsup/a/2.jpg",
        )
    )
    data = read_data(folder)
    assert data.split is not None
    assert data.split.tolist() == ["train", "val", "test", "unlabelled", "unlabelled", "val"]
    assert _labels(data) == ["a", "a", "b", None, None, "a"]
    assert any(note.startswith("2 items without a label") for note in data.notes)


def test_a_test_split_without_classes_is_unlabelled(tree: MakeTree) -> None:
    data = read_data(tree("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"))
    assert data.train.labelled.all() and not data.test.labelled.any()


def test_splits_beside_classes_are_refused(tree: MakeTree) -> None:
    with pytest.raises(UsageError, match=r"the folders 'train' are splits, but 'cat' beside them not"):
        read_data(tree("train/a/1.jpg", "cat/1.jpg"))
    with pytest.raises(UsageError, match="files lie beside the splits"):
        read_data(tree("train/a/1.jpg", "stray.jpg", root="other"))


def test_nested_folders_belong_to_the_class_unless_a_level_is_given(tree: MakeTree) -> None:
    folder = tree("pets/cat/1.jpg", "pets/dog/1.jpg", "wild/cat/old/2.jpg")
    data = read_data(folder)
    assert data.classes == ("pets", "wild")
    assert any("class_level=2" in note for note in data.notes)
    assert _labels(read_data(folder, class_level=2)) == ["cat", "dog", "cat"]
    assert read_data(folder, class_level=-1).classes == ("cat", "dog", "old")
    for level in (0, -2):
        with pytest.raises(UsageError, match=f"class_level={level}"):
            read_data(folder, class_level=level)
    with pytest.raises(UsageError, match="no file lies so deep"):
        read_data(folder, class_level=5)


def test_a_wrapping_folder_is_stepped_through(tree: MakeTree) -> None:
    data = read_data(tree("archive/images/cat/1.jpg", "archive/images/dog/1.jpg"))
    assert data.classes == ("cat", "dog")
    assert sum("wrapper" in note for note in data.notes) == 2
    assert read_data(tree("only/1.jpg", "only/2.jpg", root="one")).classes == ("only",)


def test_hidden_and_other_files_are_left_out_and_counted(tree: MakeTree) -> None:
    folder = tree("cat/1.jpg", "cat/.hidden.jpg", "cat/._1.jpg", ".git/x.jpg", "__MACOSX/cat/1.jpg", "dog/1.jpg")
    tree("cat/notes.md", "dog/2.heic", content=b"x")
    data = read_data(folder)
    assert [item.rsplit("/", 1)[1] for item in data.items] == ["1.jpg", "1.jpg", "2.heic"]  # a row with its reason
    assert data.notes == ("1 file of other kinds left out: 'notes.md'",)


def test_an_empty_class_folder_is_noted(tree: MakeTree) -> None:
    data = read_data(tree("train/cat/1.jpg", "train/dog/1.jpg", "train/bird/", "test/dog/1.jpg", "test/cat/"))
    assert data.classes == ("cat", "dog")
    assert data.notes == ("no files in 'test/cat', 'train/bird': left out",)


def test_pictures_without_class_folders_are_unlabelled(tree: MakeTree) -> None:
    data = read_data(tree("b.jpg", "a.jpg"))
    assert data.targets is None and data.classes == () and not data.labelled.any()
    mixed = read_data(tree("a.jpg", "cat/1.jpg", root="mixed"))
    assert _labels(mixed) == [None, "cat"]


def test_text_files_by_class(tree: MakeTree) -> None:
    folder = tree("train/pos/1.txt", "train/neg/1.txt", content="\ufeffgut, schön".encode())
    tree("train/unsup/1.txt", content=b"\xff broken")
    data = read_data(folder)
    assert data.modality == "text"
    assert data.items[0] == "gut, schön"
    assert _labels(data) == ["neg", "pos", None]
    assert any("not in UTF-8" in note for note in data.notes)
    with pytest.raises(UsageError, match="holds no images"):
        read_data(folder, modality="image")


def test_pictures_win_over_text_files_unless_said_otherwise(tree: MakeTree) -> None:
    folder = tree("a/1.jpg", "a/1.txt", "b/1.jpg", "b/1.txt")
    assert read_data(folder).modality == "image"
    assert len(read_data(folder, modality="text")) == 2


def test_nothing_to_read(tree: MakeTree) -> None:
    with pytest.raises(UsageError, match="no images and no text files"):
        read_data(tree("cat/"))
    with pytest.raises(UsageError, match="needs a table"):
        read_folder(str(tree("cat/1.jpg")), task="multi-label")


def test_linked_folders_are_followed_and_loops_are_not(tree: MakeTree, tmp_path: Path) -> None:
    folder = tree("cat/1.jpg", "dog/1.jpg")
    elsewhere = tree("2.jpg", root="elsewhere")
    os.symlink(elsewhere, folder / "bird")
    os.symlink(folder, folder / "cat" / "loop")
    data = read_data(folder)
    assert data.classes == ("bird", "cat", "dog")
    assert len(data) == 3


def test_macos_names_are_composed(tree: MakeTree) -> None:
    assert read_data(tree("Cafe\u0301/1.jpg", "a/1.jpg")).classes == ("Café", "a")


def test_given_classes_keep_their_order(tree: MakeTree) -> None:
    folder = tree("low/1.jpg", "high/1.jpg")
    assert read_data(folder, classes=["low", "high"]).targets.tolist() == [1, 0]
    with pytest.raises(UsageError, match="'high'"):
        read_data(folder, classes=["low"])


@pytest.mark.parametrize(("name", "level"), [("ants_bees", 1), ("pacs", 2), ("pacs", 1)])
def test_a_tar_and_the_folder_it_unpacks_to_are_the_same(
    shared_data: Path, tmp_path: Path, name: str, level: int
) -> None:
    with tarfile.open(shared_data / f"{name}.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = read_data(tmp_path, class_level=level)
    shard = read_data(shared_data / f"{name}.tar", class_level=level)
    assert folder.classes == shard.classes
    assert folder.targets.tolist() == shard.targets.tolist()
    assert folder.split.tolist() == shard.split.tolist()
    assert [os.path.relpath(path, tmp_path) for path in folder.items] == [item.name for item in shard.items]
    assert Path(folder.items[7]).read_bytes() == shard.items[7].read_bytes()
