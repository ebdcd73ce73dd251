"""`DomainAdapter`: its methods, its choice, what it refuses, and that what it saves is an adapter like all others."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import modelgraft
import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import DomainAdapter, FrozenAdapter, LinearProbe, read_data
from modelgraft_adapters.alignment.moments import coral, mean_shift
from modelgraft_adapters.alignment.naming import CANDIDATES, METHODS, SETTINGS
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.reverse_validation import Seen, choose, kappa, votes_of_neighbours
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import cohen_kappa_score

MODEL = "embedded/sprig"


def _moved(seed: int = 0, count: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three classes, and the same three stretched and moved so that a head of the source is wrong on many."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(3, 6)) * 3
    y, labels = np.arange(count) % 3, rng.integers(0, 3, count)
    source = rng.normal(size=(count, 6)) + centres[y]
    target = (rng.normal(size=(count, 6)) + centres[labels]) * [2, 1, 1, 0.5, 1, 3] + 6
    return source, np.array(["a", "b", "c"])[y], target, np.array(["a", "b", "c"])[labels]


@pytest.mark.parametrize(("method", "map"), [("mean-shift", mean_shift), ("coral", coral)])
def test_a_map_is_a_probe_on_the_mapped_source(method: str, map) -> None:
    source, y, target, _ = _moved()
    source, target = source.astype(np.float32), target.astype(np.float32)
    adapter = DomainAdapter(method=method, C=0.5).fit(source, y, target)
    probe = LinearProbe(C=0.5).fit(map(source, target), y)
    assert np.abs(adapter.predict_proba(target) - probe.predict_proba(target)).max() < 1e-5
    assert adapter.method_ == method and adapter.head_name == "linear"


@pytest.mark.parametrize("method", [one for one in METHODS if one not in ("source-only", "importance")])
def test_moving_helps_where_the_domain_was_moved(method: str) -> None:
    source, y, target, truth = _moved()
    plain = DomainAdapter(method="source-only", C=1.0).fit(source, y, target).score(target, truth)
    assert DomainAdapter(method=method, C=1.0).fit(source, y, target).score(target, truth) > plain + 0.1


def test_source_only_is_the_probe() -> None:
    source, y, target, _ = _moved()
    adapter = DomainAdapter(method="source-only", C=1.0).fit(source, y, target)
    assert np.array_equal(adapter.predict_proba(target), LinearProbe(C=1.0).fit(source, y).predict_proba(target))
    assert adapter.trained_on_["unlabelled"] == 0


def test_importance_weighs_the_source_as_the_target() -> None:
    """A straight line fitted to a bent one: right where the target is, wrong elsewhere (Shimodaira 2000)."""
    rng = np.random.default_rng(0)

    def label(x: np.ndarray) -> np.ndarray:
        return np.where((x[:, 0] > 0) ^ (x[:, 1] > 1), "yes", "no")

    source, target = rng.normal(size=(800, 2)) * [1, 1.5], rng.normal(size=(800, 2)) * [1, 0.4] + [0, 2.2]
    plain = DomainAdapter(method="source-only", C=1.0).fit(source, label(source), target)
    weighed = DomainAdapter(method="importance", C=1.0).fit(source, label(source), target)
    assert weighed.score(target, label(target)) > plain.score(target, label(target)) + 0.1
    assert 10 < weighed.report_["adaptation"]["effective_items"] < 800
    assert 0.5 < weighed.report_["adaptation"]["separable"] < 1


@pytest.mark.full
def test_auto_takes_what_helps_and_keeps_what_it_tried() -> None:
    source, y, target, truth = _moved()
    adapter = DomainAdapter().fit(source, y, target)
    tried = adapter.candidates()
    assert set(tried) == set(CANDIDATES)
    assert adapter.method_ != "source-only"
    assert adapter.score(target, truth) > tried["source-only"].score(target, truth) + 0.1
    assert np.array_equal(adapter.predict_proba(target), tried[adapter.method_].predict_proba(target))
    assert set(adapter.report_["adaptation"]["chosen_by"]["measures"]) == set(CANDIDATES)
    json.dumps(adapter.report_)


@pytest.mark.full
def test_auto_does_nothing_where_there_is_nothing_to_do() -> None:
    """Both halves of one domain: no method is better beyond chance."""
    source, y, _, _ = _moved(1, 300)
    adapter = DomainAdapter(C=1.0).fit(source[:150], y[:150], source[150:])
    assert adapter.method_ == "source-only"
    assert "not adapted (source-only)" in adapter.notes_[0]


def test_it_is_an_estimator() -> None:
    source, y, target, _ = _moved()
    adapter = DomainAdapter(method="coral", C=0.5, shrinkage=0.2, seed=3)
    params = adapter.get_params()
    assert {*SETTINGS, "method", "model", "n_folds"} <= set(params) and "head" not in params
    assert clone(adapter).get_params() == params
    fitted = adapter.fit(source, y, target)
    assert fitted is adapter and adapter.classes_.tolist() == ["a", "b", "c"] and adapter.n_features_in_ == 6
    again = pickle.loads(pickle.dumps(adapter))
    assert np.array_equal(again.predict_proba(target), adapter.predict_proba(target))
    before = adapter.predict_proba(target)
    with pytest.raises(UsageError):
        adapter.fit(source, y, target[:2])
    assert np.array_equal(adapter.predict_proba(target), before), "a fit that fails leaves what was trained"


def test_numbers_stay_the_classes() -> None:
    source, y, target, _ = _moved()
    adapter = DomainAdapter(method="mean-shift", C=1.0).fit(source, np.searchsorted(["a", "b", "c"], y) + 5, target)
    assert adapter.classes_.tolist() == [5, 6, 7] and adapter.predict(target).dtype.kind == "i"


def test_what_cannot_be_is_refused() -> None:
    source, y, target, _ = _moved()
    broken = target.copy()
    broken[3, 1] = np.nan
    for call, said in (
        (lambda: DomainAdapter(method="corral"), "no way of adapting 'corral'"),
        (lambda: DomainAdapter().fit(source, y), "no items of the target"),
        (lambda: DomainAdapter().fit(source, y, []), "no items of the target"),
        (lambda: DomainAdapter().fit(source, None, target), "the labels"),
        (lambda: DomainAdapter().fit(source, y, target[:3]), "the target has 3 readable items"),
        (lambda: DomainAdapter().fit(source[:3], y[:3], target), "the source has 3 readable items"),
        (lambda: DomainAdapter().fit(source, ["a"] * len(y), target), "one class|two classes"),
        (lambda: DomainAdapter().fit(source, y, broken), "NaN"),
        (lambda: DomainAdapter().fit(source, y, target[:, :4]), "features"),
        (lambda: DomainAdapter().fit(source, np.eye(3)[np.arange(len(y)) % 3], target), "multi-label"),
        (lambda: DomainAdapter(method="coral", shrinkage=2).fit(source, y, target), "shrinkage"),
        (lambda: DomainAdapter(method="subspace", dimension=99).fit(source, y, target), "dimension"),
        (lambda: DomainAdapter(method="importance", clip=0).fit(source, y, target), "clip"),
    ):
        with pytest.raises((UsageError, ValueError), match=said):
            call()


@pytest.mark.full
def test_a_target_of_one_class_is_adapted_to_with_care() -> None:
    """Moving the source's mean onto it would spread it over all classes; the choice must not believe that."""
    source, y, _, _ = _moved(0, 300)
    target = source[150:][y[150:] == "a"]
    adapter = DomainAdapter(C=1.0).fit(source[:150], y[:150], target)
    assert adapter.method_ == "source-only"
    assert adapter.score(target, ["a"] * len(target)) > 0.9


def test_a_head_that_weighs_all_alike_takes_no_weights() -> None:
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    data = Dataset(list(features), "features", targets=np.arange(20) % 2, classes=("a", "b"))
    with pytest.raises(UsageError, match="the head 'knn' weighs all items alike"):
        FrozenAdapter(None, "knn").fit_features(features, data, None, np.ones(20))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two colours, and of the same under another light."""
    rng = np.random.default_rng(0)
    roots = []
    for name, light in (("lamp", 0), ("sun", 60)):
        root = tmp_path_factory.mktemp(name)
        for colour, pixel in (("red", (180, 30, 30)), ("blue", (40, 60, 170))):
            (root / colour).mkdir()
            for n in range(8):
                pixels = np.array(pixel) + light + rng.integers(-20, 21, (32, 32, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / colour / f"{n}.png")
        roots.append(root)
    return roots[0], roots[1]


@pytest.mark.full
@pytest.mark.parametrize("method", ["coral", "importance", "self-training"])
def test_what_is_saved_is_an_adapter(method: str, colours: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = colours
    adapter = DomainAdapter(MODEL, method).fit(read_data(source), None, read_data(target))
    folder = adapter.save(tmp_path / "adapted")
    items = [str(path) for path in sorted(target.rglob("*.png"))]
    for again in (FrozenAdapter.load(folder), modelgraft.load(f"file:{folder}")):
        assert np.abs(again.predict_proba(items) - adapter.predict_proba(items)).max() < 1e-6
    again = FrozenAdapter.load(folder)
    assert again.report_["adaptation"]["method"] == method
    page = (folder / "README.md").read_text()
    assert f"adapted to 16 items of the target without labels by {method}" in page
    assert "16 items without a label were trained on too" in page
    second = again.save(tmp_path / "again")
    assert FrozenAdapter.load(second).report_["adaptation"] == again.report_["adaptation"]


@pytest.mark.full
def test_images_are_no_texts(colours: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="text"):
        DomainAdapter(MODEL, "coral").fit(
            read_data(colours[0]), None, read_data(["a text", "more"] * 4, modality="text")
        )


def test_the_votes_are_those_of_the_nearest_others() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = []
    for n in range(40):
        others = np.argsort(-(unit @ unit[n]))
        near = others[others != n][:4]
        expected.append(np.bincount(labels[near], minlength=3).argmax())
    assert votes_of_neighbours(features, labels, 4).tolist() == expected


def test_kappa_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 4, 200)
    other = np.where(rng.random(200) < 0.6, one, rng.integers(0, 4, 200))
    assert kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))
    assert kappa(np.zeros(9, int), np.zeros(9, int)) == 0


def _seen(right: float, agree: float, count: int = 400) -> Seen:
    labels = np.arange(count) % 4
    votes = np.where(np.arange(count) < agree * count, labels, (labels + 1) % 4)
    return Seen(np.arange(count) < right * count, labels, votes)


def test_a_choice_needs_more_than_chance() -> None:
    """Both factors count; a difference that resampling does not hold up is none."""
    base = _seen(0.6, 0.6)
    better, doubtful, worse = _seen(0.8, 0.6), _seen(0.61, 0.6), _seen(0.9, 0.3)
    assert choose({"source-only": base, "x": better}, "source-only").method == "x"
    assert choose({"source-only": base, "x": doubtful}, "source-only").method == "source-only"
    assert choose({"source-only": base, "x": worse}, "source-only").method == "source-only"
    both = choose({"source-only": base, "x": better, "y": _seen(0.8, 0.9)}, "source-only")
    assert both.method == "y" and both.measures["source-only"].ratio == 1
    assert both.measures["y"].low < both.measures["y"].ratio < both.measures["y"].high
