"""Labels as users have them to targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.encoding import encode


@pytest.mark.parametrize(
    ("raw", "targets", "classes"),
    [
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        ([1, 0, 10, 9], [1, 0, 3, 2], ("0", "1", "9", "10")),
        (["10", "9", "-1"], [2, 1, 0], ("-1", "9", "10")),
        (["01", "1"], [0, 1], ("01", "1")),
        ([True, False], [1, 0], ("False", "True")),
        (np.array([3, 1]), [1, 0], ("1", "3")),
        (np.array([[3], [1]]), [1, 0], ("1", "3")),
        ([b"x", "y"], [0, 1], ("x", "y")),
        ([0.5, 1.5, 0.5, 1.5], [0, 1, 0, 1], ("0.5", "1.5")),
    ],
)
def test_single_label_as_written(raw: Any, targets: list[int], classes: tuple[str, ...]) -> None:
    encoded = encode(raw)
    assert encoded.task == "single-label"
    assert encoded.targets.dtype == np.int64
    assert encoded.targets.tolist() == targets
    assert encoded.classes == classes


def test_missing_labels_are_minus_one_and_noted() -> None:
    encoded = encode(["cat", None, float("nan"), "", "  ", "dog", np.nan])
    assert encoded.targets.tolist() == [0, -1, -1, -1, -1, 1, -1]
    assert encoded.notes == ("5 items without a label: never trained on or scored, only predicted",)


def test_a_column_of_whole_numbers_that_became_floats_keeps_its_names() -> None:
    assert encode([1.0, float("nan"), 2.0]).classes == ("1", "2")


def test_blanks_are_dropped_forms_composed_and_types_noted() -> None:
    encoded = encode([" cat", "cat", "Cafe\u0301", "Caf\u00e9"])
    assert encoded.classes == ("Café", "cat")
    assert encoded.notes == ("1 label with blanks around: the blanks are dropped",)
    assert encode([1, "1", "b"]).classes == ("1", "b")
    assert encode([1, "1", "b"]).notes == ("labels of several types (int, str): each is taken as it is written",)


def test_given_classes_keep_their_order_and_refuse_strangers() -> None:
    assert encode(["low", "high"], classes=["low", "mid", "high"]).targets.tolist() == [0, 2]
    with pytest.raises(UsageError, match=r"'higher' \(item 1\) is not among the 2 classes"):
        encode(["low", "higher"], classes=["low", "high"])
    with pytest.raises(UsageError, match="classes given twice: 'low'"):
        encode(["low"], classes=["low", "low"])


def test_measurements_are_not_taken_for_classes() -> None:
    scores = [n / 7 for n in range(40)]
    for raw in (scores, [str(score) for score in scores], np.array(scores)):
        with pytest.raises(UsageError, match="task='regression'"):
            encode(raw)
        assert encode(raw, "regression").targets.shape == (40, 1)
        assert len(encode(raw, "single-label").classes) == 40
    assert encode(list(range(40))).task == "single-label"  # whole numbers are class numbers


def test_lists_make_a_multi_label_task() -> None:
    encoded = encode([["a", "b"], [], None, ("b",), {"c"}])
    assert encoded.task == "multi-label"
    assert encoded.classes == ("a", "b", "c")
    assert encoded.targets.dtype == np.float32
    assert encoded.targets[[0, 1, 3, 4]].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert np.isnan(encoded.targets[2]).all()


def test_a_separator_parts_labels_and_alone_means_none() -> None:
    encoded = encode(["a|b", "|", "", "b | c"], separator="|")
    assert encoded.classes == ("a", "b", "c")
    assert encoded.targets[[0, 1, 3]].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert np.isnan(encoded.targets[2]).all()


def test_an_array_of_0_and_1_is_multi_label_and_other_arrays_are_refused() -> None:
    encoded = encode(np.array([[1, 0, 0], [1, 1, 0]]), classes=("x", "y", "z"))
    assert (encoded.task, encoded.classes) == ("multi-label", ("x", "y", "z"))
    assert encoded.targets.tolist() == [[1, 0, 0], [1, 1, 0]]
    assert np.isnan(encode(np.array([[1, np.nan], [0, 1]])).targets).tolist() == [[True, True], [False, False]]
    for wrong in (np.array([[2, 0], [1, 1]]), np.array([[0.5, 0], [1, 1]])):
        with pytest.raises(UsageError, match="not 0 or 1"):
            encode(wrong)
    with pytest.raises(UsageError, match="single-label task"):
        encode(np.array([[1, 0]]), "single-label")
    with pytest.raises(UsageError, match="2 classes given"):
        encode(np.array([[1, 0, 1]]), classes=("x", "y"))
    with pytest.raises(UsageError, match=r"shape \(1, 1, 1\)"):
        encode(np.zeros((1, 1, 1)))


def test_regression_reads_numbers_and_says_what_is_none() -> None:
    encoded = encode(["1.5", 2, None, "-3e2"], "regression")
    assert encoded.targets.dtype == np.float64
    assert encoded.targets[[0, 1, 3], 0].tolist() == [1.5, 2.0, -300.0]
    assert np.isnan(encoded.targets[2, 0])
    assert encode([[1, 2], [3, 4]], "regression").targets.tolist() == [[1, 2], [3, 4]]
    assert encode(np.ones((3, 2)), "regression").classes == ("value 0", "value 1")
    for raw, message in (
        (["1", "about 2"], "item 1 is no number: 'about 2'"),
        ([1.0, float("inf")], "item 1 is not finite"),
        ([[1, 2], [3]], "rows of different length: 1, 2"),
    ):
        with pytest.raises(UsageError, match=message):
            encode(raw, "regression")


def test_wrong_use_is_said() -> None:
    with pytest.raises(UsageError, match="there are: single-label, multi-label, regression"):
        encode(["a"], "ranking")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="item 0 is a list, not a class name"):
        encode([["a"], ["b"]], "single-label")


def test_labels_that_only_look_like_numbers_are_words() -> None:
    assert encode(["--5", "7", "9" * 5000]).classes == ("--5", "7", "9" * 5000)
    assert encode(["10", "9", "-1"]).classes == ("-1", "9", "10")


def test_whole_numbers_beyond_all_floats_are_words_or_refused() -> None:
    huge = 10**400
    assert encode([huge, 1, huge]).classes == ("1", str(huge))
    with pytest.raises(UsageError, match="is no number"):
        encode([huge, 1], "regression")
