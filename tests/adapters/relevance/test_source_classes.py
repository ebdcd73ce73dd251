"""LEEP and NCE against figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.relevance import leep, nce


def test_nce_by_hand() -> None:
    # Source class 0: labels 0, 0, 1; source class 7: label 1.
    found = nce(np.array([0, 0, 0, 7]), np.array([0, 0, 1, 1]))
    assert found == pytest.approx((2 * np.log(2 / 3) + np.log(1 / 3) + np.log(1.0)) / 4)


def test_leep_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    labels = np.array([0, 0, 1])
    # P(y, z) = [[1.5, 0.5], [0.2, 0.8]] / 3, P(z) = [1.7, 1.3] / 3
    given = np.array([[1.5 / 1.7, 0.5 / 1.3], [0.2 / 1.7, 0.8 / 1.3]])
    each = [given[0] @ [0.9, 0.1], given[0] @ [0.6, 0.4], given[1] @ [0.2, 0.8]]
    assert leep(p, labels) == pytest.approx(np.log(each).mean(), abs=1e-12)


def test_leep_of_certain_predictions_is_nce() -> None:
    rng = np.random.default_rng(0)
    source, labels = rng.integers(0, 5, 40), np.arange(40) % 3
    assert leep(np.eye(5)[source], labels) == pytest.approx(nce(source, labels), abs=1e-12)


def test_bounds() -> None:
    labels = np.arange(12) % 3
    assert nce(labels, labels) == 0 and leep(np.eye(3)[labels], labels) == 0
    assert leep(np.full((12, 4), 0.25), labels) == pytest.approx(-np.log(3)), "the labels' own entropy"
    assert nce(np.zeros(12, int), labels) == pytest.approx(-np.log(3))


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(UsageError, match="no probabilities"):
        leep(np.array([[2.0, -1.0], [0.5, 0.5]]), np.array([0, 1]))
    with pytest.raises(UsageError, match="one class"):
        leep(np.full((2, 2), 0.5), np.array([0, 0]))
    with pytest.raises(UsageError, match="whole numbers"):
        nce(np.array([0.5, 1.0]), np.array([0, 1]))
    with pytest.raises(UsageError, match="one an item"):
        nce(np.array([0, 1]), np.array([0, 1, 1]))
