"""The k-NN head against scikit-learn and its formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from modelgraft_heads import base
from modelgraft_heads.knn import KNNHead
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor


def _weights(distances: np.ndarray) -> np.ndarray:
    """softmax(cosine / 0.07) of cosine distances."""
    powers = np.exp((1 - distances) / 0.07 - ((1 - distances) / 0.07).max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_it_is_scikit_learns(k: int, examples: Examples, held: Any) -> None:
    peer = KNeighborsClassifier(k, metric="cosine", weights=_weights, algorithm="brute")
    peer.fit(examples.features.double().numpy(), examples.targets.numpy())
    found = KNNHead.fit(examples, k=k).probabilities(held[0])
    np.testing.assert_allclose(found, peer.predict_proba(held[0].double().numpy()), atol=3e-5)


def test_regression_is_scikit_learns(examples: Examples, held: Any) -> None:
    targets = examples.features[:, :3] * 2 + 1
    numbers = replace(examples, task="regression", targets=targets, classes=("x", "y", "z"))
    peer = KNeighborsRegressor(5, metric="cosine", weights=_weights, algorithm="brute")
    peer.fit(examples.features.double().numpy(), targets.double().numpy())
    found = KNNHead.fit(numbers, k=5).logits(held[0])
    np.testing.assert_allclose(found, peer.predict(held[0].double().numpy()), atol=2e-3)


def test_several_labels_are_the_weighted_mean_of_the_neighbours_labels(examples: Examples, held: Any) -> None:
    targets = torch.stack([examples.targets % 2 == 0, examples.targets > 4], dim=1).float()
    several = replace(examples, task="multi-label", targets=targets, classes=("even", "large"))
    peer = KNeighborsRegressor(5, metric="cosine", weights=_weights, algorithm="brute")
    peer.fit(examples.features.double().numpy(), targets.double().numpy())
    head = KNNHead.fit(several, k=5)
    found = head.probabilities(held[0])
    np.testing.assert_allclose(found, peer.predict(held[0].double().numpy()).clip(0, 1), atol=3e-5)
    torch.testing.assert_close(head.logits(held[0]).sigmoid(), found, atol=1e-5, rtol=0)


def test_row_scale_changes_nothing(examples: Examples, held: Any) -> None:
    factors = 2.0 ** torch.randint(-8, 8, (200, 1), generator=torch.Generator().manual_seed(0))
    head = KNNHead.fit(examples, k=5)
    scaled = KNNHead.fit(replace(examples, features=examples.features * factors), k=5)
    assert torch.equal(head.logits(held[0]), scaled.logits(held[0] * 4))


def test_one_neighbour_is_the_nearest_example(examples: Examples, held: Any) -> None:
    cosines = torch.nn.functional.cosine_similarity(held[0][:, None].double(), examples.features[None].double(), dim=2)
    found = KNNHead.fit(examples, k=1).probabilities(held[0])
    assert torch.equal(found.argmax(dim=1), examples.targets[cosines.argmax(dim=1)])
    assert torch.equal(found.sort(dim=1).values[:, -1], torch.ones(600))


def test_k_is_chosen_by_folds_as_a_loop_over_scikit_learn_would_score_it(examples: Examples) -> None:
    curve = {row["k"]: row["score"] for row in KNNHead.fit(examples).report()["curve"]}
    assert set(curve) == {1, 3, 5, 10, 20, 50, 100}  # 200 is more than four fifths of 200
    for k in (1, 5, 50):
        correct = []
        for fold in range(5):
            train = examples.folds != fold
            peer = KNeighborsClassifier(k, metric="cosine", weights=_weights, algorithm="brute")
            peer.fit(examples.features[train].double().numpy(), examples.targets[train].numpy())
            predicted = peer.predict(examples.features[~train].double().numpy())
            correct += (predicted == examples.targets[~train].numpy()).tolist()
        assert curve[k] == pytest.approx(np.mean(correct), abs=0.006)  # one tie in 200 may fall the other way


def test_tiles_change_nothing(examples: Examples, held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head = KNNHead.fit(examples, k=5)
    whole = head.probabilities(held[0])
    monkeypatch.setattr(base, "TILE", 2000)
    torch.testing.assert_close(head.probabilities(held[0]), whole, atol=1e-6, rtol=0)


def test_more_neighbours_than_examples_are_all_of_them(examples: Examples) -> None:
    head = KNNHead.fit(examples, k=999)
    assert head.report()["chosen"]["k"] == 200
    assert "999" in head.report()["notes"][0]


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 1.5}, {"k": "many"}, {"k": True}, {"temperature": 0}])
def test_settings_that_cannot_be(examples: Examples, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(settings))}=.*give a"):
        KNNHead.fit(examples, **settings)
