"""Transductive zero-shot against its formulas, sampled data whose truth is known, and reference implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.transductive.checks import unit
from modelgraft_adapters.transductive.class_means import class_means
from modelgraft_adapters.transductive.class_shares import estimated_shares, even_shares
from modelgraft_adapters.transductive.prompt_weights import prompt_weights, weighted_classes
from scipy.optimize import minimize
from sklearn.mixture import GaussianMixture


def softmax(logits: np.ndarray) -> np.ndarray:
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def batch(items: int = 60, classes: int = 4, width: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features near the corners of a simplex, and the answers of a classifier that is unsure of them."""
    rng = np.random.default_rng(seed)
    corners = unit(rng.normal(size=(classes, width)))
    features = unit(corners[rng.integers(0, classes, items)] + 0.3 * rng.normal(size=(items, width)))
    return features, softmax(4 * features @ unit(corners + 0.4 * rng.normal(size=corners.shape)).T)


def calibrated(shares: np.ndarray, items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from unit Gaussians on a line, and their exact posteriors under even shares; and the classes."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(len(shares), items, p=shares)
    points = 1.5 * classes + rng.normal(size=items)
    return softmax(-((points[:, None] - 1.5 * np.arange(len(shares))) ** 2) / 2), classes


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.02, 0.08, 0.9), (1 / 3, 1 / 3, 1 / 3)])
def test_shares_are_recovered_and_the_answers_get_better(shares: tuple[float, ...]) -> None:
    given, classes = calibrated(np.array(shares), 20_000)
    found = estimated_shares(given, pull=0)
    assert found.settled and np.abs(found.values - shares).max() < 0.02
    after, before = (float((p.argmax(axis=1) == classes).mean()) for p in (found.apply(given), given))
    assert after > before - 0.005 and (max(shares) < 0.5 or after > before + 0.02)


@pytest.mark.parametrize("pull", [0.0, 0.5, 3.0])
def test_shares_have_the_highest_likelihood(pull: float) -> None:
    """Against a general optimiser of the likelihood under a Dirichlet prior."""
    _, given = batch()
    count = given.shape[1]

    def loss(logits: np.ndarray) -> float:
        shares = softmax(logits[None])[0]
        return float(-np.log(given @ shares * count).mean() - pull / count * np.log(shares).sum())

    wanted = softmax(minimize(loss, np.zeros(count), method="BFGS", options={"gtol": 1e-9}).x[None])[0]
    found = estimated_shares(given, pull=pull, tolerance=1e-12, steps=100_000)
    assert found.settled and np.abs(found.values - wanted).max() < 1e-5


def test_shares_of_certain_answers_are_counts() -> None:
    found = estimated_shares(np.eye(3)[[0, 0, 0, 1]], pull=0)
    assert np.allclose(found.values, [0.75, 0.25, 0], atol=1e-6)
    assert np.allclose(estimated_shares(np.eye(3)[[0, 0, 0, 1]], pull=1).values, [13 / 24, 7 / 24, 1 / 6], atol=1e-6)


def test_even_shares_are_sinkhorns() -> None:
    _, given = batch(40)
    found = even_shares(given, tolerance=1e-10)
    answers = found.apply(given)
    assert found.settled and np.allclose(answers.sum(axis=1), 1) and np.allclose(answers.mean(axis=0), 0.25)
    plan = given / given.sum()  # rows and columns in turn, as published
    for _ in range(2000):
        plan = plan / plan.sum(axis=1, keepdims=True) / len(plan)
        plan = plan / plan.sum(axis=0) / plan.shape[1]
    assert np.abs(answers - plan * len(plan)).max() < 1e-8


def test_prompt_weights_equal_the_formula() -> None:
    features, _ = batch(30)
    texts = unit(np.random.default_rng(1).normal(size=(4, 5, 8)))
    logits = 7.0 * np.einsum("nd,ctd->tnc", features, texts)
    scores = (logits - logits.mean(axis=1, keepdims=True)).max(axis=2).mean(axis=1)
    found = prompt_weights(features, texts, 7.0)
    assert np.abs(found - softmax(scores[None])[0]).max() < 1e-12 and found.sum() == pytest.approx(1)
    assert found.std() > 0.01


def test_a_template_that_tells_nothing_apart_weighs_least() -> None:
    features, _ = batch(200)
    good = unit(np.stack([features[n : n + 20].mean(axis=0) for n in range(0, 80, 20)]))
    texts = np.stack([good, np.repeat(good.mean(axis=0)[None], 4, axis=0)], axis=1)
    assert prompt_weights(features, texts, 20.0)[1] < 0.5


def test_one_template_and_one_item_change_nothing() -> None:
    features, _ = batch(30)
    texts = np.random.default_rng(1).normal(size=(4, 5, 8))
    assert prompt_weights(features, texts[:, :1], 7.0).tolist() == [1.0]
    assert np.allclose(prompt_weights(features[:1], texts, 7.0), 0.2)
    assert np.allclose(weighted_classes(texts[:, :1], np.ones(1)), unit(texts[:, 0]))
    assert np.allclose(weighted_classes(texts, np.full(5, 0.2)), unit(unit(texts).mean(axis=1)))


def test_class_means_are_a_gaussian_mixture_where_the_texts_say_nothing() -> None:
    """With even zero-shot answers added to scikit-learn's own start, one step of each is the same."""
    features, given = batch(80)
    ours = class_means(features, given, weight=1.0, anchor=0.0, pull=0.0, steps=1)
    theirs = GaussianMixture(4, covariance_type="diag", reg_covar=0.0)
    theirs._initialize(features, given)
    assert np.abs(ours.means - theirs.means_).max() < 1e-9
    assert np.abs(ours.shares - theirs.weights_).max() < 1e-9
    # one diagonal for all: the mean of theirs, weighted by the classes' shares
    assert np.abs(ours.variances - theirs.weights_ @ theirs.covariances_).max() < 1e-9
    tied = GaussianMixture(4, covariance_type="diag")
    tied.means_, tied.weights_ = ours.means, ours.shares
    tied.precisions_cholesky_ = np.repeat(1 / np.sqrt(ours.variances)[None], 4, axis=0)
    even = np.full_like(given, 0.25)
    assert np.abs(ours.apply(features, even) - tied.predict_proba(features)).max() < 1e-9


def test_class_means_without_features_are_the_shares() -> None:
    features, given = batch()
    answers = class_means(features, given, weight=0.0, tolerance=1e-12, steps=100_000).apply(features, given)
    assert np.abs(answers - estimated_shares(given, tolerance=1e-12).apply(given)).max() < 1e-6


def test_class_means_help_where_classes_are_clouds() -> None:
    rng = np.random.default_rng(3)
    corners = unit(rng.normal(size=(4, 16)))
    classes = np.arange(400) % 4
    features = unit(corners[classes] + 0.15 * rng.normal(size=(400, 16)))
    given = softmax(3 * features @ unit(corners + 0.6 * unit(rng.normal(size=corners.shape))).T)
    answers = class_means(features, given, weight=1.0).apply(features, given)
    before, after = ((p.argmax(axis=1) == classes).mean() for p in (given, answers))
    assert after > 0.99 and after >= before


@pytest.mark.parametrize("items", [1, 2, 3, 60])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_answers_are_probabilities_whatever_the_sizes_and_the_order(items: int, classes: int) -> None:
    features, given = batch(items, classes)
    order = np.random.default_rng(5).permutation(items)
    for learn in (
        lambda f, p: estimated_shares(p).apply(p),
        lambda f, p: even_shares(p).apply(p),
        lambda f, p: class_means(f, p).apply(f, p),
    ):
        answers, turned = learn(features, given), learn(features[order], given[order])
        assert np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1)
        assert np.abs(answers[order] - turned).max() < 1e-6
        if classes == 1:
            assert np.allclose(answers, 1)


def test_items_that_are_all_alike_and_classes_without_an_item() -> None:
    features, given = np.ones((5, 3)), np.tile([1.0, 0.0, 0.0], (5, 1))
    for answers in (
        class_means(features, given, pull=0.0, anchor=0.0).apply(features, given),
        estimated_shares(given, pull=0.0).apply(given),
    ):
        assert np.isfinite(answers).all() and answers.argmax(axis=1).tolist() == [0] * 5


def test_steps_that_do_not_come_to_rest_say_so() -> None:
    features, given = batch()
    assert not estimated_shares(given, steps=1).settled
    assert not even_shares(given, steps=1).settled
    assert not class_means(features, given, steps=1).settled


GOOD_FEATURES, GOOD = batch(6, 3)
BAD_ROW = np.where(np.arange(6)[:, None] == 2, np.nan, GOOD)
MISTAKES: dict[str, tuple[Any, str]] = {
    "NaN answers": (lambda: estimated_shares(BAD_ROW), "item 2"),
    "NaN features": (lambda: class_means(np.full((6, 8), np.nan), GOOD), "not finite"),
    "infinite features": (lambda: prompt_weights(np.full((6, 8), np.inf), np.ones((3, 2, 8)), 1.0), "not finite"),
    "sigmoid": (lambda: even_shares(GOOD / 2), "exclude each other"),
    "negative": (lambda: estimated_shares(GOOD - 0.5), "0 to 1"),
    "no items": (lambda: estimated_shares(GOOD[:0]), "shape"),
    "one row": (lambda: estimated_shares(GOOD[0]), "shape"),
    "other items": (lambda: class_means(GOOD_FEATURES[:4], GOOD), "4 items"),
    "other width": (lambda: class_means(GOOD_FEATURES, GOOD).apply(GOOD_FEATURES[:, :4], GOOD), "4 numbers"),
    "texts flat": (lambda: prompt_weights(GOOD_FEATURES, np.ones((3, 8)), 1.0), "templates"),
    "texts NaN": (lambda: prompt_weights(GOOD_FEATURES, np.full((3, 2, 8), np.nan), 1.0), "text"),
    "pull": (lambda: estimated_shares(GOOD, pull=-1), "pull"),
    "pull NaN": (lambda: class_means(GOOD_FEATURES, GOOD, pull=float("nan")), "pull"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(mistake: str) -> None:
    call, said = MISTAKES[mistake]
    with pytest.raises(UsageError, match=said):
        call()
