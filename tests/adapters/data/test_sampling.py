"""Samples that hold each other, with every class."""

from __future__ import annotations

import numpy as np
from modelgraft_adapters.data.sampling import nested_order


def test_every_beginning_is_stratified() -> None:
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    order = nested_order(targets, 3)
    assert sorted(order.tolist()) == list(range(100))
    for n in range(3, 101):
        counts = np.bincount(targets[order[:n]], minlength=3)
        assert (counts >= 1).all() and (np.abs(counts - n * np.array([0.6, 0.3, 0.1])) <= 1.7).all(), n


def test_seed_alone_decides() -> None:
    targets = np.arange(40) % 4
    assert (nested_order(targets, 1) == nested_order(targets, 1)).all()
    assert (nested_order(targets, 1) != nested_order(targets, 2)).any()


def test_a_class_of_one_item_comes_first() -> None:
    targets = np.array([0] * 20 + [1])
    assert 20 in nested_order(targets)[:2]
