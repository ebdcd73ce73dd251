"""Label spreading against scikit-learn and its closed form."""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from modelgraft_heads.base import unit
from modelgraft_heads.graph import distributions, knn_affinity, nearest, normalised, rbf_affinity, spread
from modelgraft_heads.label_spreading import LabelSpreadingHead
from sklearn.semi_supervised import LabelSpreading


def _peer(examples: Examples, gamma: float, alpha: float) -> LabelSpreading:
    assert examples.unlabelled is not None
    peer = LabelSpreading(gamma=gamma, alpha=alpha, max_iter=100_000, tol=1e-13)
    points = torch.cat([examples.features, examples.unlabelled]).double().numpy()
    targets = np.concatenate([examples.targets.numpy(), np.full(len(examples.unlabelled), -1)])
    return peer.fit(points, targets)


@pytest.mark.parametrize(("gamma", "alpha"), [(1e-3, 0.2), (1e-2, 0.9), (2e-3, 0.99)])
def test_it_is_scikit_learns(gamma: float, alpha: float, examples: Examples, held: Any) -> None:
    peer = _peer(examples, gamma, alpha)
    head = LabelSpreadingHead.fit(examples, graph="rbf", gamma=gamma, alpha=alpha)
    np.testing.assert_allclose(head.distributions, peer.label_distributions_, atol=2e-10, rtol=0)
    np.testing.assert_allclose(head.probabilities(held[0]), peer.predict_proba(held[0].double().numpy()), atol=1e-6)


def test_a_sparse_graph_is_solved_as_the_dense_one(examples: Examples) -> None:
    vectors = unit(examples.features)
    graph = normalised(knn_affinity(*nearest(vectors, 10)))
    labels = np.zeros((200, 10))
    labels[range(50), examples.targets[:50]] = 1
    for alpha in (0.5, 0.99, 0.999):
        exact = (1 - alpha) * np.linalg.solve(np.eye(200) - alpha * graph.toarray(), labels)
        np.testing.assert_allclose(spread(graph, labels, alpha), exact, atol=1e-11)
        np.testing.assert_allclose(spread(graph.toarray(), labels, alpha), exact, atol=1e-12)


def test_the_graph_is_symmetric_without_loops_and_holds_the_nearest(examples: Examples) -> None:
    vectors = unit(examples.features).double()
    cosines = (vectors @ vectors.T).fill_diagonal_(-2).numpy()
    affinity = knn_affinity(*nearest(vectors, 4)).toarray()
    expected = np.zeros((200, 200))
    for row, similar in enumerate(cosines):
        for other in np.argsort(-similar)[:4]:
            expected[row, other] = similar[other] ** 3
    np.testing.assert_allclose(affinity, expected + expected.T, atol=1e-12)
    assert (np.diag(rbf_affinity(vectors.numpy(), 1.0)) == 0).all()


def test_normalising_keeps_an_item_without_neighbours() -> None:
    affinity = np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(normalised(affinity), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(distributions(np.array([[0.0, 0.0], [1.0, 3.0]])), [[0.5, 0.5], [0.25, 0.75]])


def test_unlabelled_items_help(examples: Examples, held: Any) -> None:
    rows = torch.cat([(examples.targets == c).nonzero().flatten()[:3] for c in range(10)])
    few = replace(
        examples, features=examples.features[rows], targets=examples.targets[rows], folds=torch.arange(30) % 3
    )
    lone = replace(few, unlabelled=few.unlabelled[:1] if few.unlabelled is not None else None)
    accuracy = [
        (LabelSpreadingHead.fit(given, k=10, alpha=0.9).logits(held[0]).argmax(dim=1) == held[1]).float().mean()
        for given in (lone, few)
    ]
    assert accuracy[1] > accuracy[0] + 0.02


def test_a_new_item_takes_the_weighted_mean_of_its_neighbours(examples: Examples, held: Any) -> None:
    head = LabelSpreadingHead.fit(examples, k=7, alpha=0.8)
    cosines = (unit(held[0]).double() @ head.nodes.double().T).numpy()
    expected = np.zeros((600, 10))
    for row, similar in enumerate(cosines):
        top = np.argsort(-similar)[:7]
        expected[row] = (similar[top, None] ** 3 * head.distributions.numpy()[top]).sum(axis=0) / (
            similar[top] ** 3
        ).sum()
    np.testing.assert_allclose(head.probabilities(held[0]), expected, atol=1e-5)


def test_settings_are_chosen_by_hiding_labels(examples: Examples) -> None:
    report = LabelSpreadingHead.fit(examples, k=10).report()
    assert {row["alpha"] for row in report["curve"]} == {0.5, 0.9, 0.99}
    assert examples.unlabelled is not None
    points = unit(torch.cat([examples.features, examples.unlabelled]))
    graph = normalised(knn_affinity(*nearest(points, 10))).toarray()
    correct = 0
    for fold in range(5):
        known = np.flatnonzero(examples.folds != fold)
        labels = np.zeros((600, 10))
        labels[known, examples.targets[known]] = 1
        found = np.linalg.solve(np.eye(600) - 0.9 * graph, labels).argmax(axis=1)[:200]
        correct += int(((found == examples.targets.numpy()) & (examples.folds.numpy() == fold)).sum())
    score = next(row["score"] for row in report["curve"] if row["alpha"] == 0.9)
    assert score == pytest.approx(correct / 200, abs=0.006)


def test_a_dense_graph_has_its_limit(examples: Examples) -> None:
    many = replace(examples, unlabelled=torch.ones(5000, 64))
    with pytest.raises(UsageError, match="knn"):
        LabelSpreadingHead.fit(many, graph="rbf")


@pytest.mark.parametrize(
    "settings", [{"alpha": 1}, {"alpha": 0}, {"graph": "ring"}, {"gamma": 3}, {"graph": "rbf", "k": 3}]
)
def test_settings_that_cannot_be(examples: Examples, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=list(settings)[-1]):
        LabelSpreadingHead.fit(examples, **settings)


@pytest.mark.slow
def test_twenty_thousand_items_need_no_dense_graph() -> None:
    """The graph of 20,000 × 384 and the choice of k and α: memory stays far below that of a dense graph (3.2 GB)."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 384))
    targets = rng.integers(0, 10, 20_000)
    features = torch.tensor(centres[targets] + 3 * rng.normal(size=(20_000, 384)), dtype=torch.float32)
    examples = Examples(
        features[:200],
        torch.tensor(targets[:200]),
        "single-label",
        tuple("abcdefghij"),
        torch.arange(200) % 5,
        unlabelled=features[200:],
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = LabelSpreadingHead.fit(examples)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 1000  # MB
    assert (head.distributions.argmax(dim=1).numpy() == targets).mean() > 0.95
