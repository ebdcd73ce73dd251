"""Calibrated estimators: by folds and by items of their own, saved and loaded, exported, and refused where it would mislead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.sealed import with_checksum
from modelgraft_adapters import FineTuner, FrozenAdapter, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.estimators.calibrating import calibrate_by_folds, held_out_outputs
from modelgraft_adapters.metrics.calibration import calibrate, cross_fitted, worth_of
from PIL import Image
from sklearn.base import clone


def blobs(count: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of features that overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(4, 12))
    labels = rng.integers(0, 4, count)
    return (centres[labels] + spread * rng.normal(size=(count, 12)) * 1.5).astype(np.float32), labels


@pytest.fixture(scope="module")
def photos_of_two(photos: Path) -> tuple[list[Image.Image], list[str]]:
    """Parts of two photographs."""
    rng = np.random.default_rng(0)
    found, labels = [], []
    for name in ("cat", "rocket"):
        whole = Image.open(photos / f"{name}.jpg").convert("RGB").resize((120, 120))
        for x, y in rng.integers(0, 72, (30, 2)).tolist():
            found.append(whole.crop((x, y, x + 48, y + 48)))
            labels.append(name)
    return found, labels


@pytest.mark.parametrize("head", ["linear", "knn", "prototype"])
def test_held_out_outputs_are_of_heads_that_did_not_see_the_item(head: str) -> None:
    features, labels = blobs(200)
    adapter = FrozenAdapter(None, head).fit(features, labels)
    data = adapter._read(features, labels, "train")
    outputs = held_out_outputs(adapter, features, data)
    assert outputs.shape == (200, 4) and np.allclose(outputs.sum(axis=1), 1, atol=1e-5)
    if head == "knn":  # the item itself is the nearest of all where it is among those trained on
        alone = FrozenAdapter(None, "knn", k=1).fit(features, labels)
        assert (alone.predict(features) == labels).all()
        assert (held_out_outputs(alone, features, data).argmax(axis=1) != labels).any()
    right = outputs.argmax(axis=1) == labels
    others, truth = blobs(4000, seed=1)
    assert right.mean() == pytest.approx((adapter.predict(others) == truth).mean(), abs=0.1)


def test_a_class_that_a_fold_does_not_know_has_no_probability_there() -> None:
    features, labels = blobs(60)
    labels[0] = 7  # one item of its class
    adapter = FrozenAdapter(None, C=1.0).fit(features, labels)
    outputs = held_out_outputs(adapter, features, adapter._read(features, labels, "train"))
    assert outputs[0, 4] == 0 and outputs[:, 4].max() > 0


def test_sets_by_folds_hold_the_true_class() -> None:
    held = []
    for seed in range(12):
        features, labels = blobs(150, seed)
        adapter = FrozenAdapter(None, C=1.0).fit(features, labels)
        adapter.calibration_ = calibrate_by_folds(adapter, features, adapter._read(features, labels, "train"))
        others, truth = blobs(400, 100 + seed)
        held += adapter.predict_set(others, 0.9)[np.arange(400), truth].tolist()
    # Over 80 draws it is 0.908, and of one draw known to 0.036: so of twelve to three times 0.0104.
    assert 0.868 <= np.mean(held) <= 0.94


def test_calibrating_changes_probabilities_and_no_class(tmp_path: Path) -> None:
    features, labels = blobs(80)
    adapter = FrozenAdapter(None, C=1e4).fit(features, labels)  # far too sure
    others, truth = blobs(2000, 5)
    before, predicted = adapter.predict_proba(others), adapter.predict(others)
    held, its = blobs(500, 6)
    assert adapter.calibrate(held, its) is adapter and adapter.calibration_ is not None
    assert adapter.calibration_.temperature > 1.5 and (adapter.predict(others) == predicted).all()
    scores = {s.name: s.value for s in adapter.evaluate(others, truth).scores}
    worth = worth_of(adapter.calibration_, before, truth, 0.9)
    assert scores["log loss"] == pytest.approx(worth.log_loss[1], rel=1e-5) and worth.log_loss[1] < worth.log_loss[0]
    assert scores["calibration error"] == pytest.approx(worth.calibration_error[1], abs=1e-6)
    assert worth.calibration_error[1] < worth.calibration_error[0] / 2
    assert worth.covered is not None and 0.87 < worth.covered < 0.93
    adapter.calibrate(held, its)  # again, and from the head's own probabilities
    assert np.allclose(adapter.predict_proba(others), adapter.calibration_.tempered(before), atol=1e-6)
    assert clone(adapter).calibration_ is None and adapter.fit(features, labels).calibration_ is None


def test_predict_set_and_predictions_say_the_same(photos_of_two: Any) -> None:
    items, labels = photos_of_two
    adapter = LinearProbe("embedded/sprig", C=1.0, device="cpu").fit(items[::2], labels[::2])
    with pytest.raises(UsageError, match="not calibrated"):
        adapter.predict_set(items)
    adapter.calibrate(items[1::2], labels[1::2])
    broken = [*items[:3], "none.jpg"]
    with pytest.warns(UserWarning, match="cannot be read"):
        sets = adapter.predict_set(broken, 0.8)
    assert sets.dtype == bool and sets.shape == (4, 2) and sets[3].all()
    rows = list(adapter.classify(broken, coverage=0.8))
    for row, members in zip(rows[:3], sets, strict=False):
        assert sorted(row.set) == [name for name, there in zip(adapter.classes, members, strict=True) if there]
    assert rows[3].set is None and [row.set for row in adapter.classify(items[:1])] == [None]
    with pytest.raises(UsageError, match="at least 99 items to calibrate on, and there are 30"):
        adapter.predict_set(items, 0.99)


def test_a_calibrated_adapter_is_saved_and_loaded(photos_of_two: Any, tmp_path: Path) -> None:
    items, labels = photos_of_two
    adapter = LinearProbe("embedded/sprig", C=100.0, device="cpu").fit(items[::2], labels[::2])
    adapter.save(tmp_path / "plain")
    assert FrozenAdapter.load(tmp_path / "plain").calibration_ is None
    adapter.calibrate(items[1::2], labels[1::2]).save(tmp_path / "it")
    loaded = FrozenAdapter.load(tmp_path / "it", device="cpu")
    assert loaded.calibration_ is not None and adapter.calibration_ is not None
    assert loaded.calibration_.temperature == adapter.calibration_.temperature
    assert (loaded.calibration_.strangeness == adapter.calibration_.strangeness).all()
    assert np.allclose(loaded.predict_proba(items), adapter.predict_proba(items), atol=1e-6)
    loaded.save(tmp_path / "again")  # what is loaded keeps it
    assert FrozenAdapter.load(tmp_path / "again", device="cpu").calibration_.source == "30 items"
    for harm in ({"temperature": 0}, {"strangeness": []}, {"strangeness": [0.5, "x"]}, {"strangeness": [0.9, 0.1]}):
        card = json.loads((tmp_path / "it" / "modelgraft_adapter.json").read_text())
        card["calibration"] |= harm
        card.pop("checksum")
        (tmp_path / "again" / "modelgraft_adapter.json").write_text(json.dumps(with_checksum(card)))
        with pytest.raises(ModelgraftError, match="calibration"):
            FrozenAdapter.load(tmp_path / "again")


@pytest.mark.full
def test_a_calibrated_adapter_is_exported_as_it_predicts(photos_of_two: Any, tmp_path: Path) -> None:
    from modelgraft_adapters.export.exporter import export

    items, labels = photos_of_two
    adapter = LinearProbe("embedded/sprig", C=1000.0, device="cpu", store=False).fit(items[::2], labels[::2])
    plain = adapter.predict_proba(items)
    adapter.calibrate(items[1::2], ["cat", "rocket"] * 15)  # no better than a guess: the temperature is far from 1
    assert np.abs(adapter.predict_proba(items) - plain).max() > 0.1
    assert export(adapter, tmp_path / "it.pt2", items[:6]).parity < 1e-4  # compared with what it predicts


def test_what_would_mislead_is_refused(photos_of_two: Any, tmp_path: Path) -> None:
    items, labels = photos_of_two
    for kind in ("cat", "rocket"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for n, (item, label) in enumerate(zip(items, labels, strict=True)):
        item.save(tmp_path / "data" / label / f"{n}.png")
    data = read_data(tmp_path / "data")
    adapter = LinearProbe("embedded/sprig", C=1.0, device="cpu").fit(data)
    with pytest.raises(UsageError, match="60 of the 60 items were trained on"):
        adapter.calibrate(tmp_path / "data")
    adapter.save(tmp_path / "it")
    loaded = FrozenAdapter.load(tmp_path / "it", device="cpu")  # which knows their digest alone
    with pytest.raises(UsageError, match="were trained on"):
        loaded.calibrate(tmp_path / "data")
    with pytest.raises(UsageError, match="no split 'val'"):
        loaded.calibrate(items, labels, split="val")
    several = LinearProbe("embedded/sprig", C=1.0, device="cpu").fit(items[:20], [["a"], ["a", "b"]] * 10)
    with pytest.raises(UsageError, match="this is a multi-label task"):
        several.calibrate(items[20:30], [["a"], ["b"]] * 5)


def test_splits_are_asked_for() -> None:
    features, labels = blobs(100)
    names = tuple("abcd")
    splits = np.array(["train", "test"] * 50)
    adapter = FrozenAdapter(None, C=1.0).fit(features, labels)
    data = Dataset(
        items=list(map(str, range(100))),
        targets=labels,
        task="single-label",
        classes=names,
        modality="text",
        split=splits,
    )
    from modelgraft_adapters.estimators.calibrating import part_to_calibrate_on

    with pytest.raises(UsageError, match="split into test, train; say which part"):
        part_to_calibrate_on(data, None)
    assert len(part_to_calibrate_on(data, "test")) == 50
    assert adapter.calibration_ is None


def test_zero_shot_is_calibrated_on_labelled_items(photos_of_two: Any) -> None:
    items, labels = photos_of_two
    classifier = ZeroShotClassifier("embedded/sprig", ["rocket", "cat"], device="cpu")
    before = classifier.predict_proba(items)
    assert classifier.calibrate(items, labels).calibration_ is not None
    expected = calibrate(before, np.array([["rocket", "cat"].index(label) for label in labels]), "60 items")
    assert classifier.calibration_.temperature == pytest.approx(expected.temperature)
    assert np.allclose(classifier.predict_proba(items), expected.tempered(before), atol=1e-6)
    sets = classifier.predict_set(items, 0.9)
    assert sets[np.arange(60), [["rocket", "cat"].index(label) for label in labels]].mean() >= 0.9
    rows = list(classifier.classify(items[:2], coverage=0.9))
    assert [len(row.set or []) for row in rows] == sets[:2].sum(axis=1).tolist()


def test_the_worth_of_calibrating_is_of_items_that_were_held_out() -> None:
    features, labels = blobs(80)
    adapter = FrozenAdapter(None, C=1e4).fit(features, labels)
    held, its = blobs(300, 6)
    outputs, targets = adapter.to_calibrate_on(held, its)
    worth = cross_fitted(outputs, targets, 0.9)
    assert worth.items == 300 and worth.log_loss[1] < worth.log_loss[0]
    assert worth.covered is not None and worth.covered_low < 0.9 < worth.covered_high  # type: ignore[operator]
    few = cross_fitted(outputs[:8], targets[:8], 0.9)
    assert few.covered is None and few.set_size is None
    assert cross_fitted(outputs[:1], targets[:1], 0.5).covered is None


@pytest.mark.full
def test_a_fine_tuned_adapter_is_calibrated_when_it_is_loaded(photos_of_two: Any, tmp_path: Path) -> None:
    items, labels = photos_of_two
    tuner = FineTuner("embedded/sprig", "full", steps=4, batch_size=8, device="cpu", lr=1e-3).fit(
        items[::2], labels[::2]
    )
    tuner.save(tmp_path / "it")
    loaded = FrozenAdapter.load(tmp_path / "it", device="cpu")
    before = loaded.predict_proba(items)
    loaded.calibrate(items[1::2], ["cat", "rocket"] * 15).save(tmp_path / "it")  # over itself
    again = FrozenAdapter.load(tmp_path / "it", device="cpu")
    assert again.calibration_ is not None and again.tuned_ is not None
    assert np.allclose(again.predict_proba(items), again.calibration_.tempered(before), atol=1e-5)
    assert np.allclose(
        tuner.calibrate(items[1::2], ["cat", "rocket"] * 15).predict_proba(items), again.predict_proba(items), atol=1e-5
    )
