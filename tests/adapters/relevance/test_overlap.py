"""GBC against the Bhattacharyya coefficient in closed form and by integration."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.relevance import gaussian_overlap
from scipy.integrate import quad
from scipy.stats import norm


def closed(parts: list[np.ndarray], spherical: bool) -> float:
    """Minus the sum over ordered pairs, with full covariance matrices."""
    total, numbers = 0.0, parts[0].shape[1]
    for i, a in enumerate(parts):
        for j, b in enumerate(parts):
            if i == j:
                continue
            one, two = (np.diag(part.var(axis=0, ddof=1)) for part in (a, b))
            if spherical:
                one, two = (np.eye(numbers) * np.trace(c) / numbers for c in (one, two))
            middle, apart = (one + two) / 2, a.mean(axis=0) - b.mean(axis=0)
            distance = apart @ np.linalg.inv(middle) @ apart / 8
            distance += 0.5 * np.log(np.linalg.det(middle) / np.sqrt(np.linalg.det(one) * np.linalg.det(two)))
            total += np.exp(-distance)
    return -total


@pytest.mark.parametrize("kind", ["spherical", "diagonal"])
def test_is_the_closed_form(kind) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = rng.normal(size=(60, 4)) * [1, 2, 0.5, 1] + rng.normal(size=(3, 4))[labels]
    told = closed([x[labels == n] for n in range(3)], kind == "spherical")
    assert gaussian_overlap(x, labels, kind) == pytest.approx(told, rel=1e-10)


def test_of_one_number_is_the_integral() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    x = (rng.normal(size=40) + 1.5 * labels)[:, None] * 2
    one, two = (norm(x[labels == n].mean(), x[labels == n].std(ddof=1)) for n in range(2))
    overlap = quad(lambda v: np.sqrt(one.pdf(v) * two.pdf(v)), -30, 30)[0]
    assert gaussian_overlap(x, labels) == pytest.approx(-2 * overlap, abs=1e-7)


def test_principal_components_of_all_of_the_rank_change_nothing_spherical() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(30) % 2
    x = rng.normal(size=(30, 5)) + labels[:, None]
    wide = np.concatenate([x, np.zeros((30, 95))], axis=1)
    assert gaussian_overlap(wide, labels, components=5) == pytest.approx(gaussian_overlap(x, labels), rel=1e-9)


def test_classes_far_apart_do_not_overlap_and_equal_ones_do() -> None:
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(200, 3)), np.arange(200) % 2
    assert gaussian_overlap(x, labels) == pytest.approx(-2, abs=0.1)
    assert gaussian_overlap(x + 100 * labels[:, None], labels) == pytest.approx(0, abs=1e-12)
    points = np.repeat(np.eye(2), 3, axis=0)
    assert gaussian_overlap(points, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(0), "classes of equal items"


def test_wrong_arrays_are_refused() -> None:
    x = np.eye(3)
    with pytest.raises(UsageError, match="has 1 item"):
        gaussian_overlap(x, np.array([0, 0, 1]))
    with pytest.raises(UsageError, match="one class"):
        gaussian_overlap(x, np.array([0, 0, 0]))
    with pytest.raises(UsageError, match="no kind"):
        gaussian_overlap(x, np.array([0, 0, 1]), "full")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="all one"):
        gaussian_overlap(np.ones((4, 2)), np.array([0, 0, 1, 1]))
