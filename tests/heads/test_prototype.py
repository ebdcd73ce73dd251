"""The prototype head against its formula and scikit-learn's nearest centroid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.learning import Examples
from modelgraft_heads.prototype import TEMPERATURES, PrototypeHead
from sklearn.neighbors import NearestCentroid


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_logits_are_the_cosine_with_the_class_mean_over_the_temperature(examples: Examples, held: Any) -> None:
    features = _unit(examples.features.double().numpy())
    means = _unit(np.stack([features[examples.targets.numpy() == c].mean(axis=0) for c in range(10)]))
    expected = _unit(held[0].double().numpy()) @ means.T / 0.2
    np.testing.assert_allclose(PrototypeHead.fit(examples, temperature=0.2).logits(held[0]), expected, atol=2e-5)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # scikit-learn's, of one example a class
def test_it_predicts_as_nearest_centroid_of_means_of_length_one(examples: Examples, held: Any) -> None:
    peer = NearestCentroid()
    features = _unit(examples.features.double().numpy())
    peer.fit(features, examples.targets.numpy())
    peer.centroids_ = _unit(peer.centroids_)
    predicted = PrototypeHead.fit(examples).logits(held[0]).argmax(dim=1).numpy()
    assert (predicted == peer.predict(_unit(held[0].double().numpy()))).all()


def test_the_temperature_is_the_likeliest_of_the_folds_and_moves_no_prediction(examples: Examples, held: Any) -> None:
    head = PrototypeHead.fit(examples)
    curve = head.report()["curve"]
    assert [row["temperature"] for row in curve] == list(TEMPERATURES)
    best = max(curve, key=lambda row: row["score"])
    assert head.report()["chosen"]["temperature"] == best["temperature"]
    other = PrototypeHead.fit(examples, temperature=1.0)
    assert torch.equal(head.logits(held[0]).argmax(dim=1), other.logits(held[0]).argmax(dim=1))
    likelihood = [h.probabilities(held[0])[range(600), held[1]].log().mean() for h in (head, other)]
    assert likelihood[0] > likelihood[1]


def test_the_number_of_items_of_a_class_changes_nothing(examples: Examples, held: Any) -> None:
    threes = (examples.targets == 3).nonzero().flatten()
    rows = torch.cat([torch.arange(200), threes, threes])
    repeated = replace(
        examples, features=examples.features[rows], targets=examples.targets[rows], folds=torch.zeros(len(rows)).long()
    )
    expected = PrototypeHead.fit(examples, temperature=0.1).logits(held[0])
    torch.testing.assert_close(
        PrototypeHead.fit(repeated, temperature=0.1).logits(held[0]), expected, atol=1e-4, rtol=0
    )


def test_a_class_without_examples_is_said_and_never_predicted(examples: Examples, held: Any) -> None:
    kept = examples.targets != 7
    head = PrototypeHead.fit(
        replace(examples, features=examples.features[kept], targets=examples.targets[kept], folds=examples.folds[kept])
    )
    assert "no example of 7" in head.report()["notes"][0]
    assert not (head.logits(held[0]).argmax(dim=1) == 7).any()
