"""Splits, folds and shots: complete, disjoint, in proportion, and the same for one seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft.errors import UsageError
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import few_shot, folds, stratified_split

class_numbers = st.lists(st.integers(0, 6), min_size=2, max_size=120).map(lambda values: np.array(values, np.int64))
seeds = st.integers(0, 2**32 - 1)
FOLDS = [0, 1, 0, 0, 2, 0, 1, 2, 0, 0, 1, 2, 1, 2, 2, 0, 2, 1, 2, 1]
TEST = [0, 4, 14, 15, 17]
SHOTS = [0, 1, 2, 3, 8, 10, 13, 15]


def _set(targets: np.ndarray, task: str = "single-label", split: list[str] | None = None) -> Dataset:
    width = 7 if task == "single-label" else targets.shape[1]
    return Dataset(
        [f"text {n}" for n in range(len(targets))],
        "text",
        task,  # type: ignore[arg-type]
        targets,
        tuple(f"c{n}" for n in range(width)),
        split=None if split is None else np.array(split),
    )


@settings(deadline=None)
@given(class_numbers, st.floats(0.05, 0.95), seeds)
def test_a_split_is_complete_and_in_proportion(targets: np.ndarray, fraction: float, seed: int) -> None:
    data = _set(targets)
    try:
        out = stratified_split(data, fraction, seed)
    except UsageError as error:
        assert "items" in str(error)
        return
    assert list(out.items) == list(data.items)
    assert set(out.split_names) == {"train", "test"}
    test = out.split == "test"
    for number in np.unique(targets):
        count = int((targets == number).sum())
        taken = int((test & (targets == number)).sum())
        assert abs(taken - count * fraction) < 1 + 1e-9
        assert taken < count
    again = stratified_split(data, fraction, seed)
    assert (again.split == out.split).all()


@settings(deadline=None)
@given(class_numbers, st.integers(2, 10), seeds)
def test_folds_hold_each_class_and_the_whole_to_within_one(targets: np.ndarray, wished: int, seed: int) -> None:
    out = folds(targets, "single-label", wished, seed)
    assert out.shape == targets.shape and out.dtype == np.int64
    largest = int(np.bincount(targets).max())
    count = min(wished, largest) if largest > 1 else 1
    assert set(out.tolist()) <= set(range(count))
    sizes = np.bincount(out, minlength=count)
    assert sizes.max() - sizes.min() <= 1
    for number in np.unique(targets):
        per_fold = np.bincount(out[targets == number], minlength=count)
        assert per_fold.max() - per_fold.min() <= 1
        if count > 1 and (targets == number).sum() > 1:  # what is trained without any one fold knows the class
            assert all(((out != fold) & (targets == number)).any() for fold in range(count))
    assert (folds(targets, "single-label", wished, seed) == out).all()


@settings(deadline=None)
@given(class_numbers, seeds, st.integers(1, 8))
def test_shots_are_nested_and_no_more_than_asked(targets: np.ndarray, seed: int, shots: int) -> None:
    data = _set(targets)
    fewer, more = few_shot(data, shots, seed), few_shot(data, shots + 1, seed)
    assert set(fewer.items) <= set(more.items)
    assert list(fewer.items) == [item for item in data.items if item in set(fewer.items)]  # order is kept
    for number in np.unique(targets):
        assert (fewer.targets == number).sum() == min(shots, (targets == number).sum())
    assert list(few_shot(data, shots, seed).items) == list(fewer.items)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(2, 5), seeds)
def test_multi_label_folds_spread_every_label(draw: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(draw)
    targets = (rng.random((60, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.float32)
    out = folds(targets, "multi-label", count, seed)
    assert set(out.tolist()) == set(range(count))
    assert np.bincount(out).max() - np.bincount(out).min() <= 12
    for label in range(4):
        positive = targets[:, label] > 0
        per_fold = np.bincount(out[positive], minlength=count)
        # The rarest label is dealt first, to within one; later ones give way to it a little.
        assert per_fold.max() - per_fold.min() <= (1 if label == int(targets.sum(axis=0).argmin()) else 6)
    assert (folds(targets, "multi-label", count, seed) == out).all()


@pytest.mark.parametrize("draw", range(5))
def test_multi_label_folds_are_of_like_size_where_every_item_has_labels(draw: int) -> None:
    rng = np.random.default_rng(draw)
    targets = np.zeros((100, 10), np.float32)
    targets[np.arange(100), rng.integers(0, 10, 100)] = 1
    sizes = np.bincount(folds(targets, "multi-label", 5, seed=draw))
    assert sizes.max() - sizes.min() <= 2


def test_iterative_stratification_beats_chance() -> None:
    targets = (np.random.default_rng(0).random((500, 20)) < 0.04).astype(np.float32)

    def unevenness(parts: np.ndarray) -> float:
        shares = np.stack([targets[parts == fold].sum(axis=0) for fold in range(5)])
        return float(shares.std(axis=0).mean())

    chance = unevenness(np.random.default_rng(1).permutation(500) % 5)
    assert unevenness(folds(targets, "multi-label", 5)) < 0.4 * chance


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=80), st.integers(2, 6), seeds)
def test_regression_folds_are_even_along_the_values(values: list[float], wished: int, seed: int) -> None:
    targets = np.array(values, np.float32)[:, None]
    out = folds(targets, "regression", wished, seed)
    count = min(wished, len(values) // 2)
    assert set(out.tolist()) == set(range(count))
    assert np.bincount(out).max() - np.bincount(out).min() <= 1


def test_regression_neighbours_go_to_different_folds() -> None:
    values = np.random.default_rng(3).permutation(20).astype(np.float32)[:, None]
    out = folds(values, "regression", 5)
    in_order = out[np.argsort(values[:, 0])].reshape(4, 5)
    assert (np.sort(in_order, axis=1) == np.arange(5)).all()


def test_regression_split_takes_one_of_each_stretch() -> None:
    values = np.random.default_rng(3).permutation(50).astype(np.float32)[:, None]
    out = stratified_split(_set(values, "regression"), 0.2)
    assert np.sort(values[out.split == "test", 0]).astype(int).tolist() != list(range(10))
    assert (np.sort(values[out.split == "test", 0]) // 5 == np.arange(10)).all()


def test_folds_with_too_little_to_choose_by_are_one() -> None:
    assert folds(np.arange(5), "single-label").tolist() == [0] * 5
    assert folds(np.eye(3, dtype=np.float32), "multi-label").tolist() == [0] * 3
    assert folds(np.ones((3, 1), np.float32), "regression").tolist() == [0] * 3
    assert set(folds(np.array([0, 0, 1, 1]), "single-label", 5).tolist()) == {0, 1}
    assert folds(np.zeros(0, np.int64), "single-label").tolist() == []


def test_folds_refuse_what_has_no_label() -> None:
    with pytest.raises(UsageError, match="1 item without a label"):
        folds(np.array([0, -1]), "single-label")
    with pytest.raises(UsageError, match="1 item without a label"):
        folds(np.array([[np.nan], [1.0]]), "regression")
    with pytest.raises(UsageError, match="n_folds=1"):
        folds(np.array([0, 1]), "single-label", 1)


def test_the_draw_is_the_same_on_every_platform() -> None:
    """Written down once: a change here is a change of every split that users have made."""
    targets = np.arange(20) % 4
    assert folds(targets, "single-label", 3, seed=7).tolist() == FOLDS
    assert np.flatnonzero(stratified_split(_set(targets), 0.25, seed=7).split == "test").tolist() == TEST
    assert few_shot(_set(targets), 2, seed=7).items == [f"text {n}" for n in SHOTS]


def test_a_split_leaves_other_splits_and_unlabelled_items_alone() -> None:
    targets = np.array([0, 1] * 10 + [-1, -1, 0, 1], np.int64)
    out = stratified_split(_set(targets, split=["train"] * 22 + ["val"] * 2), 0.3)
    assert out.split is not None
    assert out.split[20:].tolist() == ["train", "train", "val", "val"]
    assert (out.split == "test").sum() == 6
    with pytest.raises(UsageError, match="a split 'test' already"):
        stratified_split(out)
    with pytest.raises(UsageError, match="no split 'train'"):
        stratified_split(_set(np.array([0, 1]), split=["val", "val"]))


def test_long_split_names_survive() -> None:
    name = "a split with a very long name, longer than most are"
    out = stratified_split(_set(np.array([0, 1] * 5 + [0]), split=["train"] * 10 + [name]))
    assert out.split is not None and out.split[-1] == name


@pytest.mark.parametrize("fraction", [0, 1, -1, 2, float("nan")])
def test_a_fraction_lies_between_0_and_1(fraction: float) -> None:
    with pytest.raises(UsageError, match="test_fraction="):
        stratified_split(_set(np.array([0, 1] * 5)), fraction)


def test_too_few_items_to_split() -> None:
    with pytest.raises(UsageError, match="leaves 0 to test on"):
        stratified_split(_set(np.array([0, 1])), 0.5)
    with pytest.raises(UsageError, match="none of the 2 items has a label"):
        stratified_split(_set(np.array([-1, -1])))


def test_few_shot_takes_from_train_alone_and_can_keep_the_rest_unlabelled() -> None:
    targets = np.array([0, 1] * 10 + [0, 1], np.int64)
    data = _set(targets, split=["train"] * 20 + ["test"] * 2)
    few = few_shot(data, 3)
    assert len(few.train) == 6 and len(few.test) == 2
    kept = few_shot(data, 3, keep_rest=True)
    assert (len(kept.train), len(kept.part("unlabelled")), len(kept.test)) == (6, 14, 2)
    assert list(kept.train.items) == list(few.train.items)
    assert not kept.part("unlabelled").labelled.any()
    assert data.targets is not None and (data.targets >= 0).all()  # the data given is not changed


def test_few_shot_says_which_class_has_fewer() -> None:
    few = few_shot(_set(np.array([0, 0, 0, 1])), 2)
    assert few.notes == ("class 'c1' has 1 of the 2 items asked for",)
    with pytest.raises(UsageError, match="shots=0"):
        few_shot(few, 0)
    with pytest.raises(UsageError, match="no labelled items"):
        few_shot(_set(np.array([-1])), 1)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 6), seeds)
def test_multi_label_shots_reach_every_class_and_are_nested(draw: int, shots: int, seed: int) -> None:
    targets = (np.random.default_rng(draw).random((50, 5)) < 0.2).astype(np.float32)
    data = _set(targets, "multi-label")
    fewer, more = few_shot(data, shots, seed), few_shot(data, shots + 1, seed)
    assert set(fewer.items) <= set(more.items)
    assert fewer.targets is not None
    assert (fewer.targets.sum(axis=0) >= np.minimum(shots, targets.sum(axis=0))).all()
    assert len(fewer) <= shots * 5
