"""What is said and done about labels before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.labels import check_for_training, learnt_classes
from modelgraft_adapters.data.reading import read_data


def _read(labels: list, split: list[str] | None = None, **options: object) -> Dataset:
    data = read_data([f"text {n}" for n in range(len(labels))], labels, **options)  # type: ignore[arg-type]
    return Dataset(
        data.items,
        data.modality,
        data.task,
        data.targets,
        data.classes,
        data.identities,
        None if split is None else np.array(split),
        data.notes,
    )


def _names(data: Dataset) -> list[str]:
    assert data.targets is not None
    return [data.classes[number] for number in data.targets]


def test_good_labels_pass_unchanged() -> None:
    data = _read(["a", "b", "a", "b"])
    checked = check_for_training(data)
    assert checked.notes == () and checked.split is None and checked.classes == ("a", "b")
    assert learnt_classes(checked) == 2


def test_items_without_a_label_move_to_unlabelled() -> None:
    checked = check_for_training(_read(["a", None, "b", "a", "b"]))
    assert checked.split is not None
    assert checked.split.tolist() == ["train", "unlabelled", "train", "train", "train"]
    assert checked.train.labelled.all()
    assert checked.notes[-1] == "1 item without a label left out of training (split 'unlabelled')"


def test_test_items_without_a_label_are_not_scored() -> None:
    checked = check_for_training(_read(["a", "b", "a", "b", None], ["train"] * 4 + ["test"]))
    assert checked.split_names == ("test", "train")
    assert "1 item of other splits without a label: predicted, not scored" in checked.notes


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a", "a", None], {}, "all 2 items to train on are of the class 'a'"),
        ([["a"], ["a"]], {}, "each of the 1 classes is there for all items, or for none"),
        ([2.0, 2.0], {"task": "regression"}, r"all 2 items to train on have the value \[2.0\]"),
        ([None, ""], {}, "no item has a label"),
    ],
)
def test_nothing_to_learn(labels: list, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=f"nothing to train: {message}"):
        check_for_training(_read(labels, **options))


def test_no_training_part() -> None:
    with pytest.raises(UsageError, match="no split 'train' to train on; there are 'test'"):
        check_for_training(_read(["a", "b"], ["test", "test"]))
    with pytest.raises(UsageError, match="no item of the split 'train' has a label"):
        check_for_training(_read([None, "b"], ["train", "test"]))
    with pytest.raises(UsageError, match="no item has a label; folders give one"):
        check_for_training(read_data(["one", "two"]))


def test_a_class_that_train_has_not_comes_last_and_counts_as_wrong() -> None:
    data = _read(["b", "c", "b", "c", "a", "b"], ["train"] * 4 + ["test"] * 2)
    checked = check_for_training(data)
    assert checked.classes == ("b", "c", "a")
    assert learnt_classes(checked) == 2
    assert _names(checked) == _names(data)
    assert checked.test.targets is not None and checked.test.targets.tolist() == [2, 0]
    assert any("'a'; 1 item of other splits counts as wrong" in note for note in checked.notes)


def test_a_class_without_any_item_is_dropped() -> None:
    data = _read(["low", "high", "low", "high", None], classes=["low", "mid", "high"])
    checked = check_for_training(data)
    assert checked.classes == ("low", "high")
    assert checked.targets is not None and checked.targets.tolist() == [0, 1, 0, 1, -1]
    assert "1 class without any item not trained: 'mid'" in checked.notes


def test_a_class_with_one_item_is_learnt_and_noted() -> None:
    checked = check_for_training(_read(["a", "a", "b"]))
    assert checked.classes == ("a", "b") and checked.split is None
    assert checked.notes == ("1 class with one item to train on: 'b'; trained, but checked by no fold",)


def test_cases_are_noted_and_stay_apart() -> None:
    checked = check_for_training(_read(["Cat ", "cat", "cat", "Cat", "dog", "dog"]))
    assert checked.classes == ("Cat", "cat", "dog")
    assert any("case, blanks or invisible signs" in note and "'Cat' and 'cat'" in note for note in checked.notes)


def test_constant_columns_are_noted() -> None:
    multi = check_for_training(_read([["a", "b"], ["a"], ["a", "b"]]))
    assert multi.notes == ("1 class that all items to train on have, or none has: 'a'",)
    numbers = check_for_training(_read([[1, 5], [2, 5]], task="regression"))
    assert numbers.notes == ("columns with one value only: 'value 1'",)


def test_notes_are_not_repeated_when_checked_twice() -> None:
    once = check_for_training(_read(["a", None, "b", "A", "b"]))
    assert check_for_training(once).notes == once.notes
