"""The H-score against canonical correlations and its own formula."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.relevance import h_score, shrunk_h_score
from sklearn.covariance import LedoitWolf
from sklearn.cross_decomposition import CCA


def made(items: int = 90, numbers: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(items) % classes
    return rng.normal(size=(items, numbers)) + 0.8 * rng.normal(size=(classes, numbers))[labels], labels


def test_is_the_trace_of_its_definition() -> None:
    x, labels = made()
    centred = x - x.mean(axis=0)
    between = np.stack([x[labels == n].mean(axis=0) for n in range(3)])[labels] - x.mean(axis=0)
    told = np.trace(np.linalg.inv(centred.T @ centred) @ between.T @ between)
    assert h_score(x, labels) == pytest.approx(told, abs=1e-10)


def test_is_the_sum_of_squared_canonical_correlations() -> None:
    x, labels = made()
    one_hot = np.eye(3)[labels][:, :2]
    first, second = CCA(n_components=2, max_iter=20000, tol=1e-12).fit(x, one_hot).transform(x, one_hot)
    correlations = [np.corrcoef(first[:, n], second[:, n])[0, 1] for n in range(2)]
    assert h_score(x, labels) == pytest.approx(np.square(correlations).sum(), abs=1e-6)


def test_affine_maps_change_nothing() -> None:
    x, labels = made()
    rng = np.random.default_rng(1)
    moved = x @ rng.normal(size=(6, 6)) * 50 + rng.normal(size=6) * 100
    assert h_score(moved, labels) == pytest.approx(h_score(x, labels), abs=1e-8)
    doubled = np.concatenate([x, x[:, :2] - 3], axis=1)  # of less than full rank
    assert h_score(doubled, labels) == pytest.approx(h_score(x, labels), abs=1e-8)


def test_bounds() -> None:
    x, labels = made(20, 40)
    assert h_score(x, labels) == pytest.approx(2), "as many numbers as items tell all classes apart"
    assert 0 < shrunk_h_score(x, labels) < 2
    assert h_score(np.ones((6, 2)), np.arange(6) % 2) == 0
    assert shrunk_h_score(np.ones((6, 2)), np.arange(6) % 2) == 0


@pytest.mark.parametrize(("items", "numbers"), [(90, 6), (20, 40)])
def test_shrunk_is_the_trace_of_its_definition(items: int, numbers: int) -> None:
    x, labels = made(items, numbers)
    fit = LedoitWolf().fit(x)
    between = np.stack([x[labels == n].mean(axis=0) for n in range(3)])[labels] - x.mean(axis=0)
    told = (1 - fit.shrinkage_) * np.trace(np.linalg.inv(fit.covariance_) @ between.T @ between) / items
    assert shrunk_h_score(x, labels) == pytest.approx(told, rel=1e-8)


def test_wrong_arrays_are_refused() -> None:
    for score in (h_score, shrunk_h_score):
        with pytest.raises(UsageError, match="one class"):
            score(np.eye(3), np.array([1, 1, 1]))
        with pytest.raises(UsageError, match="not finite"):
            score(np.full((2, 2), np.inf), np.array([0, 1]))
