"""Each measure of a gap is its closed form, or what another way of computing it gives."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.shift.apart import a_distance, proxy_a_distance
from modelgraft_adapters.shift.frechet import frechet
from modelgraft_adapters.shift.labels import solved, target_shares
from modelgraft_adapters.shift.mmd import holm, median_distance, mmd, squared_distances
from modelgraft_adapters.shift.sides import checked_sides, drawn


def sides(n: int = 30, m: int = 20, width: int = 5, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(size=(m, width)) + shift


def by_hand(source: np.ndarray, target: np.ndarray, bandwidth: float) -> float:
    """The unbiased estimate (Gretton et al. 2012, lemma 6), term by term."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-((x - y) ** 2).sum() / (2 * bandwidth**2)))

    n, m = len(source), len(target)
    within = sum(kernel(source[i], source[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    beyond = sum(kernel(target[i], target[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + beyond - 2 * sum(kernel(x, y) for x in source for y in target) / (n * m)


def test_the_rbf_kernel_is_the_double_loop() -> None:
    source, target = sides(shift=0.4)
    found = mmd(source, target, permutations=0)
    every = np.concatenate([source, target])
    between = [float(np.linalg.norm(every[i] - every[j])) for i in range(50) for j in range(i)]
    assert found.bandwidth == pytest.approx(np.median(between), rel=1e-12)
    assert found.value == pytest.approx(by_hand(source, target, found.bandwidth), abs=1e-12)
    assert found.p_value is None
    assert mmd(source, target, bandwidth=2.5, permutations=0).value == pytest.approx(by_hand(source, target, 2.5))


def test_the_linear_kernel_is_the_distance_of_the_means() -> None:
    source, target = sides(shift=0.4)
    found = mmd(source + 1000, target + 1000, kernel="linear", permutations=0)
    apart = source.mean(axis=0) - target.mean(axis=0)
    assert found.biased == pytest.approx(apart @ apart, rel=1e-10)
    # Unbiased: less what the means' own variances add to their squared distance.
    noise = source.var(axis=0, ddof=1).sum() / len(source) + target.var(axis=0, ddof=1).sum() / len(target)
    assert found.value == pytest.approx(apart @ apart - noise, rel=1e-9) and found.bandwidth is None


def test_the_biased_form_has_each_item_with_itself() -> None:
    source, target = sides(8, 6)
    found = mmd(source, target, bandwidth=1.3, permutations=0)
    gram = np.exp(squared_distances(np.concatenate([source, target])) / (-2 * 1.3**2))
    assert found.biased == pytest.approx(gram[:8, :8].mean() + gram[8:, 8:].mean() - 2 * gram[:8, 8:].mean(), abs=1e-12)


def test_the_p_value_is_the_share_of_all_permutations() -> None:
    """Of 4 and 4 items there are 70 assignments: many drawn ones come to the share that these give."""
    from itertools import combinations

    source, target = sides(4, 4, 2, 0.8)
    rows = np.concatenate([source, target])
    width = median_distance(squared_distances(rows))
    seen = by_hand(source, target, width)
    every = [by_hand(rows[list(c)], np.delete(rows, list(c), axis=0), width) for c in combinations(range(8), 4)]
    exact = float(np.mean([value >= seen - 1e-12 for value in every]))
    found = mmd(source, target, permutations=20_000, seed=3)
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert mmd(source, target, permutations=99, seed=3) == mmd(source, target, permutations=99, seed=3)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_p_values_are_uniform_without_a_gap(kernel: str) -> None:
    from scipy.stats import kstest

    rng = np.random.default_rng(5)
    found = []
    for n in range(300):
        rows = np.exp(rng.normal(size=(35, 4)))  # skewed, and sides of unequal size
        found.append(mmd(rows[:12], rows[12:], kernel=kernel, permutations=99, seed=n).p_value)
    assert kstest(np.array(found) - rng.uniform(0, 0.01, 300), "uniform").pvalue > 0.01


def test_a_kernel_that_is_flat_gives_no_alarm() -> None:
    """All assignments give one value, up to the last digits: none of them is rarer than another."""
    source, target = sides(10, 10)
    assert mmd(source, target, bandwidth=1e9, permutations=199).p_value > 0.2
    assert mmd(np.eye(10), np.eye(10), kernel="linear", permutations=199).p_value > 0.2


def test_items_that_are_mostly_the_same_have_a_bandwidth() -> None:
    rows = np.zeros((20, 3))
    rows[0] = 3, 4, 0
    assert median_distance(squared_distances(rows)) == pytest.approx(5)
    with pytest.raises(UsageError, match="all items have the same features"):
        mmd(np.ones((5, 3)), np.ones((5, 3)))


def test_frechet_is_the_formula_with_a_root_of_a_matrix() -> None:
    from scipy.linalg import sqrtm

    for n, m in ((40, 30), (4, 30)):
        source, target = sides(n, m, 6, 0.3)
        target = target * np.arange(1, 7)
        one, other = np.cov(source.T), np.cov(target.T)
        apart = source.mean(axis=0) - target.mean(axis=0)
        root = np.real(sqrtm(one @ other + 1e-14 * np.eye(6)))
        expected = apart @ apart + np.trace(one + other - 2 * root)
        found = frechet(source, target)
        assert found.value == pytest.approx(expected, rel=1e-5)
        assert found.of_means == pytest.approx(apart @ apart)


def test_frechet_of_a_shifted_sample_is_the_shift() -> None:
    source, _ = sides(50, 2)
    shift = np.array([1.0, -2.0, 0.0, 0.5, 3.0])
    assert frechet(source, source + shift, shuffles=0).value == pytest.approx(shift @ shift, rel=1e-9)
    assert frechet(source, source[::-1], shuffles=0).value == pytest.approx(0, abs=1e-9)


def test_frechet_names_what_chance_gives() -> None:
    """Two samples of one distribution, of fewer items than numbers: the value is far above 0, and so is what chance gives."""
    values = [frechet(*sides(40, 40, 60, seed=seed), seed=seed) for seed in range(10)]
    assert min(found.value for found in values) > 20
    assert np.mean([found.value / found.by_chance for found in values]) == pytest.approx(1, abs=0.02)
    assert frechet(*sides(40, 40, 60, 1.0)).beyond_chance > 30


def test_the_a_distance_of_sides_that_are_the_same_and_that_are_apart() -> None:
    assert (a_distance(0.0), a_distance(0.5), a_distance(0.6), a_distance(0.25)) == (2, 0, 0, 1)
    assert proxy_a_distance(*sides(40, 25, shift=20)).distance == 2
    same = [proxy_a_distance(*sides(200, 100, seed=seed)).error for seed in range(5)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.04)


def test_the_a_distance_is_that_of_the_best_line() -> None:
    """Two Gaussians 2 apart: the error of the best classifier, which is a line, is Phi(-1)."""
    from scipy.special import ndtr

    source, target = sides(3000, 1500, 3, 2 / np.sqrt(3))
    found = proxy_a_distance(source, target)
    assert found.error == pytest.approx(ndtr(-1), abs=0.02) and found.items == (3000, 1500)
    assert found.error == pytest.approx((found.wrong[0] / 3000 + found.wrong[1] / 1500) / 2)
    assert found.distance == pytest.approx(2 * (1 - 2 * found.error))


def test_the_a_distance_counts_items_that_it_was_not_trained_on() -> None:
    """More numbers than items: every labelling of the training items can be told apart by a line, and of others none."""
    found = [proxy_a_distance(*sides(30, 30, 200, seed=seed)).error for seed in range(6)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_shares_of_two_classes_solved_by_hand() -> None:
    """Of class 0 nine answers in ten are right, of class 1 seven. 48 % of the target is said to be class 0, so
    0.9 q + 0.3 (1 - q) = 0.48: q = 0.3."""
    truth = np.repeat([0, 1], 10)
    said = np.r_[np.zeros(9), 1, np.zeros(3), np.ones(7)].astype(int)
    target = np.eye(2)[np.r_[np.zeros(48), np.ones(52)].astype(int)]
    found = target_shares(truth, said, target)
    assert found.shares == pytest.approx([0.3, 0.7], abs=1e-6)
    assert found.source.tolist() == [0.5, 0.5]
    assert (found.low < found.shares).all() and (found.shares < found.high).all()
    expected = np.linalg.svd([[0.9, 0.3], [0.1, 0.7]], compute_uv=False)[-1]
    assert found.told_apart == pytest.approx(expected)


def test_shares_stay_shares() -> None:
    """Fewer of class 0 are said than its wrong answers alone would be: the solution is -0.5, and the nearest that can be is 0."""
    assert solved(np.array([[0.9, 0.3], [0.1, 0.7]]), np.array([0.0, 1.0])) == pytest.approx([0, 1], abs=1e-6)
    assert solved(np.eye(3), np.array([0.2, 0.3, 0.5])) == pytest.approx([0.2, 0.3, 0.5])


def test_intervals_of_shares_hold_the_truth() -> None:
    rng, share, held = np.random.default_rng(2), np.array([0.6, 0.3, 0.1]), 0
    answers = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.1, 0.7]])

    def answered(truth: np.ndarray) -> np.ndarray:
        return (rng.uniform(size=len(truth))[:, None] > answers.cumsum(axis=0).T[truth]).sum(axis=1)

    for _ in range(60):
        truth = rng.integers(0, 3, 150)
        target = answered(rng.choice(3, 200, p=share))
        found = target_shares(truth, answered(truth), np.eye(3)[target], resamples=150, seed=0)
        held += int(((found.low <= share) & (share <= found.high)).sum())
    assert 0.90 <= held / 180 <= 0.995


def test_a_classifier_that_cannot_tell_classes_apart_is_told() -> None:
    truth, target = np.repeat([0, 1], 20), np.full((30, 2), 0.5)
    with pytest.raises(UsageError, match="does not tell the 2 classes of the source apart"):
        target_shares(truth, np.tile([0, 1], 20), target)
    with pytest.raises(UsageError, match="1 of 3 classes have no item"):
        target_shares(truth, truth, np.full((30, 3), 1 / 3))
    with pytest.raises(UsageError, match="do not go together"):
        target_shares(truth, truth[:5], target)
    with pytest.raises(UsageError, match="from 0 to 1"):
        target_shares(truth, truth + 1, target)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((0, 3)), np.ones((20, 3)), "the source has 0 items, and at least 10 are needed"),
        (np.ones((20, 3)), np.ones((3, 3)), "the target has 3 items"),
        (np.ones((20, 3)), np.ones((20, 4)), "features of 3 and 4 numbers"),
        (np.ones(20), np.ones((20, 4)), r"the features of the source have the shape \(20,\)"),
        (
            np.ones((20, 3)),
            np.r_[np.ones((19, 3)), [[1, np.nan, 1]]],
            "1 of 20 items of the target have features that are",
        ),
        (np.full((20, 3), np.inf), np.ones((20, 3)), "20 of 20 items of the source"),
    ],
)
def test_sides_that_nothing_can_be_said_of(source: np.ndarray, target: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked_sides(source, target)


def test_wrong_words() -> None:
    source, target = sides()
    for wrong in ({"kernel": "cubic"}, {"bandwidth": 0.0}, {"bandwidth": np.nan}):
        with pytest.raises(UsageError):
            mmd(source, target, **wrong)
    with pytest.raises(UsageError, match="folds=1"):
        proxy_a_distance(source, target, folds=1)
    assert drawn(5, 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
    assert len(set(drawn(50, 9, np.random.default_rng(0)).tolist())) == 9
