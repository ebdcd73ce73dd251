"""LogME against the evidence by its definition, maximised naively."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.relevance import log_evidence, log_evidence_of_labels
from scipy.optimize import minimize
from scipy.stats import multivariate_normal


def naive(x: np.ndarray, y: np.ndarray) -> float:
    """The largest log density of y under N(0, x x' / alpha + I / beta), by item, from many starts."""
    kernel = x @ x.T

    def minus(logs: np.ndarray) -> float:
        alpha, beta = np.exp(np.clip(logs, -25, 25))
        covariance = kernel / alpha + np.eye(len(y)) / beta
        fit = y @ np.linalg.solve(covariance, y)
        return 0.5 * (len(y) * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + fit)

    starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (-1.0, 3.0)]
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000}
    return -min(minimize(minus, start, method="Nelder-Mead", options=options).fun for start in starts) / len(y)


def by_weights(x: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """The paper's formula (2): with the posterior of the weights, and all D of them counted."""
    n, d = x.shape
    a = alpha * np.eye(d) + beta * x.T @ x
    m = beta * np.linalg.solve(a, x.T @ y)
    fit = beta / 2 * ((x @ m - y) ** 2).sum() + alpha / 2 * m @ m
    return n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi) - fit - np.linalg.slogdet(a)[1] / 2


@pytest.mark.parametrize(("items", "numbers"), [(40, 100), (60, 12), (25, 25), (30, 3)])
def test_is_the_largest_evidence(items: int, numbers: int) -> None:
    rng = np.random.default_rng(items)
    x = rng.normal(size=(items, numbers)) * rng.uniform(0.2, 3, numbers)
    y = x[:, :3] @ [1.0, -0.5, 0.2] + rng.normal(size=items)
    assert log_evidence(x, y) == pytest.approx(naive(x, y), abs=1e-6)


def test_the_naive_evidence_is_the_papers_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 30)), rng.normal(size=12)
    covariance = x @ x.T / 0.7 + np.eye(12) / 2.5
    density = float(multivariate_normal(np.zeros(12), covariance).logpdf(y))
    assert by_weights(x, y, 0.7, 2.5) == pytest.approx(density, abs=1e-9)


def test_no_alpha_and_beta_do_better() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 100))
    y = (rng.random(40) < 0.4).astype(float)
    found = log_evidence(x, y) * 40
    tried = [by_weights(x, y, 10**a, 10**b) for a in np.linspace(-6, 8, 57) for b in np.linspace(-3, 4, 29)]
    assert max(tried) <= found + 1e-9 and max(tried) > found - 1.0


def test_of_classes_is_the_mean_over_them() -> None:
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(50, 8)), np.arange(50) % 3
    each = [log_evidence(x, (labels == n).astype(float)) for n in range(3)]
    assert log_evidence_of_labels(x, labels) == pytest.approx(np.mean(each), abs=1e-12)
    assert log_evidence_of_labels(x, labels + 4) == pytest.approx(np.mean(each), abs=1e-12), "numbers may have gaps"


def test_a_factor_and_a_rotation_change_nothing_and_signal_helps() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3
    x = rng.normal(size=(60, 20))
    turn = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    told = log_evidence_of_labels(x, labels)
    assert log_evidence_of_labels(1000 * x @ turn, labels) == pytest.approx(told, abs=1e-9)
    better = x + 3 * np.eye(20)[labels]
    assert log_evidence_of_labels(better, labels) > told + 0.1


def test_features_without_signal_give_the_evidence_of_noise_alone() -> None:
    x, y = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([1.0, 1.0, 2.0, 2.0])
    only_noise = 0.5 * (np.log(1 / (y**2).mean()) - np.log(2 * np.pi) - 1)
    assert log_evidence(x, y) == pytest.approx(only_noise, abs=1e-5)


@pytest.mark.parametrize(
    ("x", "labels", "says"),
    [
        (np.ones((3, 2)) * np.nan, [0, 1, 1], "not finite"),
        (np.ones((3, 2)), [1, 1, 1], "one class"),
        (np.ones((3, 2)), [0, 1], "one an item"),
        (np.ones((3, 2)), [0, -1, 1], "no label"),
        (np.ones((1, 2)), [0], "at least 2 items"),
        (np.ones(3), [0, 1, 1], "numbers (N, D)"),
        (np.zeros((3, 2)), [0, 1, 1], "all 0"),
        (np.array([["a"], ["b"], ["c"]]), [0, 1, 1], "numbers (N, D)"),
    ],
)
def test_wrong_arrays_are_refused_in_a_line(x: np.ndarray, labels: list[int], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        log_evidence_of_labels(x, np.array(labels))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_targets_are_refused() -> None:
    x = np.eye(3)
    for targets in (np.zeros(3), np.ones(4), np.array([1.0, np.inf, 0.0])):
        with pytest.raises(UsageError):
            log_evidence(x, targets)
