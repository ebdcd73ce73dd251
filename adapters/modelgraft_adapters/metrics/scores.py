"""How good predictions are: the scores of each task with their intervals.

A score that the items do not define (R2 of targets that are all one, a mean precision without a positive item) is NaN here, as in
NumPy and scikit-learn, ``undefined`` where people read it, and null in every record; ``note`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.calls.score_inputs import checked_inputs
from modelgraft_adapters.defaults import is_whole
from modelgraft_adapters.metrics import intervals
from modelgraft_adapters.metrics.calibration import calibration_error
from modelgraft_adapters.metrics.class_scores import Figure, area_under_curve, macro_f1
from modelgraft_adapters.metrics.intervals import CONFIDENCE, FEW, FEW_FOR_CURVES, FEW_OF_A_CLASS, UNKNOWN, wilson

RESAMPLES: Final = 1000
GROUPS: Final = 400
"""Parts of the items that the jackknife leaves out in turn; of fewer items each is one."""
__all__ = ["CONFIDENCE", "RESAMPLES", "Evaluation", "Score", "evaluate", "wilson"]


@dataclass(frozen=True, slots=True)
class Score:
    """A figure with its 95 % interval."""

    name: str
    value: float
    """NaN where the items do not define it."""
    low: float
    high: float
    note: str = ""
    """Why it is undefined, or why its interval may hold the truth less often than it says."""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def record(self) -> dict[str, Any]:
        """Return plain JSON types: None for what is undefined or unknown."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        known = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return {"name": self.name, **known, **({"note": self.note} if self.note else {})}

    def __str__(self) -> str:
        if not self.defined:
            return f"{self.name} undefined" + (f" ({self.note})" if self.note else "")
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return f"{self.name} {self.value:.3f}" + (f" ({self.low:.3f} to {self.high:.3f})" if known else "")


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
            "scores": [score.record() for score in self.scores],
            "confidence": CONFIDENCE,
        }

    def __str__(self) -> str:
        broken = f"; {len(self.unreadable)} could not be read" if self.unreadable else ""
        return f"{', '.join(map(str, self.scores[:1]))} on {len(self.targets)} items{broken}"


MAIN: Final[dict[str, str]] = {
    "single-label": "accuracy",
    "multi-label": "mean average precision",
    "regression": "R2",
}


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
    """Score outputs (N, C) against targets, both of items that were read; ``resamples`` is of the bootstrapped intervals.

    Raises:
        UsageError: outputs or targets that nothing can be said of, see `score_inputs.checked_inputs`.
    """
    targets, outputs = checked_inputs(task, len(classes), targets, outputs)
    if not is_whole(resamples) or resamples < 0:
        raise UsageError(f"resamples={resamples!r}; a whole number, 0 or more")
    find = {"single-label": _single, "multi-label": _multi, "regression": _regression}[task]
    scores = find(targets, outputs, np.random.default_rng(seed), resamples) if len(targets) else ()
    scores = scores or (Score(MAIN[task], math.nan, math.nan, math.nan, "no item"),)
    return Evaluation(
        task, tuple(classes), scores, targets, outputs, tuple(identities), indices, dict(unreadable or {})
    )


def _single(targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int) -> tuple[Score, ...]:
    right = outputs.argmax(axis=1) == targets
    accuracy = Score("accuracy", float(right.mean()), *wilson(float(right.sum()), len(right)))
    known = targets >= 0
    present, place = np.unique(targets[known], return_inverse=True)
    if not len(present):
        unknown = "no item of a class that was trained on"
        return (
            accuracy,
            *(
                Score(name, math.nan, *UNKNOWN, unknown)
                for name in ("balanced accuracy", "macro F1", "AUROC", "log loss")
            ),
            Score("calibration error", calibration_error(outputs, right), *UNKNOWN),
        )
    # The mean of the classes' own accuracies: what accuracy would be if all classes were equally frequent.
    counts, hits = np.bincount(place).astype(float), np.bincount(place, right[known]).astype(float)
    own = np.clip(outputs[np.arange(len(targets)), targets.clip(0)], 1e-12, 1.0)[known]
    losses = -np.log(own.astype(np.float64))
    absent = [f"of the {len(present)} classes, of {outputs.shape[1]}, that have an item"] * (
        len(present) < outputs.shape[1]
    )
    count, least = int(counts.sum()), int(counts.min())
    notes = [*absent, *filter(None, [_few(count, least, "a class has")])]
    more = [*absent, *filter(None, [_few(count, least, "a class has", FEW_FOR_CURVES)])]
    return (
        accuracy,
        Score(
            "balanced accuracy",
            float((hits / counts).mean()),
            *intervals.mean_of_shares(hits, counts),
            "; ".join(notes),
        ),
        _of_classes("macro F1", macro_f1(targets, outputs.argmax(axis=1), outputs.shape[1]), more),
        _of_classes("AUROC", area_under_curve(targets, outputs), more),
        _mean("log loss", losses),
        Score("calibration error", calibration_error(outputs, right), *UNKNOWN),
    )


def _of_classes(name: str, figure: Figure, notes: list[str]) -> Score:
    """``notes`` are of the items' classes."""
    value, error, judged, items = figure
    if not judged:
        return Score(name, math.nan, *UNKNOWN, "all items are of one class")
    return Score(name, value, *intervals.share_with_error(value, error, items), "; ".join(notes))


def _multi(targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int) -> tuple[Score, ...]:
    on, said = targets > 0.5, outputs > 0.5
    exact = (on == said).all(axis=1)
    both, either = (on & said).sum(axis=1), on.sum(axis=1) + said.sum(axis=1)
    f1 = Score("micro F1", math.nan, *UNKNOWN, "no label, neither true nor predicted")
    if either.sum():
        value = float(2 * both.sum() / either.sum())
        # Of a ratio of sums, by the items' shares in it.
        error = float(np.sqrt(((2 * both - value * either) ** 2).sum()) / either.sum())
        ends = intervals.share_with_error(value, error, len(on))
        f1 = Score("micro F1", value, *ends, _few(len(on)))
    return (
        _precision(on, outputs, rng),
        f1,
        Score("exact match", float(exact.mean()), *wilson(float(exact.sum()), len(exact))),
    )


def _precision(on: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Score:
    """Mean over the classes that have a positive item of average precision."""
    count, positives = len(on), on.sum(axis=0)
    judged = np.flatnonzero(positives)
    name = MAIN["multi-label"]
    if not len(judged):
        return Score(name, math.nan, *UNKNOWN, "no item has a label")
    value = float(average_precisions(on, outputs, np.ones((1, count)))[0])
    if count < 2:
        return Score(name, value, *UNKNOWN, "one item")
    # The jackknife: each item, or group of items, left out in turn (Tukey 1958).
    groups = min(count, GROUPS)
    group = rng.permutation(count) % groups
    without = average_precisions(on, outputs, (np.arange(groups)[:, None] != group).astype(float))
    error = math.sqrt(float(np.nansum((without - np.nanmean(without)) ** 2)) * (groups - 1) / groups)
    notes = [f"of the {len(judged)} classes, of {on.shape[1]}, that have a positive item"] * (len(judged) < on.shape[1])
    if few := _few(count, int(positives[judged].min()), "a class has"):
        notes.append(few)
    return Score(name, value, *intervals.share_with_error(value, error, count), "; ".join(notes))


def average_precisions(on: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over classes of average precision, for each of B weightings of the items: (B,).

    Sum over the distinct scores of precision times the rise of recall, as scikit-learn's; a class without weight on a positive item
    is left out.

    Args:
        on: (N, C) bool.
        scores: (N, C).
        weights: (B, N), at least 0.
    """
    total, judged = np.zeros(len(weights)), np.zeros(len(weights))
    for c in range(on.shape[1]):
        if not on[:, c].any():
            continue
        order = np.argsort(-scores[:, c], kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order, c])), len(order) - 1)
        for begin in range(0, len(weights), 256):
            some = slice(begin, begin + 256)
            ordered = weights[some][:, order]
            found = np.cumsum(ordered, axis=1)[:, ends]
            hits = np.cumsum(ordered * on[order, c], axis=1)[:, ends]
            there = hits[:, -1] > 0
            rise = np.diff(hits, axis=1, prepend=0.0)
            precision = np.divide(hits, found, out=np.zeros_like(hits, dtype=float), where=found > 0)
            total[some] += np.where(there, (rise * precision).sum(axis=1) / np.where(there, hits[:, -1], 1), 0.0)
            judged[some] += there
    return np.divide(total, judged, out=np.full(len(weights), math.nan), where=judged > 0)


def _regression(
    targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int
) -> tuple[Score, ...]:
    apart = targets.astype(np.float64) - outputs
    one = intervals.unit_of(apart)
    squares = _mean("root mean squared error", ((apart / one) ** 2).mean(axis=1))
    value, low, high = (math.sqrt(v) * one for v in (squares.value, squares.low, squares.high))
    root = Score(squares.name, value, low, high, squares.note)
    absolute = _mean("mean absolute error", (np.abs(apart) / one).mean(axis=1) * one)
    return _explained(targets, outputs, rng, resamples), absolute, root


def _explained(targets: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, resamples: int) -> Score:
    """R2, the mean over the columns; undefined where the targets of one are all the same."""
    value = explained_share(targets, outputs)
    if not math.isfinite(value):
        why = "one item" if len(targets) == 1 else "the targets are all the same"
        return Score("R2", math.nan, *UNKNOWN, "the errors are beyond all measure" if math.isinf(value) else why)
    centred, errors, _ = _parts(targets, outputs)
    ends = intervals.explained(errors, centred, rng, resamples)
    uneven = _uneven(errors.mean(axis=1)) or _uneven((centred**2).mean(axis=1))
    return Score("R2", value, *ends, _few(len(targets)) or uneven)


def explained_share(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Return R2 of outputs for targets (N, K), the mean over the columns; NaN where one is constant."""
    centred, errors, largest = _parts(targets, outputs)
    spread = (centred**2).sum(axis=0)
    # What rounding leaves of a constant column is no spread.
    size = largest * np.finfo(np.float64).eps
    if len(targets) < 2 or (spread <= len(targets) * size**2).any() or not (spread > 0).all():
        return math.nan
    with np.errstate(over="ignore"):
        return float(np.mean(1 - errors.sum(axis=0) / spread))


def _parts(targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets less their mean, squared errors (N, K), and the targets' largest (K,), each column in a unit of its own: squares of
    numbers near 1e300, or 1e-300, are none. A power of two, so that nothing is rounded."""
    units = np.array([intervals.unit_of(column) for column in targets.T])
    exact = targets.astype(np.float64) / units
    with np.errstate(over="ignore"):
        errors = (exact - outputs / units) ** 2
    return exact - exact.mean(axis=0), errors, np.abs(exact).max(axis=0, initial=0.0)


def _mean(name: str, values: np.ndarray) -> Score:
    """The mean of losses (N,), each at least 0."""
    one = intervals.unit_of(values)
    ends = intervals.mean_of_losses(values)
    return Score(name, float((values / one).mean()) * one, *ends, _few(len(values)) or _uneven(values / one))


def _few(count: int, least: int = FEW, has: str = "", enough: int = FEW_OF_A_CLASS) -> str:
    """What is said beside an interval of few items."""
    if count < FEW:
        return f"its interval is of {count} item{'s' if count > 1 else ''} and may be too narrow"
    if least < enough:
        return f"{has} {least} item{'s' if least > 1 else ''}: its interval may be too narrow"
    return ""


def _uneven(values: np.ndarray) -> str:
    """What is said beside an interval of values of which a few decide."""
    return "a few items decide it: its interval may be too narrow" if intervals.few_decide(values) else ""
