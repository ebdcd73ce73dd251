"""How good predictions are: the scores of each task with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from modelgraft.learning import Task

CONFIDENCE: Final = 0.95
_Z: Final = 1.959964
RESAMPLES: Final = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """A figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was found on items with known targets. Items that could not be read are in ``unreadable`` and in no score."""

    task: Task
    classes: tuple[str, ...]
    scores: tuple[Score, ...]
    """The main one first: accuracy (single-label), mean average precision (multi-label), R2 (regression)."""
    targets: np.ndarray
    """Of the N items that were read, as `Dataset.targets`; -1 is a class that was not trained on: it counts as wrong."""
    outputs: np.ndarray
    """(N, C) float32 probabilities; of a regression the predicted values (N, K)."""
    identities: tuple[str, ...]
    """(N)."""
    indices: np.ndarray
    """(N,) int64: where these items are in the data that were evaluated."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Identity -> reason."""

    @property
    def score(self) -> Score:
        """The main score."""
        return self.scores[0]

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64: the most probable class of each item (single-label)."""
        return self.outputs.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """(C, C) int64: items of class row that were predicted as class column (single-label)."""
        found = np.zeros((len(self.classes), len(self.classes)), np.int64)
        known = self.targets >= 0
        np.add.at(found, (self.targets[known], self.predicted[known]), 1)
        return found

    def record(self) -> dict[str, Any]:
        """Plain JSON types: what goes into the card."""
        return {
            "items": len(self.targets),
            "unreadable": len(self.unreadable),
            "scores": [{"name": s.name, "value": s.value, "low": s.low, "high": s.high} for s in self.scores],
            "confidence": CONFIDENCE,
        }

    def __str__(self) -> str:
        broken = f"; {len(self.unreadable)} could not be read" if self.unreadable else ""
        return f"{', '.join(map(str, self.scores[:1]))} on {len(self.targets)} items{broken}"


def evaluate(
    task: Task,
    classes: Sequence[str],
    targets: np.ndarray,
    outputs: np.ndarray,
    identities: Sequence[str],
    indices: np.ndarray,
    unreadable: dict[str, str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Score outputs (N, C) against targets, both of items that were read; ``resamples`` is of the bootstrapped intervals."""
    find = {"single-label": _single, "multi-label": _multi, "regression": _regression}[task]
    scores = find(targets, outputs, np.random.default_rng(seed), resamples) if len(targets) else ()
    scores = scores or (Score("accuracy" if task == "single-label" else "score", math.nan, math.nan, math.nan),)
    return Evaluation(
        task, tuple(classes), scores, targets, outputs, tuple(identities), indices, dict(unreadable or {})
    )


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``hits`` in ``count`` independent trials (Wilson 1927)."""
    if not count:
        return math.nan, math.nan
    share = hits / count
    middle = (share + _Z * _Z / (2 * count)) / (1 + _Z * _Z / count)
    half = _Z / (1 + _Z * _Z / count) * math.sqrt(share * (1 - share) / count + _Z * _Z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _single(targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int) -> tuple[Score, ...]:
    right = outputs.argmax(axis=1) == targets
    accuracy = Score("accuracy", float(right.mean()), *wilson(float(right.sum()), len(right)))
    present = sorted(set(targets[targets >= 0].tolist()))
    if not present:
        return (accuracy,)
    # The mean of the classes' own accuracies: what accuracy would be if all classes were equally frequent.
    recalls = [right[targets == c] for c in present]
    balanced = float(np.mean([r.mean() for r in recalls]))
    error = _Z * math.sqrt(sum(r.mean() * (1 - r.mean()) / len(r) for r in recalls)) / len(recalls)
    own = np.clip(outputs[np.arange(len(targets)), targets.clip(0)], 1e-12, 1.0)[targets >= 0]
    losses = -np.log(own.astype(np.float64))
    spread = _Z * float(losses.std()) / math.sqrt(len(losses))
    loss = float(losses.mean())
    return (
        accuracy,
        Score("balanced accuracy", balanced, max(0.0, balanced - error), min(1.0, balanced + error)),
        Score("log loss", loss, loss - spread, loss + spread),
        Score("calibration error", calibration_error(outputs, right), math.nan, math.nan),
    )


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins of the highest probability (Guo et al. 2017, arXiv 1706.04599)."""
    confidence = probabilities.max(axis=1)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[which == b].mean() - confidence[which == b].mean()) * (which == b).mean() for b in np.unique(which)
    ]
    return float(sum(gaps))


def _multi(targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int) -> tuple[Score, ...]:
    from sklearn.metrics import average_precision_score, f1_score

    def precision(index: np.ndarray) -> float:
        t, o = targets[index], outputs[index]
        judged = [c for c in range(t.shape[1]) if 0 < t[:, c].sum() < len(t) or t[:, c].all()]
        return float(np.mean([average_precision_score(t[:, c], o[:, c]) for c in judged])) if judged else math.nan

    def f1(index: np.ndarray) -> float:
        return float(f1_score(targets[index], outputs[index] > 0.5, average="micro", zero_division=0.0))

    def exact(index: np.ndarray) -> float:
        return float(((outputs[index] > 0.5) == (targets[index] > 0.5)).all(axis=1).mean())

    named = (("mean average precision", precision), ("micro F1", f1), ("exact match", exact))
    return tuple(_resampled(name, find, len(targets), rng, resamples) for name, find in named)


def _regression(
    targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int
) -> tuple[Score, ...]:
    def r2(index: np.ndarray) -> float:
        t, o = targets[index].astype(np.float64), outputs[index]
        spread = ((t - t.mean(axis=0)) ** 2).sum(axis=0)
        return float(np.mean(1 - ((t - o) ** 2).sum(axis=0) / np.maximum(spread, 1e-300)))

    def absolute(index: np.ndarray) -> float:
        return float(np.abs(targets[index] - outputs[index]).mean())

    def root(index: np.ndarray) -> float:
        return float(np.sqrt(((targets[index].astype(np.float64) - outputs[index]) ** 2).mean()))

    named = (("R2", r2), ("mean absolute error", absolute), ("root mean squared error", root))
    return tuple(_resampled(name, find, len(targets), rng, resamples) for name, find in named)


def _resampled(name: str, find: Any, count: int, rng: np.random.Generator, resamples: int) -> Score:
    """A figure with the interval of the percentile bootstrap (Efron 1979) over items."""
    value = find(np.arange(count))
    drawn = [find(rng.integers(0, count, count)) for _ in range(resamples)] if count > 1 else [value]
    low, high = np.nanpercentile(drawn, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return Score(name, value, float(low), float(high))
