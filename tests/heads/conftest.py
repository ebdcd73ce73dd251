"""Real features for the heads: scikit-learn's digits, and class embeddings made of their class means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from modelgraft import ScoreRule
from modelgraft.learning import Examples, TextClasses
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold


def folds_of(targets: np.ndarray, count: int = 5) -> torch.Tensor:
    """The stratified fold of each item."""
    folds = np.zeros(len(targets), np.int64)
    for number, (_, held) in enumerate(StratifiedKFold(count, shuffle=True, random_state=0).split(targets, targets)):
        folds[held] = number
    return torch.from_numpy(folds)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """(features (1797, 64) float32 in 0 ... 16, targets), shuffled."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return data.data[order].astype(np.float32), data.target[order].astype(np.int64)


@pytest.fixture(scope="session")
def text_classes(digits: tuple[np.ndarray, np.ndarray]) -> TextClasses:
    """A text tower that knows the digits roughly: the class means of 300 items that no test trains on, and noise."""
    features, targets = digits[0][-300:], digits[1][-300:]
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([features[targets == c].mean(axis=0) for c in range(10)])
    noisy = means + np.random.default_rng(1).normal(0, 0.06, means.shape)
    weight = torch.tensor(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=torch.float32)
    return TextClasses(weight, ScoreRule("softmax", 30.0))


@pytest.fixture
def examples(digits: tuple[np.ndarray, np.ndarray], text_classes: TextClasses) -> Examples:
    """200 labelled digits, their folds, class embeddings and 400 more without labels."""
    features, targets = digits
    return Examples(
        torch.from_numpy(features[:200]),
        torch.from_numpy(targets[:200]),
        "single-label",
        tuple("0123456789"),
        folds_of(targets[:200]),
        seed=3,
        text=text_classes,
        unlabelled=torch.from_numpy(features[200:600]),
    )


@pytest.fixture
def held(digits: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """(features, targets) of 600 digits that nothing was trained on."""
    return torch.from_numpy(digits[0][600:1200]), torch.from_numpy(digits[1][600:1200])
