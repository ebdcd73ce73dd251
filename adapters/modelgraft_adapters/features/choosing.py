"""Whether a model in reduced precision gives the answers of float32: seen on some of the user's own items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft.devices import EXACT, FAST, device_of, dtype_of

from modelgraft_adapters.features.extractor import FeatureExtractor

SAMPLE: Final = 32
"""Items that are looked at."""
FEW: Final = 128
"""For fewer items than these nothing is tried: to load a model twice takes longer than they do."""
LEAST: Final = 0.999
"""The cosine that each item's two embeddings must have."""
TIE: Final = 0.01
"""Scores (probabilities, cosines) that lie no further apart are a tie: which of them is first says nothing."""

Scores = Callable[[str, np.ndarray], np.ndarray]
"""Of a precision and embeddings (N, D) by it the scores (N, C) that decide: an item's class is its highest."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, and why."""

    precision: Literal["exact", "fast"]
    why: str
    """A line for the user."""


def choose_precision(model: Any, items: Sequence[Any], *, scores: Scores | None = None, **options: Any) -> Choice:
    """Return ``fast`` where it gives what ``exact`` gives for a sample of the items, else ``exact``.

    A sample, spread evenly, is embedded in both: each item's two embeddings must have a cosine of 0.999, and what has its highest
    score must be the same, ties aside. Both are kept in the feature store, so that nothing is computed twice.

    Args:
        model: as `FeatureExtractor`'s, by name.
        scores: what decides; None asks which other item of the sample is nearest.
        options: as `FeatureExtractor`'s, without ``dtype``.

    Raises:
        UsageError, WeightsUnavailableError: as `FeatureExtractor`.
    """
    device = device_of(options.get("device"))
    if dtype_of(FAST, device) == torch.float32:
        return Choice("exact", "auto: float32, this processor does not compute in bfloat16")
    if len(items) < FEW:
        return Choice("exact", f"auto: float32, for {len(items)} items nothing else pays")
    sample = [items[place] for place in np.linspace(0, len(items) - 1, SAMPLE).astype(int).tolist()]
    found = {
        precision: FeatureExtractor(model, dtype=precision, **options).embed(sample) for precision in (EXACT, FAST)
    }
    good = found[EXACT].good & found[FAST].good
    if not good.any() or (found[EXACT].good != found[FAST].good).any():
        return Choice("exact", "auto: float32, no item to compare both precisions by can be embedded in both")
    wide, narrow = (found[precision].features[good].reshape(int(good.sum()), -1) for precision in (EXACT, FAST))
    least = least_cosine(wide, narrow)
    if least < LEAST:
        return Choice(
            "exact", f"auto: float32, in reduced precision an embedding has a cosine of {least:.4f} with its own"
        )
    if scores is None:
        scores = _nearest
    changed = _changed(scores(EXACT, wide), scores(FAST, narrow))
    if changed:
        return Choice(
            "exact", f"auto: float32, reduced precision changes the first answer of {changed} of {len(wide)} items"
        )
    name = str(dtype_of(FAST, device)).removeprefix("torch.")
    return Choice(
        "fast", f"auto: {name}; of {len(wide)} items no first answer changes, the least cosine is {least:.5f}"
    )


def least_cosine(wide: np.ndarray, narrow: np.ndarray) -> float:
    """Return the least cosine of an item's embeddings, of two of (N, D)."""
    return float(_cosines(wide, narrow).diagonal().min())


def first_answers_changed(wide: np.ndarray, narrow: np.ndarray) -> int:
    """Return for how many of N items the other item that is nearest is another one, beyond ties."""
    return _changed(_nearest(EXACT, wide), _nearest(FAST, narrow))


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(N, M) float64."""
    units = [rows.astype(np.float64) for rows in (left, right)]
    units = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) for rows in units]
    return units[0] @ units[1].T


def _nearest(precision: str, features: np.ndarray) -> np.ndarray:
    """Cosines with the other items."""
    found = _cosines(features, features)
    np.fill_diagonal(found, -np.inf)
    return found


def _changed(wide: np.ndarray, narrow: np.ndarray) -> int:
    """Items whose highest score is another one, beyond ties."""
    if wide.shape[1] < 2:
        return 0
    rows = np.arange(len(wide))
    first, other = wide.argmax(axis=1), narrow.argmax(axis=1)
    return int(((first != other) & (wide[rows, first] - wide[rows, other] > TIE)).sum())
