"""TransductiveZeroShotClassifier: what it answers is its functions on plain zero-shot, in any order, of any batch."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from modelgraft import ScoreRule
from modelgraft.errors import UsageError
from modelgraft_adapters import TransductiveZeroShotClassifier, ZeroShotClassifier
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.estimators.habits import NotFitted
from modelgraft_adapters.transductive.class_means import class_means
from modelgraft_adapters.transductive.class_shares import estimated_shares, even_shares
from modelgraft_adapters.transductive.naming import METHODS
from modelgraft_adapters.transductive.prompt_weights import prompt_weights, weighted_classes
from sklearn.base import clone

from tests.adapters.estimators.test_zero_shot import LABELS, Encoder

rng = np.random.default_rng(2)
PICTURES = [rng.integers(0, 256, 3, dtype=np.uint8) * np.ones((8, 8, 1), np.uint8) for _ in range(40)]
TEMPLATES = ["a {}", "the {} of it", "{}!"]


def made(method: str, **options: Any) -> TransductiveZeroShotClassifier:
    return TransductiveZeroShotClassifier(Encoder(), LABELS, method=method, **{"templates": TEMPLATES, **options})


def features(encoder: Encoder) -> np.ndarray:
    import torch
    from PIL import Image

    with torch.no_grad():
        return encoder.encode_image(torch.stack([encoder.preprocess(Image.fromarray(p)) for p in PICTURES])).numpy()


def test_answers_are_the_functions_of_plain_zero_shot() -> None:
    plain = ZeroShotClassifier(Encoder(), LABELS, templates=TEMPLATES).predict_proba(PICTURES)
    embedded = features(Encoder())
    wanted = {
        "shares": estimated_shares(plain).apply(plain),
        "even-shares": even_shares(plain).apply(plain),
        "class-means": class_means(embedded, plain).apply(embedded, plain),
    }
    for method, answers in wanted.items():
        found = made(method).fit(PICTURES).predict_proba(PICTURES)
        assert found.dtype == np.float32 and np.abs(found - answers).max() < 1e-4
        assert np.abs(found - plain).max() > 0.01
    unpulled = made("shares", pull=0.0).fit(PICTURES).predict_proba(PICTURES)
    assert np.abs(unpulled - estimated_shares(plain, pull=0).apply(plain)).max() < 1e-4


def test_prompt_weights_are_the_function_of_the_templates() -> None:
    encoder = Encoder()
    classifier = made("prompt-weights").fit(PICTURES)
    texts = np.stack([encoder.encode_text([t.replace("{}", label) for t in TEMPLATES]).detach() for label in LABELS])
    weights = prompt_weights(features(encoder), texts, 20.0)
    assert classifier.prompt_weights_ is not None and classifier.shares_ is None
    assert np.abs(classifier.prompt_weights_ - weights).max() < 1e-5
    similar = features(encoder) @ weighted_classes(texts, weights).T
    similar /= np.linalg.norm(features(encoder), axis=1, keepdims=True)
    assert (classifier.predict_proba(PICTURES).argmax(axis=1) == similar.argmax(axis=1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_order_one_by_one_and_at_once_are_the_same(method: str) -> None:
    classifier = made(method, batch_size=7).fit(PICTURES)
    found = classifier.predict_proba(PICTURES)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    turned = made(method).fit(PICTURES[::-1]).predict_proba(PICTURES)
    alone = np.concatenate([classifier.predict_proba([picture]) for picture in PICTURES])
    rows = list(made(method).classify_together(PICTURES))
    together = np.array([[row.scores[label] for label in LABELS] for row in rows])
    for other in (turned, alone, together, classifier.scores(features(Encoder()))):
        assert np.abs(found - other).max() < 1e-4
    assert [id(row.item) for row in rows] == [id(picture) for picture in PICTURES]
    assert made(method).fit_predict(PICTURES).tolist() == classifier.predict(PICTURES).tolist()
    labels = classifier.predict(PICTURES).tolist()
    assert classifier.score(PICTURES, labels) == 1.0
    plain = ZeroShotClassifier(Encoder(), LABELS, templates=TEMPLATES).predict(PICTURES)
    assert classifier.fitted_ is not None and classifier.fitted_.changed == (plain != np.array(labels)).sum()
    again = pickle.loads(pickle.dumps(classifier.fitted_))
    assert again.method == method and again.items == len(PICTURES)
    assert clone(classifier).fitted_ is None and clone(classifier).get_params()["method"] == method


@pytest.mark.parametrize("method", METHODS)
def test_few_items_broken_ones_and_a_single_class(method: str) -> None:
    for batch in ([], PICTURES[:1], ["nowhere.png", PICTURES[0]]):
        classifier = made(method)
        rows = list(classifier.classify_together(batch))
        assert len(rows) == len(batch) and "too few to be a batch" in " ".join(classifier.take_notes())
        plain = list(ZeroShotClassifier(Encoder(), LABELS, templates=TEMPLATES).classify(batch))
        assert [(row.label, row.error) for row in rows] == [(row.label, row.error) for row in plain]
    two = list(made(method).classify_together(["nowhere.png", *PICTURES[:2]]))
    assert (
        two[0].error and two[0].label is None and all(sum(row.scores.values()) == pytest.approx(1) for row in two[1:])
    )
    single = TransductiveZeroShotClassifier(Encoder(), ["cat"], method=method, templates=TEMPLATES).fit(PICTURES)
    assert (single.predict_proba(PICTURES) == 1).all()


def test_few_items_for_the_labels_are_said() -> None:
    for method in METHODS:
        enough, few = (made(method).fit(batch).fitted_ for batch in (PICTURES, PICTURES[:39]))
        assert enough is not None and few is not None and not enough.notes
        assert bool(few.notes) == (method != "prompt-weights")
        assert not few.notes or "39 items are few for 4 labels" in few.notes[0]


def test_data_are_fitted_to_without_their_labels() -> None:
    data = read_data(PICTURES, ["x", "y"] * 20)
    found, wanted = made("shares").fit(data).shares_, made("shares").fit(PICTURES).shares_
    assert found is not None and wanted is not None and (found == wanted).all()


def test_a_single_template_is_said_and_changes_nothing() -> None:
    classifier = made("prompt-weights", templates="a {}").fit(PICTURES)
    plain = ZeroShotClassifier(Encoder(), LABELS, templates="a {}").predict_proba(PICTURES)
    assert classifier.fitted_ is not None and "one template" in classifier.fitted_.notes[0]
    assert np.abs(classifier.predict_proba(PICTURES) - plain).max() < 1e-5


def test_unreadable_items_and_thresholds_are_rows_as_in_plain_zero_shot() -> None:
    classifier = made("shares", threshold=0.9).fit(PICTURES)
    with pytest.warns(UserWarning, match="cannot be read"):
        found = classifier.predict(["nowhere.png", *PICTURES])
    assert found[0] is None and None in found[1:] and any(label is not None for label in found)
    assert classifier.fit_predict(PICTURES).tolist() == found[1:].tolist()


def sigmoid() -> TransductiveZeroShotClassifier:
    return TransductiveZeroShotClassifier(Encoder(ScoreRule("sigmoid", 10.0, -5.0)), LABELS, method="shares")


def dot(method: str) -> TransductiveZeroShotClassifier:
    return TransductiveZeroShotClassifier(Encoder(ScoreRule("softmax", 0.1, similarity="dot")), LABELS, method=method)


WRONG = np.full((5, 6), np.nan)
MISTAKES: dict[str, tuple[Any, str]] = {
    "method": (lambda: made("magic"), "there are prompt-weights, shares"),
    "pull": (lambda: made("shares", pull=-1), "pull"),
    "sigmoid": (lambda: sigmoid().fit(PICTURES), "by itself"),
    "sigmoid together": (lambda: list(sigmoid().classify_together(PICTURES)), "by itself"),
    "dot": (lambda: dot("class-means").fit(PICTURES), "dot product"),
    "descriptions": (lambda: made("prompt-weights", descriptions={"cat": ["a pet"]}), "descriptions"),
    "NaN": (lambda: made("shares").fit_features(WRONG), "5 of 5 items"),
    "NaN later": (lambda: made("prompt-weights").fit(PICTURES).scores(WRONG), "not finite"),
    "width": (lambda: made("shares").fit_features(np.ones((5, 4))), "5, 4"),
    "nothing": (lambda: made("shares").fit(), "unlabelled items"),
    "calibrate": (lambda: made("shares").calibrate(PICTURES, LABELS * 10), "cannot be calibrated"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(mistake: str) -> None:
    call, said = MISTAKES[mistake]
    with pytest.raises(UsageError, match=said):
        call()


def test_not_fitted_and_other_labels() -> None:
    classifier = made("shares")
    with pytest.raises(NotFitted, match="call fit"):
        classifier.predict(PICTURES)
    classifier.fit(PICTURES).set_params(labels=LABELS[:2])
    with pytest.raises(UsageError, match="labels have changed"):
        classifier.predict(PICTURES)
    assert dot("shares").fit(PICTURES).predict(PICTURES).shape == (40,)
