"""Sloppy labels, parameters and models given to the adapters: the right answer, or a line that says what is wrong."""

from __future__ import annotations

import pickle
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
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

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


X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
SIGNS = np.where(X[:, 0] > 0, "b", "a")


def _of(x: Any = X, y: Any = SIGNS, **options: Any) -> LinearProbe:
    return LinearProbe(**{"C": 1.0, **options}).fit(x, y)


def _same(one: LinearProbe, x: Any = X) -> bool:
    return one.predict(x).tolist() == _of().predict(X).tolist()


def _set_after() -> Any:
    probe = _of()
    probe.set_params(C=1e-4)
    kept = np.array_equal(probe.predict_proba(X), _of().predict_proba(X))
    return kept, np.array_equal(probe.fit(X, SIGNS).predict_proba(X), _of(C=1e-4).predict_proba(X))


def _searched() -> Any:
    search = GridSearchCV(LinearProbe(), {"C": np.logspace(-4, 0, 3, dtype=np.float32)}, cv=3).fit(X, SIGNS)
    again = pickle.loads(pickle.dumps(search))
    return search.best_params_["C"], again.predict(X).tolist() == search.predict(X).tolist(), again.classes_.tolist()


def _failed_refit() -> bool:
    probe = _of()
    with pytest.raises(ValueError, match="two classes are needed"):
        probe.fit(X, ["a"] * 40)
    return _same(probe)


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
    "parameters set after a fit, and fitted again": (_set_after, (True, True)),
    "a search over C of float32, pickled": (_searched, (1.0, True, ["a", "b"])),
    "a fit that fails leaves the one before": (_failed_refit, True),
    "answers of folds are texts": (lambda: cross_val_predict(LinearProbe(C=1.0), X, SIGNS, cv=3).dtype.kind, "U"),
    "a column (n, 1) of features' labels": (lambda: _of(y=SIGNS[:, None]).predict(X).shape, (40,)),
    "features' labels with an index of their own": (
        lambda: _same(_of(y=pd.Series(SIGNS, index=range(90, 50, -1)))),
        True,
    ),
    "features in a table of objects": (lambda: _same(_of(pd.DataFrame(X).astype(object))), True),
    "features in a list": (lambda: _same(_of(X.tolist())), True),
    "features in float64, predicted in float32": (lambda: _same(_of(X.astype(float))), True),
    "features in half precision": (lambda: _of(X.astype(np.float16)).predict(X.astype(np.float16)).shape, (40,)),
    "a view with other strides": (lambda: _same(_of(np.asfortranarray(X)[::-1][::-1])), True),
    "truth values for features' labels": (lambda: _of(y=X[:, 0] > 0).predict(X).dtype.kind, "b"),
    "classes in the order of numpy.unique": (lambda: _of(y=np.where(X[:, 0] > 0, 9, 10)).classes_.tolist(), [9, 10]),
    "classes of texts in the same": (lambda: _of(y=np.where(X[:, 0] > 0, "9", "10")).classes_.tolist(), ["10", "9"]),
    "refitted on other features": (lambda: _of().fit(X[:, :2], SIGNS).predict(X[:, :2]).shape, (40,)),
    "dates for labels are said": (
        lambda: any("answers are their names" in n for n in _of(y=np.array([1, 2] * 20, "datetime64[D]")).notes_),
        True,
    ),
    "items from a generator": (lambda: fit().predict(text for text in TEXTS).tolist(), Y),
    "items in a table's column": (lambda: fit().predict(pd.Series(TEXTS, index=range(8, 0, -1))).tolist(), Y),
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
    "a class twice, as number and text": (lambda: zero([1, "1"]), "given twice: '1'"),
    "numbers for texts": (lambda: fit().predict([1, 2]), "is a int, not a text"),
    "lists for texts": (lambda: fit().predict([["a dog"]]), "is a list, not a text"),
    "images for texts": (lambda: fit().predict([PICTURE]), "is a ndarray, not a text"),
    "a number of folds as text": (lambda: LinearProbe(MODEL, n_folds="5"), "n_folds='5'"),  # type: ignore[arg-type]
    "masked features": (lambda: _of(np.ma.array(X, mask=X > 1)), "X has masked numbers"),
    "masked features to predict": (lambda: _of().predict(np.ma.array(X, mask=X > 1)), "X has masked numbers"),
    "no items to predict": (lambda: fit().predict([]), "no items"),
    "asked before the fit": (lambda: LinearProbe().predict(X), "is not fitted yet"),
    "scikit-learn's name for the seed": (lambda: _of(random_state=0), "no setting 'random_state'"),
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
    "features fewer than trained on": (lambda: _of().predict(X[:, :2]), "X has 2 features"),
    "a table with a column more": (
        lambda: _of(pd.DataFrame(X, columns=list("abc"))).predict(pd.DataFrame(X, columns=list("abc")).assign(d=1.0)),
        "unseen at fit time",
    ),
    "no features to predict": (lambda: _of().predict(X[:0]), r"0 sample\(s\)"),
    "one row not in a list": (lambda: _of().predict(X[0]), "Expected 2D array"),
    "missing values of pandas": (lambda: _of(pd.DataFrame(X).astype("Float64").mask(X > 1)), "NaN"),
    "labels in a row": (lambda: _of(y=SIGNS[None]), "inconsistent numbers of samples"),
    "features of one item": (lambda: LinearProbe().fit([[1.0, 2.0]], [0]), "1 sample"),
}


NOT_TAKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "weights of items": (lambda: LinearProbe(C=1.0).fit(X, SIGNS, sample_weight=np.ones(40)), "sample_weight"),  # type: ignore[call-arg]
    "weights of items to score": (lambda: _of().score(X, SIGNS, sample_weight=np.ones(40)), "sample_weight"),  # type: ignore[call-arg]
    "a sparse matrix": (lambda: _of(csr_matrix(X)), "Sparse data was passed"),
    "a sparse matrix to predict": (lambda: _of().predict(csr_matrix(X)), "Sparse data was passed"),
    "labels in bytes": (lambda: _of(y=SIGNS.astype("S")), "bytes is not supported"),
}


@pytest.mark.parametrize("what", NOT_TAKEN)
def test_what_is_not_taken_is_no_silence(what: str) -> None:
    make, match = NOT_TAKEN[what]
    with pytest.raises(TypeError, match=match):
        make()


@pytest.mark.full
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
