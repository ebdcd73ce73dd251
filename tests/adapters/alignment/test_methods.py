"""The methods against their formulas, and against skada and POT."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.alignment.density_ratio import importance
from modelgraft_adapters.alignment.moments import coral, covariance, mean_shift
from modelgraft_adapters.alignment.subspace import subspace_alignment
from sklearn.linear_model import LogisticRegression

METHODS = {"mean-shift": mean_shift, "coral": coral, "subspace": subspace_alignment, "importance": importance}


def _domains(numbers: int = 6, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds of other means, scales and directions."""
    rng = np.random.default_rng(0)
    source = rng.normal(size=(count, numbers)) @ rng.normal(size=(numbers, numbers)) + 3
    target = rng.normal(size=(count + 30, numbers)) @ rng.normal(size=(numbers, numbers)) - 1
    return source, target


def _skada(source: np.ndarray, target: np.ndarray, adapter) -> np.ndarray:
    """What skada makes of the source; its target is centred."""
    both = np.concatenate([source, target])
    domain = np.repeat([1, -2], [len(source), len(target)])
    return adapter.fit_transform(both, sample_domain=domain)[: len(source)]


def test_the_mean_is_that_of_the_target() -> None:
    source, target = _domains()
    moved = mean_shift(source, target)
    assert np.abs(moved.mean(axis=0) - target.mean(axis=0)).max() < 1e-12
    assert np.abs(covariance(moved, 0) - covariance(source, 0)).max() < 1e-12


def test_coral_has_the_covariance_and_the_mean_of_the_target() -> None:
    source, target = _domains()
    moved = coral(source, target, shrinkage=0)
    assert np.abs(covariance(moved, 0) - covariance(target, 0)).max() < 1e-10
    assert np.abs(moved.mean(axis=0) - target.mean(axis=0)).max() < 1e-10


def test_coral_of_a_domain_and_itself_moves_nothing() -> None:
    source, _ = _domains()
    assert np.abs(coral(source, source) - source).max() < 1e-10


@pytest.mark.parametrize("count", [200, 8])
@pytest.mark.parametrize("shrinkage", [None, 0.3])
def test_coral_as_skada(shrinkage: float | None, count: int) -> None:
    """With Ledoit and Wolf's shrinkage, and with a given one; of fewer items than numbers too."""
    from skada import CORALAdapter

    source, target = _domains(12, count)
    expected = _skada(source, target, CORALAdapter(reg="auto" if shrinkage is None else shrinkage)) + target.mean(
        axis=0
    )
    assert np.abs(coral(source, target, shrinkage) - expected).max() < 1e-8


def test_coral_where_nothing_varies_in_some_directions() -> None:
    """Fewer items than numbers, and no shrinkage: finite, and equal in the directions that there are."""
    source, target = _domains(30, 10)
    moved = coral(source, target, shrinkage=0)
    assert np.isfinite(moved).all()
    assert np.linalg.matrix_rank(moved - moved.mean(axis=0)) <= 9


def test_subspace_alignment_is_its_formula() -> None:
    source, target = _domains()
    axes = [np.linalg.eigh(np.cov(x.T))[1][:, ::-1][:, :3] for x in (source, target)]
    expected = (source - source.mean(axis=0)) @ axes[0] @ (axes[0].T @ axes[1])
    found = (subspace_alignment(source, target, 3) - target.mean(axis=0)) @ axes[1]
    assert np.abs(found - expected).max() < 1e-9


def test_subspace_alignment_as_skada() -> None:
    from skada import SubspaceAlignmentAdapter
    from sklearn.decomposition import PCA

    source, target = _domains()
    expected = _skada(source, target, SubspaceAlignmentAdapter(n_components=4))
    back = PCA(4).fit(target)
    found = back.transform(subspace_alignment(source, target, 4))
    # The signs of principal directions are nobody's to say: those of skada's target are taken over.
    signs = np.sign((found * expected).sum(axis=0))
    assert np.abs(found * signs - expected).max() < 1e-8


def test_a_linear_head_of_the_coordinates_is_one_of_the_features() -> None:
    """Why the target needs no projection: the penalised optimum has its weights in the subspace."""
    source, target = _domains()
    labels = (source[:, 0] > np.median(source[:, 0])).astype(int)
    axes = np.linalg.svd(target - target.mean(axis=0), full_matrices=False)[2][:3].T
    moved = subspace_alignment(source, target, 3)
    exact = {"tol": 1e-12, "max_iter": 10_000}
    inside = LogisticRegression(**exact).fit((moved - target.mean(axis=0)) @ axes, labels)
    whole = LogisticRegression(**exact).fit(moved, labels)
    shown = inside.predict_proba((target - target.mean(axis=0)) @ axes)
    assert np.abs(shown - whole.predict_proba(target)).max() < 1e-4


def test_subspace_alignment_takes_what_holds_nine_tenths() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(300, 5)) * [10, 8, 0.1, 0.1, 0.1]
    target = rng.normal(size=(300, 5)) * [10, 8, 6, 0.1, 0.1]
    assert np.linalg.matrix_rank(subspace_alignment(source, target) - target.mean(axis=0), tol=1e-6) == 2


def test_importance_of_a_known_density_ratio() -> None:
    """Two Gaussians of one covariance: the logarithm of the ratio is linear, and known."""
    rng = np.random.default_rng(0)
    shift = np.array([0.8, -0.4])
    source, target = rng.normal(size=(4000, 2)), rng.normal(size=(3000, 2)) + shift
    found = importance(source, target, clip=1e6)
    ratio = np.exp(source @ shift - shift @ shift / 2)
    assert np.corrcoef(np.log(found.weights), np.log(ratio))[0, 1] > 0.999
    assert np.abs(np.log(found.weights / (ratio / ratio.mean()))).max() < 0.25
    assert np.abs((source * found.weights[:, None]).mean(axis=0) - shift).max() < 0.06
    assert found.weights.mean() == pytest.approx(1) and 0.6 < found.separable < 0.75


def test_importance_of_one_domain_is_flat() -> None:
    rng = np.random.default_rng(1)
    found = importance(rng.normal(size=(300, 40)), rng.normal(size=(300, 40)))
    assert found.effective > 250 and abs(found.separable - 0.5) < 0.1


def test_importance_is_clipped() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + 3
    free, clipped = importance(source, target, clip=1e9), importance(source, target, clip=5)
    assert clipped.effective > free.effective
    assert clipped.weights.max() / clipped.weights.mean() < free.weights.max() / free.weights.mean()


def test_importance_depends_on_the_seed_alone() -> None:
    source, target = _domains()
    one, other = importance(source, target, seed=3), importance(source, target, seed=3)
    assert np.array_equal(one.weights, other.weights)


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_aligned_is_refused(method: str) -> None:
    source, target = _domains()
    broken = source.copy()
    broken[7, 2] = np.nan
    for bad, said in (
        ((broken, target), "1 of 200 items of the source .the first: item 7. are not finite"),
        ((source, target[:3]), "the target has 3 readable items"),
        ((source, target[:0]), "the target has 0 readable items"),
        ((source[:, :4], target), "4 numbers and the target of 6"),
        ((source[0], target), "have the shape"),
    ):
        with pytest.raises(UsageError, match=said):
            METHODS[method](*bad)


def test_settings_that_cannot_be_are_refused() -> None:
    source, target = _domains()
    for call, said in (
        (lambda: coral(source, target, shrinkage=1.5), "shrinkage"),
        (lambda: coral(source, target, shrinkage=True), "shrinkage"),
        (lambda: subspace_alignment(source, target, 0), "from 1 to 6"),
        (lambda: subspace_alignment(source, target, 7), "from 1 to 6"),
        (lambda: importance(source, target, clip=0.5), "clip"),
        (lambda: importance(source, target, clip=float("nan")), "clip"),
    ):
        with pytest.raises(UsageError, match=said):
            call()
