"""Which of many rows are worse than the best of them, beyond chance: differences to the best, corrected for looking at all of them.

The best of K rows was chosen by the very scores that it is compared by, and each of the others is looked at: of 20 rows that are
equally good, one at least would nearly always seem worse. So the bound that a difference must pass is taken from the largest of
all K (K - 1) / 2 differences under chance alone (Tukey's range, by simulation with the rows' own covariance; Westfall and Young
1993, section 2.8): of tables of equally good rows, at most 5 % have any row that is said to be worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.metrics.intervals import CONFIDENCE
from modelgraft_adapters.metrics.paired import Answers, Corrected, check_rows, covariance, spread

DRAWS: Final = 4000
"""Tables of chance that the bound is taken from."""
_BLOCK: Final = 500


def corrected(rows: Sequence[Sequence[Answers]], best: int = 0) -> list[Corrected | None]:
    """The differences of all rows to the row ``best``, corrected for looking at K rows; None for that row.

    Args:
        rows: K ways, each with the answers of its S trainings (or of one, where nothing is drawn), on the same test items.

    Raises:
        UsageError: rows of other test items or tasks, a row without answers, a best row that there is not.
    """
    count = len(rows)
    check_rows(rows)
    if not -count <= best < count and count:
        raise UsageError(f"the best row is number {best} of {count} rows; there is none such")
    if count < 2:
        return [None] * count
    best %= count
    parts = [None if n == best else spread(row, rows[best]) for n, row in enumerate(rows)]
    largest = _largest_by_chance(rows)
    alone = _two_sided(CONFIDENCE)
    bound = max(alone, float(np.quantile(largest, CONFIDENCE))) if count > 2 else alone
    found: list[Corrected | None] = []
    for row, part in zip(rows, parts, strict=True):
        if part is None:
            found.append(None)
            continue
        freedom = min(part.freedom, 2.0 * _telling(row, rows[best])) if count > 2 else part.freedom
        half = _student(bound, freedom) * part.error
        p = 1.0 if part.error == 0 else math.nan  # no difference at all; one that the items do not define
        if part.error > 0:
            own = float(_normal(np.array(abs(part.centre) / part.error), np.array(freedom)))
            by_chance = float((1 + (largest >= own).sum()) / (1 + len(largest)))
            # As the bound is never below that of two rows alone: items that all speak alike show no chance to draw from.
            p = max(by_chance, _beyond(own))
        found.append(Corrected(part.centre - half, part.centre + half, p, count))
    return found


def _telling(one: Sequence[Answers], other: Sequence[Answers]) -> float:
    """How many items two rows tell apart: the error is known as well as that many are counted (at most all; at least 1)."""
    if one[0].task != "single-label":
        return math.inf
    counts = [float((np.abs(a.right - b.right) > 0).sum()) for a, b in zip(one, other, strict=False)]
    return max(float(np.mean(counts)), 1.0)


def _largest_by_chance(rows: Sequence[Sequence[Answers]]) -> np.ndarray:
    """(`DRAWS`,): the largest difference of any two rows, as a normal deviate, in tables of equally good rows that err as these do.

    What the test items do is common to the rows and to the draws of the labels, with the covariance that is seen; what the draws do
    is each row's own, with the spread that is seen; the spread is then found anew in each table, as it was in the real one.
    """
    count, draws = len(rows), max(len(row) for row in rows)
    blocks = covariance([row[n % len(row)] for n in range(draws) for row in rows]).reshape(draws, count, draws, count)
    items = np.mean([blocks[n, :, n] for n in range(draws)], axis=0)
    # What an item does to one draw alone is among what the draws do.
    pairs = [blocks[n, :, m] for n in range(draws) for m in range(draws) if n != m]
    common = items if draws == 1 else np.mean(pairs, axis=0)
    scores = [np.array([answer.score for answer in row]) for row in rows]
    own = np.array([0.0 if len(s) < 2 else float(s.std(ddof=1)) for s in scores])
    first, second = np.triu_indices(count, 1)
    of_items = np.maximum(items[first, first] + items[second, second] - 2 * items[first, second], 0.0)
    values, axes = np.linalg.eigh((common + common.T) / 2)
    root = axes * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(0)
    largest = []
    for _ in range(DRAWS // _BLOCK):
        table = rng.normal(size=(_BLOCK, count)) @ root.T
        apart = table[:, first] - table[:, second]
        variance, freedom = np.broadcast_to(of_items, apart.shape), np.full(apart.shape, np.inf)
        if draws > 1 and own.any():
            drawn = rng.normal(size=(_BLOCK, count, draws)) * own[:, None]
            between = drawn[:, first] - drawn[:, second]
            apart = apart + between.mean(axis=2)
            of_draws = between.var(axis=2, ddof=1) / draws
            variance = of_items + of_draws
            with np.errstate(divide="ignore", invalid="ignore"):
                freedom = np.where(of_draws > 0, variance**2 / (of_draws**2 / (draws - 1)), np.inf)
        ratio = np.divide(np.abs(apart), np.sqrt(variance), out=np.zeros_like(apart), where=variance > 1e-15)
        largest.append(_normal(ratio, freedom).max(axis=1))
    return np.concatenate(largest)


def _normal(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The normal deviate that is as unlikely as Student's ``t`` (Wallace 1959): so that differences of any freedom are compared."""
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(freedom)
        n = np.where(finite, freedom, 1.0)
        z = (8 * n + 1) / (8 * n + 3) * np.sqrt(n * np.log1p(t * t / n))
        return np.where(finite, z, t)


def _student(z: float, freedom: float) -> float:
    """Student's t that is as unlikely as the normal deviate ``z``: the inverse of `_normal`."""
    if not math.isfinite(freedom):
        return z
    scaled = z * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(min(scaled * scaled / freedom, 700.0)))


def _beyond(z: float) -> float:
    """How often a normal deviate is at least as far from 0 as ``z``."""
    return math.erfc(abs(z) / math.sqrt(2))


def _two_sided(confidence: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + confidence) / 2))
