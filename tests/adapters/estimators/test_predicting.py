"""A batch that is unlike the training data is told, one that is like them is not; each item has a score of how strange it is."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UnsafeWeightsError, UsageError
from modelgraft_adapters import FrozenAdapter, LinearProbe
from modelgraft_adapters.estimators.predicting import UnlikeTrainingWarning
from modelgraft_adapters.saved.card import CARD_FILE, REFERENCE_FILE
from modelgraft_adapters.shift.reference import LEAST_BATCH, make_reference
from safetensors.numpy import load_file, save_file
from sklearn.base import clone

MODEL = "embedded/sprig"


def images(count: int, seed: int, light: float = 1.0) -> tuple[list[np.ndarray], list[str]]:
    """Red and green images with noise."""
    rng = np.random.default_rng(seed)
    colours = np.array([(200, 30, 30), (30, 160, 60)]) * light
    made = [
        (colours[n % 2] + rng.normal(0, 12, (16, 16, 3)) + rng.normal(0, 15, 3)).clip(0, 255).astype(np.uint8)
        for n in range(count)
    ]
    return made, [("red", "green")[n % 2] for n in range(count)]


@pytest.fixture(scope="module")
def fitted() -> FrozenAdapter:
    return FrozenAdapter(MODEL, "prototype", device="cpu", n_folds=2).fit(*images(80, 0))


@pytest.fixture(scope="module")
def original(fitted: FrozenAdapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("saved") / "it")


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "it"))


def test_a_batch_that_is_unlike_is_told(fitted: FrozenAdapter) -> None:
    dark, _ = images(LEAST_BATCH, 1, light=0.3)
    for ask in (fitted.predict, fitted.predict_proba, lambda items: list(fitted.classify(items))):
        with pytest.warns(UnlikeTrainingWarning, match=r"these 20 items are unlike the training data \(p = ") as caught:
            ask(dark)
        assert len(caught) == 1 and caught[0].filename == __file__


def test_a_batch_that_is_like_them_is_not(fitted: FrozenAdapter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(images(60, 2)[0])
        fitted.predict(images(80, 0)[0])  # what it was trained on
        fitted.predict(images(LEAST_BATCH - 1, 1, light=0.3)[0])  # too few to say


def test_the_command_is_told_in_place_of_a_warning(fitted: FrozenAdapter) -> None:
    said: list[str] = []
    found = list(fitted.classify(images(25, 1, light=0.3)[0], tell=said.append))
    assert len(said) == 1 and "25 items" in said[0] and "\n" not in said[0] and len(found) == 25


def test_a_score_is_the_share_of_the_references(fitted: FrozenAdapter) -> None:
    items = [*images(10, 3)[0], *images(4, 3, light=0.3)[0]]
    scores = fitted.ood_scores(items)
    features = fitted.extractor.embed(items).features
    reference = make_reference(fitted.extractor.embed(images(80, 0)[0]).features, 0)
    assert reference is not None and scores == pytest.approx(reference.shares(features))
    assert [row.ood for row in fitted.classify(items)] == pytest.approx(scores.tolist())
    assert scores[10:].max() == pytest.approx(1 / 81) and scores[:10].mean() > 0.2


def test_an_item_that_cannot_be_read_has_no_score(fitted: FrozenAdapter) -> None:
    with pytest.warns(UserWarning, match="1 of 2 items cannot be read"):
        scores = fitted.ood_scores(["missing.png", images(1, 3)[0][0]])
    assert np.isnan(scores[0]) and 0 < scores[1] <= 1
    assert next(fitted.classify(["missing.png"])).ood is None


def test_it_comes_back_with_a_saved_adapter_and_a_pickle(fitted: FrozenAdapter, original: Path, tmp_path: Path) -> None:
    items = images(30, 4)[0]
    loaded = FrozenAdapter.load(original, device="cpu")
    again = FrozenAdapter.load(loaded.save(tmp_path / "again"), device="cpu")
    thawed = pickle.loads(pickle.dumps(fitted))
    for other in (loaded, again, thawed):
        assert other.ood_scores(items).tolist() == fitted.ood_scores(items).tolist()
        with pytest.warns(UnlikeTrainingWarning):
            other.predict(images(20, 1, light=0.3)[0])
    assert (tmp_path / "again" / REFERENCE_FILE).read_bytes() == (original / REFERENCE_FILE).read_bytes()
    assert (original / REFERENCE_FILE).stat().st_size < 50_000
    assert clone(fitted).reference_ is None


def test_an_adapter_of_before_has_none_and_works(saved: Path) -> None:
    card = json.loads((saved / CARD_FILE).read_text())
    del card["reference"], card["checksum"]
    (saved / CARD_FILE).write_text(json.dumps(card))
    (saved / REFERENCE_FILE).unlink()
    loaded = FrozenAdapter.load(saved, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded.predict(images(30, 1, light=0.3)[0]).shape == (30,)
    with pytest.raises(UsageError, match="it has no reference of what it was trained on"):
        loaded.ood_scores(images(2, 1)[0])


def test_one_that_is_not_whole_is_refused(saved: Path) -> None:
    good = (saved / REFERENCE_FILE).read_bytes()
    for bad in (good[:-1], b"", good[:-4] + b"\0\0\0\1"):
        (saved / REFERENCE_FILE).write_bytes(bad)
        with pytest.raises(
            UnsafeWeightsError, match=r"reference.safetensors of .* is not the file that its card names"
        ):
            FrozenAdapter.load(saved)
    (saved / REFERENCE_FILE).unlink()
    with pytest.raises(ModelgraftError, match=r"lacks reference.safetensors"):
        FrozenAdapter.load(saved)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("variances", lambda a: -a, "its variances are not above 0"),
        ("distances", lambda a: a[::-1].copy(), "its distances not ascending"),
        ("mean", lambda a: a * np.float32("nan"), "not finite"),
        ("components", lambda a: a.astype(np.float32), "another dtype"),
        (None, lambda a: a[..., :-1].copy(), "of features of 255 numbers, and its card says 256"),
    ],
)
def test_one_that_a_card_was_made_to_fit_is_refused(saved: Path, name: str | None, change, message: str) -> None:
    tensors = load_file(saved / REFERENCE_FILE)
    for one in (name,) if name else ("mean", "components"):
        tensors[one] = change(tensors[one])
    save_file(tensors, saved / REFERENCE_FILE)
    card = json.loads((saved / CARD_FILE).read_text())
    del card["checksum"]
    card["reference"]["sha256"] = hashlib.sha256((saved / REFERENCE_FILE).read_bytes()).hexdigest()
    card["reference"]["tensors"] = {
        key: {"dtype": str(value.dtype), "shape": list(value.shape)} for key, value in tensors.items()
    }
    (saved / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(ModelgraftError, match=message):
        FrozenAdapter.load(saved)


def test_few_items_and_features_give_none() -> None:
    few = FrozenAdapter(MODEL, "prototype", device="cpu", n_folds=2).fit(*images(20, 0))
    assert few.reference_ is None
    rng = np.random.default_rng(0)
    plain = LinearProbe(None, C=1.0).fit(rng.normal(size=(80, 4)), [0, 1] * 40)
    assert plain.reference_ is None and plain.predict(rng.normal(size=(40, 4)) + 50).shape == (40,)
    with pytest.raises(UsageError, match="not fitted yet"):
        FrozenAdapter(MODEL).ood_scores(["a.png"])


def test_a_second_fit_has_a_reference_of_its_own(fitted: FrozenAdapter) -> None:
    twice = FrozenAdapter(MODEL, "prototype", device="cpu", n_folds=2).fit(*images(60, 5, light=0.3))
    assert twice.reference_ is not None and twice.reference_.items == 60
    twice.fit(*images(80, 0))
    assert twice.reference_ is not None and twice.reference_.items == 80
    twice.fit(*images(20, 0))
    assert twice.reference_ is None
