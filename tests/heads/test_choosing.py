"""Choice by folds: means, intervals, ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from modelgraft_heads.choosing import choose, chosen, hits, log_likelihood, splits, unseen


def test_every_item_is_held_out_once_and_never_learnt_from_then() -> None:
    parts = splits(torch.tensor([2, 0, 1, 0, 2]))
    assert sorted(int(n) for _, held in parts for n in held) == [0, 1, 2, 3, 4]
    for train, held in parts:
        assert sorted([*train.tolist(), *held.tolist()]) == [0, 1, 2, 3, 4]


def test_one_fold_is_nothing_to_choose_by() -> None:
    assert splits(torch.zeros(4, dtype=torch.int64)) == []
    assert choose(torch.zeros(4, dtype=torch.int64), 2, lambda train, held: torch.zeros(2, len(held))) is None


def test_no_item_that_can_be_scored_is_nothing_to_choose_by() -> None:
    assert choose(torch.arange(4), 2, lambda train, held: torch.full((2, len(held)), torch.nan)) is None


def test_a_clear_winner_wins_from_any_place() -> None:
    scores = torch.tensor(np.random.default_rng(0).normal(0, 0.1, (3, 100)))
    scores[2] += 1
    choice = chosen(scores, torch.arange(100) % 5)
    assert choice.best == choice.highest == 2 and choice.ties == [2]


def test_what_is_within_one_standard_error_of_the_best_is_a_tie_and_the_first_is_taken() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    noise = rng.normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 10  # the difference has a standard error of 1
    folds = torch.arange(100) % 5
    for gap, expected in ((0.9, 0), (3.0, 1)):
        scores = torch.tensor(np.stack([base, base + gap + noise]))
        # noise rearranged so that the folds agree: then the error over items is the larger one
        order = np.argsort(noise)
        shuffled = scores[:, torch.from_numpy(order)]
        choice = chosen(shuffled, folds)
        assert choice.highest == 1 and choice.best == expected


def test_means_and_errors_are_those_of_the_folds() -> None:
    scores = np.random.default_rng(1).normal(size=(2, 12))
    folds = np.arange(12) % 3
    choice = chosen(torch.tensor(scores), torch.tensor(folds))
    by_fold = np.stack([scores[:, folds == n].mean(axis=1) for n in range(3)], axis=1)
    np.testing.assert_allclose(choice.means, scores.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(choice.errors, by_fold.std(axis=1, ddof=1) / np.sqrt(3), atol=1e-12)
    row = choice.curve([{"k": 1}, {"k": 2}])[1]
    assert row["k"] == 2 and row["score"] == pytest.approx((row["low"] + row["high"]) / 2)


def test_items_that_cannot_be_scored_are_left_out() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, torch.nan], [0.0, 0.0, 0.0, torch.nan]])
    choice = choose(torch.tensor([0, 0, 1, 1]), 2, lambda train, held: values[:, held])
    assert choice is not None and choice.means == pytest.approx([2.0, 0.0])


def test_weights_weigh() -> None:
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weights = torch.tensor([3.0, 1.0])
    choice = choose(torch.tensor([0, 1]), 2, lambda train, held: values[:, held], weights)
    assert choice is not None and choice.means == pytest.approx([0.75, 0.25])


def test_scores_of_items() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    targets = torch.tensor([0, 0])
    expected = [2 - np.log(np.exp(2) + 1), -np.log(1 + np.e)]
    np.testing.assert_allclose(log_likelihood(logits, targets)[0], expected, rtol=1e-6)
    assert hits(logits, targets).tolist() == [[1.0, 0.0]]
    assert unseen(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3).tolist() == [False, True, False]
