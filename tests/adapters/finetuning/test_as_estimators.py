"""The tuners as estimators of scikit-learn: every setting is a parameter, searches and pipelines, copies of what was fitted."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter, MultiTaskTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.finetuning.weight_averaging import move
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from tests.adapters.finetuning.backbones import Pictures, Texts
from tests.adapters.finetuning.test_refitting import noise

TEXTS = ["a dog", "a car", "a big cat", "a truck", "some bird", "the ship"] * 4
LABELS = ["animal", "vehicle"] * 12
SHORT: dict[str, Any] = {"steps": 3, "batch_size": 8, "lr": 1e-2}


@pytest.mark.parametrize("kind", [FineTuner, MultiTaskTuner])
def test_every_setting_is_a_parameter(kind: Any, tmp_path: Path) -> None:
    """With its default; as it was given; by the same object in a clone where it is no plain value."""
    plain = kind("embedded/sprig")
    defaults = {name: value for name, value in vars_of(Settings()).items() if name != "strategy"}
    assert {name: plain.get_params()[name] for name in defaults} == defaults
    told: list[Any] = []
    one = kind("embedded/sprig", "full", lr=np.float64(0.5), steps=np.int64(2), folder=str(tmp_path), tell=told.append)
    params = one.get_params()
    assert params["lr"] == 0.5 and type(params["steps"]) is np.int64 and params["folder"] == str(tmp_path)
    other = clone(one)
    assert other.get_params() == params and other.tell == one.tell
    assert clone(other.set_params(layer_decay=0.5)).tuning.layer_decay == 0.5
    assert repr(plain) == f"{kind.__name__}(model='embedded/sprig')" and "layer_decay=0.5" in repr(other)
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rate'"):
        one.set_params(learning_rate=0.1)
    with pytest.raises(UsageError, match="no setting 'learning_rate' of fine-tuning; there are: "):
        kind("embedded/sprig", learning_rate=0.1)
    with pytest.raises(UsageError, match="lr must be above 0"):
        one.set_params(lr=-1.0).fit(TEXTS, {"k": LABELS} if kind is MultiTaskTuner else LABELS)


def vars_of(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_fit_leaves_parameters_alone(tmp_path: Path) -> None:
    for kind, labels in ((FineTuner, LABELS), (MultiTaskTuner, {"k": LABELS, "l": LABELS[::-1]})):
        tuner: Any = kind(Texts(), "full", folder=tmp_path / kind.__name__, seed=None, wise=0.5, **SHORT)
        before = tuner.get_params()
        tuner.fit(TEXTS, labels)
        assert all(tuner.get_params()[name] is value for name, value in before.items())


@pytest.mark.full
def test_searches_and_pipelines() -> None:
    tuner = FineTuner(Texts(), "full", **SHORT)
    assert len(cross_val_score(tuner, TEXTS, LABELS, cv=3)) == 3
    search = GridSearchCV(tuner, {"lr": [1e-4, 1e-1], "strategy": ["full", "lp-ft"]}, cv=2, error_score="raise")
    search.fit(TEXTS, LABELS)
    assert set(search.best_params_) == {"lr", "strategy"} and len(search.cv_results_["params"]) == 4
    assert list(search.predict(TEXTS[:2])) == list(search.best_estimator_.predict(TEXTS[:2]))
    line = make_pipeline("passthrough", tuner).fit(TEXTS, LABELS)
    assert len(line.predict(TEXTS[:3])) == 3 and line[-1] is tuner
    assert 0 <= line.score(TEXTS, LABELS) <= 1


def _by_joblib(one: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(one, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.full
@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, _by_joblib])
def test_copies_of_what_was_fitted(copied: Any, tmp_path: Path) -> None:
    """They predict, are evaluated and are saved as the one they were made of, without its training items or its callback."""
    pictures, labels = noise(16)
    model = Pictures()
    tuner = FineTuner(model, "lp-ft", tell=lambda now: None, norms="train", **SHORT).fit(pictures, labels)
    measured = tuner.evaluate(*noise(8, 1))
    again = copied(tuner)
    np.testing.assert_array_equal(again.predict_proba(pictures), tuner.predict_proba(pictures))
    assert list(again.classes_) == list(tuner.classes_) and again.evaluation_.score == measured.score
    one, other = tuner.save(tmp_path / "one"), again.save(tmp_path / "other")
    for name in ("modelgraft_adapter.json", "head.safetensors", "backbone.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    loaded = FrozenAdapter.load(other, model=model)
    np.testing.assert_array_equal(loaded.predict_proba(pictures), tuner.predict_proba(pictures))
    with pytest.raises(UsageError, match="only a tuner that was fitted here knows where it began"):
        move(again, 0.5)
    assert again._data is None and again.run_ is None and tuner.run_ is not None  # the one it was made of stays whole
    assert copied(clone(tuner)).get_params().keys() == tuner.get_params().keys()


def test_copies_of_several_tasks() -> None:
    pictures, labels = noise(16)
    tuner = MultiTaskTuner(Pictures(), "full", **SHORT).fit(pictures, {"one": labels, "other": labels[::-1]})
    again = pickle.loads(pickle.dumps(tuner))
    assert len({id(one.extractor.backbone) for one in again.adapters_.values()}) == 1
    for name, one in tuner.adapters_.items():
        np.testing.assert_array_equal(again.adapters_[name].predict_proba(pictures), one.predict_proba(pictures))


def test_a_real_model_by_name(train: Dataset, test: Dataset) -> None:
    tuner = FineTuner("embedded/sprig", "lora", rank=2, steps=2, batch_size=8).fit(train)
    again = pickle.loads(pickle.dumps(tuner))
    np.testing.assert_array_equal(again.predict_proba(test), tuner.predict_proba(test))
    assert torch.equal(again.head_.state()[0]["weight"], tuner.head_.state()[0]["weight"])  # type: ignore[union-attr]
