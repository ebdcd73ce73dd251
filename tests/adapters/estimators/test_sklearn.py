"""The adapters in scikit-learn's hands: its own checks on feature matrices, its tools on items, pickles."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from modelgraft import load
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter, KNNClassifier, LinearProbe, ZeroShotClassifier
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

MODEL = "embedded/sprig"
TEXTS = [
    f"{word} {n}"
    for n in range(3)
    for word in ("a dog", "a cat", "a horse", "a bird", "a car", "a truck", "a ship", "a bus")
]
LABELS = [0, 0, 0, 0, 1, 1, 1, 1] * 3


def exceptions(estimator: Any) -> dict[str, str]:
    """Checks of scikit-learn that an adapter does not pass, and why."""
    found = {}
    if isinstance(estimator, KNNClassifier):
        found["check_class_weight_classifiers"] = (
            "weights are of the votes of k neighbours: where no neighbour is of a class, no weight makes it the answer"
        )
    return found


@pytest.mark.full
@parametrize_with_checks([LinearProbe(C=1.0), KNNClassifier(k=3)], expected_failed_checks=exceptions)
def test_what_scikit_learn_asks_of_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_matrix_of_features_as_scikit_learn_has_it() -> None:
    X, y = make_blobs(200, 8, centers=4, cluster_std=4.0, random_state=0)
    probe = LinearProbe(C=1.0).fit(X, y)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(X, y)
    assert np.abs(probe.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-4
    assert probe.n_features_in_ == 8 and probe.classes_.tolist() == [0, 1, 2, 3]
    assert probe.score(X, y) == pytest.approx(theirs.score(X, y), abs=0.011)
    assert [row.label for row in probe.classify(X[:2])] == [str(label) for label in probe.predict(X[:2])]
    piped = make_pipeline(StandardScaler(), KNNClassifier())
    search = GridSearchCV(piped, {"knnclassifier__k": [1, 15]}, cv=3).fit(X, y)
    assert search.best_params_ == {"knnclassifier__k": 15}
    many = np.stack([y == 0, y < 2], axis=1)
    assert LinearProbe(C=1.0).fit(X, many).predict(X).shape == (200, 2)


def test_without_a_model_items_are_no_features(tmp_path: Path) -> None:
    X, y = make_blobs(20, 4, centers=2, random_state=0)
    probe = LinearProbe(C=1.0).fit(X, y)
    for use, match in (
        (lambda: probe.save(tmp_path / "it"), "pickle it, or train one with a model"),
        (lambda: probe.entry, "has no model"),
        (lambda: FrozenAdapter(head="text").fit(X, y), "give the adapter a model with a text tower"),
        (lambda: LinearProbe(MODEL).fit(X, y), "reads as features"),
    ):
        with pytest.raises(UsageError, match=match):
            use()
    with pytest.raises(ValueError):
        LinearProbe().fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    arrays = [(rng.integers(0, 90, (32, 32, 3)) + (150 if n % 2 else 0)).astype(np.uint8) for n in range(24)]
    images = [Image.fromarray(array) for array in arrays]
    for n, image in enumerate(images):
        image.save(folder / f"{n}.png")
    return {
        "arrays": arrays,
        "pictures": images,
        "paths": [str(folder / f"{n}.png") for n in range(24)],
        "texts": TEXTS,
    }


@pytest.mark.full
@pytest.mark.parametrize("kind", ["paths", "arrays", "pictures", "texts"])
def test_its_tools_on_items(kind: str, pictures: dict[str, list[Any]]) -> None:
    items, y = pictures[kind], LABELS if kind == "texts" else [0, 1] * 12
    probe = LinearProbe(MODEL, C=1.0)
    assert is_classifier(probe)
    assert cross_val_score(probe, items, y, cv=3).min() > 0.8
    assert probe.head_ is None
    assert (cross_val_predict(clone(probe), items, y, cv=3) == y).mean() > 0.8
    found = cross_val_predict(probe, items, y, cv=3, method="predict_proba")
    assert found.shape == (24, 2) and ((found.argmax(axis=1)) == y).mean() > 0.8
    search = GridSearchCV(KNNClassifier(MODEL), {"k": [1, 3]}, cv=2, scoring="neg_log_loss").fit(items, y)
    assert search.best_estimator_.settings["k"] in (1, 3) and not np.isnan(search.best_score_)
    piped = make_pipeline(FunctionTransformer(), LinearProbe(MODEL, C=1.0)).fit(items, y)
    assert (piped.predict(items) == y).mean() > 0.8
    again = joblib.load(_dumped(piped))
    assert np.array_equal(again.predict_proba(items), piped.predict_proba(items))


def _dumped(value: Any) -> io.BytesIO:
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return file


@pytest.mark.full
def test_pickles(tmp_path: Path) -> None:
    probe = LinearProbe(MODEL, C=1.0, class_weight={0: 2.0}).fit(TEXTS, LABELS)
    expected = probe.predict_proba(TEXTS)
    content = pickle.dumps(probe)
    assert len(content) < 100_000, "the backbone goes by its name"
    for again in (pickle.loads(content), copy.deepcopy(probe), copy.copy(probe)):
        assert again.get_params() == probe.get_params()
        assert np.array_equal(again.predict_proba(TEXTS), expected)
        assert again.predict(TEXTS).tolist() == probe.predict(TEXTS).tolist()
        assert again.trained_on_["sha256"] and again.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1.0
    given = LinearProbe(load(MODEL), C=1.0, store=False, modality="text").fit(TEXTS, LABELS)
    by_value = pickle.dumps(given)
    assert len(by_value) > 1_000_000
    assert np.abs(pickle.loads(by_value).predict_proba(TEXTS) - given.predict_proba(TEXTS)).max() < 1e-6
    zero = ZeroShotClassifier(MODEL, ["dark", "bright"]).fit()
    assert len(pickle.dumps(zero)) < 10_000
    picture = [np.zeros((8, 8, 3), np.uint8)]
    assert np.array_equal(pickle.loads(pickle.dumps(zero)).predict_proba(picture), zero.predict_proba(picture))
    # In a process of its own.
    (tmp_path / "it.pickle").write_bytes(content)
    code = (
        f"import pickle; it = pickle.load(open({str(tmp_path / 'it.pickle')!r}, 'rb')); "
        f"print(it.predict_proba({TEXTS[:4]!r}).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert np.array_equal(np.array(eval(out), np.float32), expected[:4])


def test_a_tuned_backbone_is_pickled_by_value(pictures: dict[str, list[Any]]) -> None:
    tuner = FineTuner(MODEL, "last-1", steps=2, batch_size=8).fit(pictures["arrays"], [0, 1] * 12)
    again = pickle.loads(pickle.dumps(tuner))
    items = pictures["arrays"][:6]
    assert np.abs(again.predict_proba(items) - tuner.predict_proba(items)).max() < 1e-6
    assert again.get_params() == tuner.get_params() and again.classes_.tolist() == [0, 1]


def test_a_backbone_that_cannot_be_pickled_is_said() -> None:
    backbone = load(MODEL)
    backbone.kept = lambda: None  # type: ignore[attr-defined]
    for adapter in (LinearProbe(backbone), ZeroShotClassifier(backbone, ["a", "b"])):
        with pytest.raises(ModelgraftError, match=r"cannot be pickled: .*; give the adapter the model's name"):
            pickle.dumps(adapter)


def test_a_pickle_with_other_weights_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model by name can be another one where the pickle is read."""
    probe = LinearProbe(MODEL, C=1.0).fit(TEXTS, LABELS)
    probe.extractor.card["weights"] = "0" * 64
    content = pickle.dumps(probe)
    with pytest.raises(ModelgraftError, match="made with other weights of embedded/sprig"):
        pickle.loads(content)
