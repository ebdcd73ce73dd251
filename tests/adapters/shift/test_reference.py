"""A reference says how strange an item is as its formula does, and calls few batches strange that are not."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.shift.reference import (
    LEAST_BATCH,
    LEAST_ITEMS,
    LEVEL,
    Reference,
    judge,
    make_reference,
)


def rows(count: int, width: int = 8, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, width)) * np.linspace(4, 0.5, width) + shift).astype(np.float32)


def made(features: np.ndarray, seed: int = 0) -> Reference:
    found = make_reference(features, seed)
    assert found is not None
    return found


def test_with_all_components_it_is_the_mahalanobis_distance() -> None:
    train, other = rows(400), rows(30, seed=1)
    expected = np.sqrt(
        np.einsum("nd,de,ne->n", other - train.mean(0), np.linalg.inv(np.cov(train.T)), other - train.mean(0))
    )
    found = made(train)
    assert found.components.shape == (8, 8)
    assert found.distance(other) == pytest.approx(expected, rel=2e-3)  # the components are in half precision


def test_with_few_components_it_is_that_of_the_gaussian_of_low_rank() -> None:
    train, other = rows(60, 20), rows(10, 20, seed=1)
    found = made(train)
    assert len(found.components) == 6
    basis = np.linalg.svd(found.components.astype(float), full_matrices=False)
    basis = basis[0] @ basis[2]  # orthonormal, as they were before they were rounded
    covariance = basis.T @ np.diag(found.variances.astype(float)) @ basis + found.left * (np.eye(20) - basis.T @ basis)
    apart = other - found.mean
    expected = np.sqrt(np.einsum("nd,de,ne->n", apart, np.linalg.inv(covariance), apart))
    assert found.distance(other) == pytest.approx(expected, rel=1e-6)


def test_a_share_is_that_of_held_out_items_at_least_as_strange() -> None:
    found = made(rows(100))
    assert len(found.distances) == found.items == 100
    for distance in (0.0, float(found.distances[30]), float(np.float32(2.2)), 1e9):
        expected = (1 + (found.distances >= np.float32(distance)).sum()) / 101
        assert found.shares_of(np.array([distance]))[0] == pytest.approx(expected)
    assert found.shares_of(np.array([np.inf, np.nan])) == pytest.approx([1 / 101, 1 / 101])


def test_quantiles_of_many_items_say_about_the_same() -> None:
    whole = made(rows(2000))
    assert len(whole.distances) == 513 and whole.items == 2000
    given = whole.distance(rows(500, seed=2))
    assert np.abs(np.sort(whole.shares_of(given)) - np.linspace(0, 1, 500)).max() < 0.07
    assert whole.shares_of(np.array([1e9, 0.0])) == pytest.approx([1 / 2001, 1])
    assert (np.diff(whole.shares_of(np.sort(given))) <= 0).all()


@pytest.mark.parametrize(("count", "width"), [(60, 300), (400, 30)])
def test_shares_are_of_held_out_items_and_not_of_those_of_the_sketch(count: int, width: int) -> None:
    """New items of the same kind have uniform shares, also where there are more numbers than items; by the distances of the
    sketch's own items they would all be strange."""
    from scipy.stats import kstest

    new, own = [], []
    for seed in range(40):
        features = np.random.default_rng(seed).normal(size=(count + 5, width))
        found = made(features[:count], seed)
        new += found.shares(features[count:]).tolist()
        inside = np.sort(found.distance(features[:count]))
        own += [float((inside >= d).mean()) for d in found.distance(features[count:])]
    assert kstest(new, "uniform").pvalue > 0.01
    assert np.mean(own) < np.mean(new) - 0.03


def test_what_is_strange_has_a_small_share() -> None:
    found = made(rows(300))
    assert found.shares(rows(20, seed=1, shift=40)).max() == pytest.approx(1 / 301)
    assert found.shares(np.full((1, 8), np.nan))[0] == pytest.approx(1 / 301)
    with pytest.raises(UsageError, match="the reference has 8 numbers"):
        found.distance(rows(3, 9))


def test_a_batch_is_judged_by_the_rank_sum() -> None:
    from scipy.stats import mannwhitneyu, norm

    found = made(rows(200))
    given = found.distance(rows(40, seed=1, shift=0.4))
    test = judge(found.shares_of(given), found.items)
    assert test is not None
    expected = mannwhitneyu(given, found.distances, alternative="greater", use_continuity=False, method="asymptotic")
    independent = np.sqrt((1 / 40 + 1 / 200 + 1 / 8000) / (1 / 40 + 1 / 100 + 1 / 4000))  # 200 distances count as 100
    assert test.p_value == pytest.approx(norm.sf(norm.isf(expected.pvalue) * independent), rel=0.05)
    assert test.items == 40 and test.unlike == (test.p_value <= LEVEL)


def test_few_items_are_not_judged() -> None:
    assert judge(np.full(LEAST_BATCH - 1, 1e-3), 200) is None
    test = judge(np.full(LEAST_BATCH, 1e-3), 200)
    assert test is not None and test.unlike and test.strange == LEAST_BATCH


def test_items_that_were_trained_on_raise_no_alarm() -> None:
    train = rows(80, 200)
    found = made(train)
    test = judge(found.shares(train), found.items)
    assert test is not None and not test.unlike


@pytest.mark.full
@pytest.mark.parametrize("batch", [LEAST_BATCH, 200])
def test_false_alarms_are_at_the_level(batch: int) -> None:
    """400 batches: with the stated level at most so many as 1 % gives in 999 of 1,000 cases, and so at a fifth."""
    from scipy.stats import binom

    p_values = []
    for seed in range(400):
        features = rows(150 + batch, 40, seed)
        found = made(features[:150], seed)
        test = judge(found.shares(features[150:]), found.items)
        assert test is not None
        p_values.append(test.p_value)
    for level in (LEVEL, 0.2):
        assert (np.array(p_values) <= level).sum() <= binom.ppf(0.999, 400, level)


def test_it_comes_back_from_its_tensors() -> None:
    found = made(rows(70))
    again = Reference.from_tensors(found.tensors(), found.items)
    assert again.distance(rows(5, seed=3)).tolist() == found.distance(rows(5, seed=3)).tolist()
    assert again.shares(rows(5, seed=3)).tolist() == found.shares(rows(5, seed=3)).tolist()
    assert sum(array.nbytes for array in made(rows(600, 1280)).tensors().values()) < 45_000


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mean", lambda a: a.astype(np.float64), "mean is of another dtype"),
        ("mean", lambda a: a * np.nan, "mean is of another dtype, or not finite"),
        ("mean", lambda a: a[:-1], "do not fit each other"),
        ("variances", lambda a: a[:-1], "do not fit each other"),
        ("variances", lambda a: -a, "not above 0"),
        ("left", lambda a: a * 0, "not above 0"),
        ("distances", lambda a: a[::-1], "not ascending"),
        ("distances", lambda a: a[:-1], "states 70 items and has 69"),
    ],
)
def test_tensors_that_are_no_reference(name: str, change, message: str) -> None:
    tensors = made(rows(70)).tensors()
    with pytest.raises(ValueError, match=message):
        Reference.from_tensors({**tensors, name: change(tensors[name])}, 70)
    with pytest.raises(ValueError, match="not just the tensors"):
        Reference.from_tensors({key: value for key, value in tensors.items() if key != name}, 70)


def test_no_reference_of_what_gives_none() -> None:
    assert make_reference(rows(LEAST_ITEMS - 1)) is None
    assert make_reference(np.ones((80, 4))) is None
    assert make_reference(np.zeros((80, 4, 2))) is None
    assert make_reference(np.full((80, 4), np.nan)) is None
    assert make_reference(np.full((80, 4), 1e30) * rows(80, 4)) is None
    assert make_reference(rows(80, 1)) is not None


@pytest.mark.full
def test_one_seed_one_reference() -> None:
    train = rows(2500, 400)
    one, other, third = made(train, 1), made(train, 1), made(train, 2)
    assert all((a == b).all() for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))
    assert one.items == 2000 and (one.distances != third.distances).any()


def test_rounding_does_not_hide_what_the_components_leave_over() -> None:
    """One direction has a variance of 10^6 times the others', of which rounded components would leave a thousandth."""
    rng = np.random.default_rng(0)
    scale = np.r_[1000.0, np.ones(59)]
    turned = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    found = made((rng.normal(size=(200, 60)) * scale) @ turned)
    assert found.left < 2
    odd = (rng.normal(size=(50, 60)) * scale * np.r_[1.0, np.full(59, 2.0)]) @ turned
    assert found.shares(odd).max() <= 1 / 201 + 1e-9


def test_features_that_lie_in_a_plane() -> None:
    """What is off the plane is strange, and nothing is divided by 0."""
    plane = rows(100, 2) @ np.random.default_rng(0).normal(size=(2, 30))
    found = made(plane)
    assert np.isfinite(found.distances).all()
    off = plane[:3] + 1.0
    assert found.shares(off).max() == pytest.approx(1 / 101)
