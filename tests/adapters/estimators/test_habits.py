"""Estimators: parameters stay as they were given, a fit is taken over whole or not at all, and a second one begins anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import (
    FewShotClassifier,
    FineTuner,
    FrozenAdapter,
    KNNClassifier,
    LinearProbe,
    MultiTaskTuner,
    PrototypeClassifier,
    SemiSupervisedClassifier,
)
from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.estimators.habits import Estimator, anew
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

MODEL = "embedded/sprig"
TEXTS = ["a dog", "a cat", "a horse", "a bird", "a car", "a truck", "a ship", "a bus"]
LABELS = ["animal"] * 4 + ["vehicle"] * 4

EVERY = [
    FrozenAdapter(MODEL, "knn", k=2, n_folds=3, class_weight={"animal": 2.0}),
    LinearProbe(MODEL, C=1.0, modality="text", seed=3),
    KNNClassifier(MODEL, k=2, store=False),
    PrototypeClassifier(MODEL, temperature=0.5),
    FewShotClassifier(MODEL, method="tip-adapter", alpha=1.0),
    SemiSupervisedClassifier(MODEL),
    FineTuner(MODEL, "full", steps=2, lr=1e-4, folder="run"),
    MultiTaskTuner(MODEL, "full", steps=2, weights=None),
]


@pytest.mark.parametrize("estimator", EVERY, ids=lambda one: type(one).__name__)
def test_parameters(estimator: Any) -> None:
    params = estimator.get_params()
    again = type(estimator)(**params)
    assert again.get_params() == clone(estimator).get_params() == params
    assert params["model"] is clone(estimator).get_params()["model"]
    for name, value in params.items():
        assert estimator.set_params(**{name: value}) is estimator
    assert estimator.get_params() == params
    assert type(estimator).__name__ in repr(estimator)
    assert clone(estimator).set_params(seed=7).get_params()["seed"] == 7
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)


def test_settings_are_parameters() -> None:
    probe = FrozenAdapter(MODEL, "knn").set_params(k=3, temperature=0.2, n_folds=4)
    assert (probe.settings, probe.n_folds) == ({"k": 3, "temperature": 0.2}, 4)
    assert clone(probe).settings == probe.settings
    assert FineTuner(MODEL).set_params(strategy="full", epochs=3).tuning.epochs == 3
    assert FewShotClassifier(MODEL).set_params(method="tip-adapter").head_name == "tip-adapter"
    assert LinearProbe(MODEL).set_params(C=2.0).settings == {"C": 2.0}


def test_a_fit_leaves_the_parameters() -> None:
    probe = LinearProbe(MODEL, seed=None, class_weight="balanced")
    before = probe.get_params()
    probe.fit(TEXTS, LABELS)
    assert probe.get_params() == before
    check_is_fitted(probe)
    assert isinstance(probe.record_["seed"], int)


def test_a_fit_that_fails_leaves_the_old_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = LinearProbe(MODEL).fit(TEXTS, LABELS)
    before = dict(vars(probe))
    others = ["one", "two", "three", "one"] * 2

    def broken(*_: Any) -> None:
        raise ModelgraftError("the head broke")

    with monkeypatch.context() as patch:
        patch.setattr(head_calls, "fit_head", broken)
        with pytest.raises(ModelgraftError, match="broke"):
            probe.fit(TEXTS, others)
        assert vars(probe) == before
        assert probe.predict(TEXTS).tolist() == LABELS
        # That it matters: without a twin the old head answers with the new classes.
        patch.setattr(LinearProbe, "_twin", lambda self: self)
        with pytest.raises(ModelgraftError, match="broke"):
            probe.fit(TEXTS, others)
        assert probe.classes == ("one", "three", "two")


def test_a_second_fit_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [LABELS[-1 - n] for n in range(len(LABELS))]

    def card(probe: LinearProbe, folder: str) -> str:
        probe.fit(TEXTS, LABELS)
        assert probe.evaluate(TEXTS, LABELS).score.value == 1.0
        probe.set_params(seed=5).fit(TEXTS, wrong)
        return (probe.save(tmp_path / folder) / "README.md").read_text()

    probe = LinearProbe(MODEL)
    assert "1.000" not in card(probe, "anew")
    assert probe.evaluation_ is None
    assert (probe.record_["seed"], probe.set_params(seed=9).training_record()["seed"]) == (5, 5)
    # That it matters: without a twin the page states the accuracy of the fit before.
    monkeypatch.setattr(LinearProbe, "_twin", lambda self: self)
    assert "1.000" in card(LinearProbe(MODEL), "kept")


def test_other_modalities_after_each_other() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    probe = LinearProbe(MODEL, store=False).fit(TEXTS, LABELS)
    probe.fit([picture, picture + 200, picture + 10, picture + 220], ["dark", "bright"] * 2)
    assert probe.extractor.modality == "image"
    assert probe.predict([picture]).tolist() == ["dark"]


def test_what_a_twin_is() -> None:
    class Counting(Estimator):
        _resources = ("made",)

        def __init__(self, step: int = 1) -> None:
            self.step = step

        @anew
        def fit(self, X: Any) -> None:
            assert not hasattr(self, "count_") and self.made == "dear"
            self.step = 100  # a parameter of the twin is the twin's own
            self.count_ = len(X)
            if not X:
                raise UsageError("nothing")

    one = Counting(step=2)
    one.made = "dear"  # type: ignore[attr-defined]
    assert one.fit([1, 2]) is one and (one.step, one.count_) == (2, 2)  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        one.fit([])
    assert (one.step, one.count_) == (2, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"n_folds": 2.5}, "n_folds=2.5"),
        ({"n_folds": 1}, "n_folds=1"),
        ({"n_folds": True}, "n_folds=True"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"seed": True}, "seed=True"),
        ({"head": "lineal"}, "no installed plugin brings a head 'lineal'"),
    ],
)
def test_parameters_that_cannot_be(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        FrozenAdapter(MODEL).set_params(**wrong).fit(TEXTS, LABELS)
