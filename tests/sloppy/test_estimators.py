"""Sloppy labels, parameters and models given to the adapters: the right answer, or a line that says what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import FewShotClassifier, FineTuner, KNNClassifier, LinearProbe, ZeroShotClassifier
from sklearn.base import clone

MODEL = "embedded/sprig"
TEXTS = ["a dog", "a cat", "a horse", "a bird", "a car", "a truck", "a ship", "a bus"]
Y = [0] * 4 + [1] * 4
PICTURE = np.zeros((8, 8, 3), np.uint8)


def fit(y: Any = Y, **options: Any) -> LinearProbe:
    return LinearProbe(MODEL, C=1.0, **options).fit(TEXTS, y)


def zero(labels: Any = ("cat", "dog"), **options: Any) -> ZeroShotClassifier:
    return ZeroShotClassifier(MODEL, labels, **options)


def _mutated_labels() -> Any:
    labels = ["cat", "dog"]
    classifier = zero(labels).fit()
    labels.append("bird")
    return classifier.predict_proba([PICTURE]).shape[1], len(classifier.classes_)


def _mutated_weights() -> Any:
    weights = {0: 1.0}
    probe = fit(class_weight=weights)
    weights[0] = 99.0
    return probe.training_record()["class_weight"]


def _mutated_classes() -> Any:
    probe = fit()
    probe.classes_[0] = 7
    return probe.predict(TEXTS[:1]).tolist()


def _eye(y: Any = (0, 1, 0, 1), **options: Any) -> LinearProbe:
    return LinearProbe(C=1.0, **options).fit(np.eye(4), list(y))


RIGHT: dict[str, tuple[Callable[[], Any], Any]] = {
    "labels in a categorical": (lambda: fit(pd.Categorical(["b"] * 4 + ["a"] * 4)).classes_.tolist(), ["a", "b"]),
    "a series with another index": (lambda: fit(pd.Series(Y, index=range(8, 0, -1))).predict(TEXTS).tolist(), Y),
    "a table of one column": (lambda: fit(pd.DataFrame({"y": Y})).classes_.tolist(), [0, 1]),
    "a masked label": (lambda: fit(np.ma.array(Y, mask=[1] + [0] * 7)).trained_on_["items"], 7),
    "minus zero": (lambda: fit([0.0] * 3 + [-0.0] + [1.0] * 4).classes_.tolist(), [0.0, 1.0]),
    "int and float": (lambda: fit([0, 0.0, 0, 0, 1, 1.0, 1, 1]).classes_.tolist(), [0.0, 1.0]),
    "uint64 beyond int64": (
        lambda: fit(np.array([2**63] * 4 + [2**63 + 1] * 4, np.uint64)).predict(TEXTS)[-1],
        2**63 + 1,
    ),
    "decimals are said": (
        lambda: any("Decimal: answers are" in n for n in fit([Decimal(1)] * 4 + [Decimal(2)] * 4).notes_),
        True,
    ),
    "integers beyond int64 are said": (
        lambda: any("answers are" in n for n in fit([2**70] * 4 + [2**71] * 4).notes_),
        True,
    ),
    "truth values among integers are said": (
        lambda: any("bool, int" in n for n in fit([True, 1, 1, 1, 0, 0, 0, False]).notes_),
        True,
    ),
    "labels added to the list afterwards": (_mutated_labels, (3, 3)),
    "weights changed after the fit": (_mutated_weights, {0: 1.0}),
    "classes_ written to": (_mutated_classes, [0]),
    "a text that is missing": (lambda: fit().predict([None, "a dog"]).tolist(), [None, 0]),
    "a threshold beyond 1": (lambda: [row.label for row in fit().classify(TEXTS[:2], threshold=2)], [None, None]),
    "features of integers": (lambda: _eye().predict(np.eye(4, dtype=int)).tolist(), [0, 1, 0, 1]),
    "features row by row": (lambda: [row.label for row in _eye().classify(np.eye(4))], ["0", "1", "0", "1"]),
    "features without some labels": (lambda: _eye([0, 1, None, 1]).trained_on_["items"], 3),
    "labels in an array": (lambda: zero(np.array(["cat", "dog"])).classes_.tolist(), ["cat", "dog"]),
    "more folds than items": (lambda: fit(n_folds=100).predict(TEXTS).tolist(), Y),
    "a clone of a fitted one": (lambda: clone(fit()).head_, None),
    "more neighbours than items": (lambda: len(KNNClassifier(MODEL, k=100).fit(TEXTS, Y).predict(TEXTS)), 8),
}

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "labels in a dict": (lambda: fit(dict(enumerate(Y))), "in a list"),
    "labels in a set": (lambda: fit({0, 1}), "in a list"),
    "labels in a string": (lambda: fit("00001111"), "in a list"),
    "labels from a generator": (lambda: fit(iter(Y)), "in a list"),
    "one label less": (lambda: fit(Y[:-1]), "8 items and 7 labels"),
    "a parameter mistyped": (lambda: LinearProbe(MODEL).set_params(devcie="cpu").fit(TEXTS, Y), "no setting 'devcie'"),
    "a method mistyped": (lambda: FewShotClassifier(MODEL, method="clip"), "there are: clap"),  # type: ignore[arg-type]
    "a model that is a number": (lambda: LinearProbe(5).fit(TEXTS, Y), "model=5: the name of a model"),
    "a zero-shot model that is a number": (lambda: ZeroShotClassifier(5, ["a"]), "model=5"),  # type: ignore[arg-type]
    "a path with no model": (lambda: LinearProbe(Path("/nowhere")).fit(TEXTS, Y), "nowhere"),
    "a tuner without a model": (
        lambda: FineTuner(None).fit(np.eye(4), [0, 1, 0, 1]),
        "model is NoneType; fine-tuning takes",
    ),
    "class names in a set": (lambda: zero({"cat", "dog"}), "not a set"),
    "class names in a dict": (lambda: zero({"cat": 1, "dog": 2}), "not a dict"),
    "class names from a generator": (lambda: zero(iter(["cat"])), "not a list_iterator"),
    "a class twice, as number and text": (lambda: zero([1, "1"]), "given twice: 1"),
    "numbers for texts": (lambda: fit().predict([1, 2]), "is a int, not a text"),
    "lists for texts": (lambda: fit().predict([["a dog"]]), "is a list, not a text"),
    "pictures for texts": (lambda: fit().predict([PICTURE]), "is a ndarray, not a text"),
    "a number of folds as text": (lambda: LinearProbe(MODEL, n_folds="5"), "n_folds='5'"),  # type: ignore[arg-type]
    "a seed too large": (lambda: fit(seed=2**40), "a whole number from 0"),
}
VALUE_ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "features with NaN": (lambda: LinearProbe().fit([[0, np.nan], [1, 1]], [0, 1]), "NaN"),
    "features beyond float32": (lambda: LinearProbe().fit([[0, 1e39], [1, 1]], [0, 1]), "too large"),
    "features of another width": (lambda: _eye().predict(np.eye(3)), "expecting 4 features"),
    "columns in another order": (
        lambda: (
            LinearProbe(C=1.0)
            .fit(pd.DataFrame(np.eye(4), columns=list("abcd")), [0, 1, 0, 1])
            .predict(pd.DataFrame(np.eye(4), columns=list("dcba")))
        ),
        "same order",
    ),
    "numbers to predict": (lambda: LinearProbe().fit(np.eye(30), np.linspace(0, 1, 30)), "continuous"),
    "features of one item": (lambda: LinearProbe().fit([[1.0, 2.0]], [0]), "1 sample"),
}


@pytest.mark.parametrize("what", RIGHT)
def test_right(what: str) -> None:
    make, expected = RIGHT[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert make() == expected


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    make, match = REFUSED[what]
    with pytest.raises(Exception, match=match) as told:
        make()
    assert "\n" not in str(told.value) and type(told.value).__module__.startswith("modelgraft"), repr(told.value)
    assert isinstance(told.value, UsageError) or what == "a path with no model"


@pytest.mark.parametrize("what", VALUE_ERRORS)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_as_scikit_learn_refuses(what: str) -> None:
    make, match = VALUE_ERRORS[what]
    with pytest.raises(ValueError, match=match):
        make()
