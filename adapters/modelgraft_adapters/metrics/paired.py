"""Whether one way does better than another: differences on the same test items and the same draws, with their intervals.

What two ways get wrong they mostly get wrong together, so a difference is known far better than two scores with an interval each:
it is taken item by item and draw by draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.defaults import is_whole
from modelgraft_adapters.metrics.intervals import Z
from modelgraft_adapters.metrics.scores import Evaluation, Score, average_precisions, explained_share
from modelgraft_adapters.metrics.spread import CurvePoint, Spread, mean_interval, mean_spread

RESAMPLES: Final = 400
TESTS: Final = {
    "single-label": "items in pairs (Agresti and Min 2005), joined with the spread over the seeds (Welch 1947, Satterthwaite 1946)",
    "other": "paired bootstrap over the items (Efron 1979), joined with the spread over the seeds (Welch 1947, Satterthwaite 1946)",
}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one trained model said of the M test items."""

    task: Task
    right: np.ndarray
    """single-label (M,) float64: 1, 0, or NaN for an item that could not be read. Else empty."""
    outputs: np.ndarray
    """The other tasks (M, C) float64, NaN for an item that could not be read; single-label empty."""
    targets: np.ndarray
    """The other tasks (M, C) float64; single-label empty."""

    @classmethod
    def of(cls, found: Evaluation, count: int) -> Answers:
        """Of an evaluation on ``count`` test items."""
        if found.task == "single-label":
            right = np.full(count, np.nan)
            right[found.indices] = found.predicted == found.targets
            return cls(found.task, right, np.zeros((0, 0)), np.zeros((0, 0)))
        outputs = np.full((count, found.outputs.shape[1]), np.nan)
        targets = np.zeros((count, found.outputs.shape[1]))
        outputs[found.indices], targets[found.indices] = found.outputs, found.targets
        return cls(found.task, np.zeros(0), outputs, targets)

    @property
    def score(self) -> float:
        """The main score; NaN where the items do not define it."""
        if self.task == "single-label":
            known = self.right[~np.isnan(self.right)]
            return float(known.mean()) if len(known) else math.nan
        known = ~np.isnan(self.outputs).any(axis=1)
        return main_score(self.task, self.targets[known], self.outputs[known]) if known.any() else math.nan

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        if self.task == "single-label":
            return {"right": "".join("-" if math.isnan(v) else str(int(v)) for v in self.right.tolist())}
        rows = [None if math.isnan(row[0]) else row for row in self.outputs.tolist()]
        return {"outputs": rows, "targets": self.targets.tolist()}

    @classmethod
    def restore(cls, task: Task, record: dict[str, Any]) -> Answers:
        """From a `record`."""
        if task == "single-label":
            right = np.array([np.nan if sign == "-" else float(sign) for sign in record["right"]])
            return cls(task, right, np.zeros((0, 0)), np.zeros((0, 0)))
        targets = np.array(record["targets"], np.float64)
        outputs = np.array(
            [[np.nan] * targets.shape[1] if row is None else row for row in record["outputs"]], np.float64
        )
        return cls(task, np.zeros(0), outputs, targets)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A difference to the best row as it is to be read in a table of many (`many_rows`)."""

    low: float
    high: float
    """Interval that holds for all differences of the table together, 95 times in 100."""
    p: float
    """How often, of tables of equally good rows, some two rows differ as clearly as these."""
    rows: int
    """Rows that were looked at: K."""

    @property
    def worse(self) -> bool:
        """Whether the row is worse than the best beyond chance."""
        return self.high < 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better (above 0) or worse one way is than another."""

    value: float
    low: float
    high: float
    """95 % interval."""
    p: float | None
    """Of one seed of a single-label task: McNemar's exact test, two-sided; else None."""
    corrected: Corrected | None = None
    """In a table: the same, corrected for looking at all of its rows."""


def difference(one: Sequence[Answers], other: Sequence[Answers]) -> Difference:
    """The main score of ``one`` less that of ``other``: S trainings each, with the same seeds; a way that nothing is drawn for may
    have one, which then stands beside each of the other's.

    For each seed the difference has an interval over the test items: single-label from the two counts of items that one alone got
    right (Agresti and Min 2005, doi 10.1002/sim.1781, who add a half to each cell of the table, so that no difference at all is
    not taken for certainty); else by resampling items, for both at once (paired percentile bootstrap, Efron 1979). The seeds are
    joined by `spread.mean_interval`. One seed of a single-label task gets McNemar's exact test too (McNemar 1947): the
    binomial of those two counts. Items that either could not read are left out.
    """
    parts = _parts(one, other)
    mean, low, high = mean_interval(parts)
    p = None
    if len(parts) == 1 and one[0].task == "single-label":
        p = mcnemar(*_discordant(one[0], other[0])[:2])
    return Difference(mean, low, high, p)


def check_rows(rows: Sequence[Sequence[Answers]]) -> None:
    """Check that K ways, each with the answers of its trainings, can be compared item by item.

    Raises:
        UsageError: a way without answers, other tasks, test items or targets, or other numbers of trainings (but 1).
    """
    if not all(rows):
        raise UsageError("a way without answers is compared with nothing")
    answers = [answer for row in rows for answer in row]
    first = answers[0] if answers else None
    for answer in answers[1:]:
        assert first is not None
        if (answer.task, answer.right.shape, answer.outputs.shape) != (
            first.task,
            first.right.shape,
            first.outputs.shape,
        ):
            raise UsageError(
                f"answers to {_items(first)} and to {_items(answer)} are not compared; both take the same test items"
            )
        both = ~(np.isnan(answer.outputs).any(axis=1) | np.isnan(first.outputs).any(axis=1))
        if not np.array_equal(answer.targets[both], first.targets[both], equal_nan=True):
            raise UsageError("answers to test items of other targets are not compared; both take the same test items")
    counts = {len(row) for row in rows} - {1}
    if len(counts) > 1:
        raise UsageError(f"{' and '.join(map(str, sorted(counts)))} trainings are not compared; give one for each seed")


def _items(answer: Answers) -> str:
    return f"{max(len(answer.right), len(answer.outputs))} {answer.task} items"


def spread(one: Sequence[Answers], other: Sequence[Answers]) -> Spread:
    """Return the `difference` as its middle, its standard error and the error's degrees of freedom."""
    return mean_spread(_parts(one, other))


def _parts(one: Sequence[Answers], other: Sequence[Answers]) -> list[Score]:
    """The difference of each pair of trainings."""
    check_rows([one, other])
    count = max(len(one), len(other))
    pairs = [(one[n % len(one)], other[n % len(other)]) for n in range(count)]
    return [_matched(a, b) if a.task == "single-label" else _resampled(a, b) for a, b in pairs]


def covariance(rows: Sequence[Answers]) -> np.ndarray:
    """(K, K): the covariance of the main scores of K ways over test sets, from the items of one. Errors as `check_rows`."""
    check_rows([[row] for row in rows])
    if rows[0].task == "single-label":
        right = np.stack([row.right for row in rows])
        known = ~np.isnan(right)
        count = max(int(known.all(axis=0).sum()), 2)
        means = [row[good].mean() if good.any() else 0.0 for row, good in zip(right, known, strict=True)]
        centred = np.where(known, right - np.array(means)[:, None], 0.0)
        return centred @ centred.T / count**2
    known = np.flatnonzero(~np.isnan(np.stack([row.outputs for row in rows])).any(axis=(0, 2)))
    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            [main_score(row.task, row.targets[index], row.outputs[index]) for row in rows]
            for index in (
                known[rng.integers(0, len(known), len(known))] for _ in range(RESAMPLES if len(known) > 1 else 0)
            )
        ]
    )
    drawn = drawn[np.isfinite(drawn).all(axis=1)] if len(drawn) else drawn
    return np.atleast_2d(np.cov(drawn.T)) if len(drawn) > 1 else np.zeros((len(rows), len(rows)))


def mcnemar(first: int, second: int) -> float:
    """The two-sided p of ``first`` items that one alone got right and ``second`` that the other did (McNemar 1947, exact).

    Raises:
        UsageError: no numbers of items.
    """
    if not all(is_whole(count) and count >= 0 for count in (first, second)):
        raise UsageError(f"McNemar's test is of two numbers of items, not of {first!r} and {second!r}")
    from scipy.stats import binomtest

    both = int(first + second)
    return float(binomtest(int(first), both, 0.5).pvalue) if both else 1.0


def main_score(task: Task, targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean average precision (multi-label) or R2 (regression) of outputs (N, C), as `scores.evaluate` has it;
    NaN where the items do not define it."""
    if task == "regression":
        return explained_share(targets, outputs)
    return float(average_precisions(targets > 0.5, outputs, np.ones((1, len(targets))))[0])


@dataclass(frozen=True, slots=True)
class Reach:
    """Labels of each class (of a regression: items) that a score takes."""

    labels: float | None
    """None where it was not reached."""
    at_most: bool = False
    """The fewest labels that were tried reached it: it may take fewer."""

    def __str__(self) -> str:
        if self.labels is None:
            return "not reached"
        return f"{'<= ' if self.at_most and self.labels else ''}{self.labels:.3g}"


def reach(points: Sequence[CurvePoint], classes: int, wanted: float) -> Reach:
    """Where a learning curve first gets to a score: between two points along the logarithm of the labels.

    Args:
        points: of the curve; ``shots`` 0 stands for a way that takes no labels.
        classes: C, which the items of "all" are divided by; 1 for a regression.

    Raises:
        UsageError: a score to get to that is no number.
    """
    if math.isnan(wanted):
        raise UsageError("the score to get to is nan; give a number")
    along = sorted((per_class(point, classes), point.mean) for point in points if math.isfinite(point.mean))
    for n, (labels, mean) in enumerate(along):
        if mean < wanted:
            continue
        if n == 0 or labels == 0:
            return Reach(labels, at_most=labels > 0)
        before, low = along[n - 1]
        share = (wanted - low) / (mean - low)
        return Reach(math.exp(math.log(before) + share * (math.log(labels) - math.log(before))))
    return Reach(None)


def per_class(point: CurvePoint, classes: int) -> float:
    """Labels of each class at a point; of "all" the mean."""
    return point.items / classes if point.shots is None else float(point.shots)


def _discordant(a: Answers, b: Answers) -> tuple[int, int, int]:
    """Items that a alone got right, that b alone did, and items in all."""
    known = ~(np.isnan(a.right) | np.isnan(b.right))
    left, right = a.right[known] > 0.5, b.right[known] > 0.5
    return int((left & ~right).sum()), int((right & ~left).sum()), int(known.sum())


def _matched(a: Answers, b: Answers) -> Score:
    first, second, count = _discordant(a, b)
    if not count:
        return Score("difference", math.nan, math.nan, math.nan)
    padded = count + 2
    middle = (first - second) / padded
    error = math.sqrt((first + second + 1) - (first - second) ** 2 / padded) / padded
    return Score("difference", (first - second) / count, middle - Z * error, middle + Z * error)


def _resampled(a: Answers, b: Answers) -> Score:
    known = np.flatnonzero(~(np.isnan(a.outputs).any(axis=1) | np.isnan(b.outputs).any(axis=1)))
    targets, left, right = a.targets[known], a.outputs[known], b.outputs[known]

    def find(index: np.ndarray) -> float:
        rows = targets[index]
        return main_score(a.task, rows, left[index]) - main_score(a.task, rows, right[index])

    rng = np.random.default_rng(0)
    value = find(np.arange(len(known))) if len(known) else math.nan
    times = RESAMPLES if len(known) > 1 else 0
    found = (find(rng.integers(0, len(known), len(known))) for _ in range(times))
    drawn = [one for one in found if math.isfinite(one)]
    if not math.isfinite(value) or len(drawn) < RESAMPLES // 2:
        return Score("difference", value, math.nan, math.nan)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Score("difference", value, float(low), float(high))
