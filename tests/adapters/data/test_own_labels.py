"""Labels keep their own type and scikit-learn's order, from what was given to what is answered."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.sealed import with_checksum
from modelgraft_adapters import FrozenAdapter, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data.dataset import join
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.reading import read_data
from sklearn.metrics import accuracy_score, log_loss

MODEL = "embedded/sprig"
TEXTS = ["a dog", "a cat", "a horse", "a bird", "a car", "a truck", "a ship", "a bus"]


def _probe(y: Any, **options: Any) -> LinearProbe:
    return LinearProbe(MODEL, C=1.0, **options).fit(TEXTS, y)


@pytest.mark.full
@pytest.mark.parametrize(
    "pair",
    [
        (0, 1),
        (np.uint8(3), np.uint8(5)),
        (False, True),
        (0.0, 1.0),
        ("10", "9"),
        ("1.0", "0.0"),
        (" cat", "dog"),
        (-1, 1),
        (np.str_("b"), np.str_("a")),
    ],
)
def test_answers_are_of_the_labels_own_type(pair: tuple[Any, Any], tmp_path: Path) -> None:
    y = [pair[0]] * 4 + [pair[1]] * 4
    probe = _probe(y)
    assert np.array_equal(probe.classes_, np.unique(y)) and probe.classes_.dtype == np.unique(y).dtype
    predicted = probe.predict(TEXTS)
    assert predicted.dtype == np.array(y).dtype
    assert (predicted == np.array(y)).all() and probe.score(TEXTS, y) == accuracy_score(y, predicted) == 1.0
    ours = {score.name: score.value for score in probe.evaluate(TEXTS, y).scores}["log loss"]
    assert ours == pytest.approx(log_loss(y, probe.predict_proba(TEXTS)), rel=1e-5)
    again = FrozenAdapter.load(probe.save(tmp_path / "saved"))
    assert again.classes_.dtype == probe.classes_.dtype
    assert np.array_equal(again.predict(TEXTS), predicted) and again.score(TEXTS, y) == 1.0


def test_more_than_ten_classes_are_in_the_order_that_scikit_learn_has() -> None:
    y = [str(n) for n in range(12)] * 2
    probe = LinearProbe(MODEL, C=1.0).fit([f"number {n}" for n in y], y)
    assert probe.classes_.tolist() == sorted(set(y)) and probe.classes[:3] == ("0", "1", "10")
    assert log_loss(y, probe.predict_proba([f"number {n}" for n in y])) < 2.0


@pytest.mark.parametrize(
    "tested",
    [
        [0] * 4 + [1] * 4,
        [0.0] * 4 + [1.0] * 4,
        [False] * 4 + [True] * 4,
        ["0"] * 4 + ["1"] * 4,
        ["0.0"] * 4 + ["1.0"] * 4,
    ],
)
def test_other_types_of_the_same_labels(tested: list[Any]) -> None:
    assert _probe([0] * 4 + [1] * 4).score(TEXTS, tested) == 1.0


def test_tables_whose_whole_numbers_became_fractions(tmp_path: Path) -> None:
    for name, zero, one in (("train", "0", "1"), ("test", "0.0", "1.0")):
        rows = [f"{text},{zero if n < 4 else one}" for n, text in enumerate(TEXTS)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    probe = LinearProbe(MODEL, C=1.0).fit(str(tmp_path / "train.csv"))
    assert probe.score(str(tmp_path / "test.csv")) == 1.0


def test_none_of_the_classes_is_known() -> None:
    with pytest.warns(UserWarning, match=r"none of the classes of these data \('a', 'b'\) is one that was trained"):
        assert _probe([0] * 4 + [1] * 4).score(TEXTS, ["a"] * 4 + ["b"] * 4) == 0.0


def test_missing_labels_are_no_classes() -> None:
    for missing in (None, float("nan"), np.nan, ""):
        probe = _probe(["a", missing, "a", "a", "b", "b", "b", missing])
        assert probe.classes_.tolist() == ["a", "b"]
        assert any("2 items without a label" in note for note in probe.notes_)
    assert _probe([0, None, 0, 0, 1, 1, 1, 1]).classes_.tolist() == [0, 1]


def test_mixed_types_go_by_their_names() -> None:
    assert _probe([0] * 4 + ["one"] * 4).classes_.tolist() == ["0", "one"]
    assert _probe(["1", " 1", "1", "1", "2", "2", "2", "2"]).classes_.tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({0: -1.0}, "class_weight of 0 is -1.0"),
        ({0: float("nan")}, "class_weight of 0 is nan"),
        ({1: float("inf")}, "class_weight of 1 is inf"),
        ({0: "2"}, "class_weight of 0 is '2'"),
        ({0: True}, "class_weight of 0 is True"),
        ({0: 0.0, 1: 0.0}, "leaves nothing to train on"),
        ({2: 1.0}, "class_weight names 2, which is no class"),
        ([1.0, 2.0], "a factor for each class"),
        ("balance", "'balanced' or a factor"),
    ],
)
def test_weights_that_cannot_be(given: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        _probe([0] * 4 + [1] * 4, class_weight=given)


def test_weights_go_by_the_labels_or_by_their_names() -> None:
    y = [0] * 6 + [1] * 2
    found = [
        _probe(y, class_weight=weight).predict_proba(TEXTS) for weight in ({0: 0.2}, {"0": 0.2}, {np.int64(0): 0.2})
    ]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert not np.allclose(found[0], _probe(y).predict_proba(TEXTS), atol=1e-3)


def test_data_keep_the_labels_values() -> None:
    data = read_data(["a", "b", "c"], [7, 3, 7])
    assert data.values is not None and (data.classes, data.values.tolist()) == (("3", "7"), [3, 7])
    both = join({"train": data, "test": read_data(["d"], [9])})
    assert both.values is not None and both.values.tolist() == [3, 7, 9]
    assert join({"train": data, "test": read_data(["d"], ["9"])}).values is None
    swapped = check_for_training(join({"train": read_data(["a", "b"], [7, 5]), "test": read_data(["c"], [3])}))
    assert swapped.values is not None and (swapped.classes, swapped.values.tolist()) == (("5", "7", "3"), [5, 7, 3])


def test_a_card_whose_values_are_wrong(tmp_path: Path) -> None:
    folder = _probe([0] * 4 + [1] * 4).save(tmp_path / "it")
    path = folder / "modelgraft_adapter.json"
    record = json.loads(path.read_text())
    record.pop("checksum")
    assert record["class_values"] == {"dtype": "int64", "values": [0, 1]}
    for wrong in (
        {"dtype": "object", "values": [0, 1]},
        {"dtype": "int64", "values": [0, 0]},
        {"dtype": "int64", "values": [0]},
        {"dtype": "int8", "values": [0, 1000]},
        {"dtype": "int64", "values": [0, "1"]},
        {"dtype": "bool", "values": [0, 1]},
        {"dtype": "float64", "values": [0.0, None]},
        [0, 1],
    ):
        path.write_text(json.dumps(with_checksum({**record, "class_values": wrong})))
        with pytest.raises(ModelgraftError, match="class_values"):
            FrozenAdapter.load(folder)
    del record["class_values"]  # a card of before
    path.write_text(json.dumps(with_checksum(record)))
    assert FrozenAdapter.load(folder).classes_.tolist() == ["0", "1"]


def test_zero_shot_scores_by_labels_or_by_their_numbers() -> None:
    animals = ZeroShotClassifier(MODEL, ["animal", "vehicle"], templates="{}")
    picture = np.zeros((8, 8, 3), np.uint8)
    (found,) = animals.predict([picture])
    right = ["animal", "vehicle"].index(found)
    assert animals.score([picture], [found]) == animals.score([picture], np.array([right])) == 1.0
    assert animals.score([picture], [1 - right]) == 0.0
    assert animals.score([picture, picture], [right, None]) == 1.0
    for y, match in (
        ([2], "0 to 1"),
        ([-1], "0 to 1"),
        (None, "give y"),
        ("animal", "a list with"),
        ([None], "no item has"),
    ):
        with pytest.raises(UsageError, match=match):
            animals.score([picture], y)
    with pytest.warns(UserWarning, match="none of y"):
        assert animals.score([picture], ["cat"]) == 0.0
    with pytest.raises(UsageError, match="there are labels that are some"):
        ZeroShotClassifier(MODEL, ["1", "2"]).score([picture], [1])
    numbers = ZeroShotClassifier(MODEL, [7, 3])
    assert numbers.classes_.tolist() == [7, 3]
    (one,) = numbers.predict([picture])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers.score([picture], [one]) == 1.0


@pytest.mark.parametrize("label", [None, float("nan"), True, 1.5, b"cat"])
def test_what_is_no_label_of_a_class(label: Any) -> None:
    with pytest.raises(UsageError, match="a label is a text, or a whole number"):
        ZeroShotClassifier(MODEL, ["cat", label])
