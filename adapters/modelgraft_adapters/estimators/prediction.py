"""What adapters say of one item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from modelgraft.errors import UsageError
from modelgraft.learning import Task


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was found for one item."""

    item: Any
    """The item as it was given."""
    label: str | None
    """The best label; None if no score reached the threshold, or on an error."""
    score: float | None
    """The best label's score, also where it was too low to give the label."""
    scores: dict[str, float]
    """Label to score, best first; empty on an error."""
    error: str | None = None
    """Why the item could not be read; None when it could."""
    note: str | None = None
    """What to know of how it was read ("12 frames, the first is taken")."""
    ood: float | None = None
    """Share of training items that are at least as strange (`Adapter.ood_scores`); None where the adapter has no reference."""
    set: list[str] | None = None
    """The classes that hold the true one as often as was asked (`predict_set`), best first; None where nothing was asked, and of
    an item that could not be read."""


def prediction(
    item: Any,
    values: Sequence[float],
    classes: Sequence[str],
    task: Task = "single-label",
    *,
    threshold: float | None = None,
    note: str | None = None,
) -> Prediction:
    """A `Prediction` from C scores; the label is None where the best does not reach ``threshold``.

    multi-label: the label is every class over one half, joined by ``|``, best first (None if there is none). regression: no label,
    the values are the scores.
    """
    order = sorted(range(len(values)), key=lambda n: -values[n])
    scores = {classes[n]: values[n] for n in order}
    best = values[order[0]]
    if task == "regression":
        return Prediction(item, None, None, dict(zip(classes, values, strict=True)), note=note)
    if task == "multi-label":
        over = [classes[n] for n in order if values[n] > (0.5 if threshold is None else threshold)]
        return Prediction(item, "|".join(over) or None, best, scores, note=note)
    known = threshold is None or best >= threshold
    return Prediction(item, classes[order[0]] if known else None, best, scores, note=note)


def checked_threshold(threshold: Any) -> float | None:
    """Return what the best score must reach.

    Raises:
        UsageError: no number.
    """
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or math.isnan(threshold):
        raise UsageError(f"threshold={threshold!r}: a number that the best score must reach, or None")
    return float(threshold)
