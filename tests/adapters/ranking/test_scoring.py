"""Scores of features that are there, against scikit-learn's probe and k-NN and the scores' own functions."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.ranking.scoring import SCORES, score_features
from modelgraft_adapters.relevance import gaussian_overlap, leep, log_evidence_of_labels, nce, shrunk_h_score
from sklearn.linear_model import LogisticRegression


def made(items: int = 90, numbers: int = 12, apart: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(items) % 3
    return (rng.normal(size=(items, numbers)) + apart * rng.normal(size=(3, numbers))[labels]).astype(
        np.float32
    ), labels


def test_the_probe_is_logistic_regression_over_folds() -> None:
    x, y = made()
    found = score_features(x, y, ["probe"])
    rows = x.astype(float) - x.mean(axis=0, dtype=float)
    rows /= np.sqrt((rows**2).sum(axis=1).mean())
    fold = folds(y, "single-label", 5, 0)

    def at(strength: float) -> np.ndarray:
        right = np.zeros(len(y), bool)
        for n in range(5):
            model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(rows[fold != n], y[fold != n])
            right[fold == n] = model.predict(rows[fold == n]) == y[fold == n]
        return right

    tried = [at(strength) for strength in (0.1, 1.0, 10.0, 100.0, 1000.0)]
    assert any((found.right["probe"] == right).all() for right in tried)
    assert found.values["probe"] == max(right.mean() for right in tried)


def test_figures_without_training_are_their_functions() -> None:
    x, y = made()
    source = np.random.default_rng(1).dirichlet(np.ones(4), len(y))
    found = score_features(x, y, SCORES, source=source)
    assert set(found.values) == set(SCORES) and not found.missing
    assert found.values["logme"] == pytest.approx(log_evidence_of_labels(x, y))
    assert found.values["h-score"] == pytest.approx(shrunk_h_score(x, y), rel=1e-4)
    assert found.values["gbc"] == pytest.approx(gaussian_overlap(x, y), rel=1e-4)
    assert found.values["leep"] == leep(source, y) and found.values["nce"] == nce(source.argmax(axis=1), y)


def test_a_factor_changes_nothing_and_better_features_score_higher() -> None:
    x, y = made(apart=0.3)
    one, other = score_features(x, y, SCORES[:5]), score_features(x * 512, y, SCORES[:5])
    assert one.values == pytest.approx(other.values, rel=1e-5)
    better = score_features(made(apart=1.0)[0], y, SCORES[:5])
    assert all(better.values[name] > one.values[name] for name in one.values)


def test_the_learning_curve_grows() -> None:
    x, y = made(300, 40, 0.5)
    found = score_features(x, y, [], curve=True)
    assert [labels for labels, _ in found.curve] == [30, 60, 120, 240]
    means = [right.mean() for _, right in found.curve]
    assert means[0] < means[-1] and found.curve[-1][1].mean() == found.values["probe"]


def test_no_source_classes_are_left_out_and_said() -> None:
    x, y = made(30)
    found = score_features(x, y, ["leep", "knn"])
    assert "leep" not in found.values and "no classes of its own" in found.missing["leep"]


def test_a_class_of_one_item_costs_no_score() -> None:
    x, y = made(30)
    y = np.append(y[:-1], 3)
    found = score_features(x, y, ["probe", "knn", "gbc", "logme"])
    assert len(found.values) == 4 and not found.right["probe"][-1]


def test_groups_stay_on_one_side() -> None:
    x, y = made(60, apart=0.0)
    x[::2], y[::2] = x[1::2], y[1::2]  # each item twice
    groups = np.array([str(n // 2) for n in range(60)], object)
    alone = score_features(x, y, ["knn"]).values["knn"]
    assert score_features(x, y, ["knn"], groups=groups).values["knn"] < alone - 0.2


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.full((6, 2), np.nan), [0, 1] * 3, "not finite"),
        (np.ones((6, 2)), [0, 1] * 3, "one and the same"),
        (np.eye(3), [0, 1, 2], "no class has two items"),
    ],
)
def test_what_cannot_be_scored_is_said(x: np.ndarray, y: list[int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        score_features(x, np.array(y), ["knn"])
    with pytest.raises(UsageError, match="no score 'best'"):
        score_features(x, np.array(y), ["best"])
