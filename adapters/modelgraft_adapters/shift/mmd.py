"""Maximum mean discrepancy, unbiased, with its permutation test: Gretton et al. 2012, "A kernel two-sample test", JMLR 13."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.shift.sides import checked_sides

Kernel = Literal["rbf", "linear"]
KERNELS: Final = ("rbf", "linear")
PERMUTATIONS: Final = 999
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """The squared MMD of two samples of N and M items."""

    value: float
    """Unbiased: without the terms of an item with itself. Around 0, and often below, where there is no difference."""
    biased: float
    """With those terms: never below 0; of the linear kernel the squared distance of the means."""
    kernel: Kernel
    bandwidth: float | None
    """Of the RBF kernel exp(-d^2 / 2 s^2): s."""
    p_value: float | None
    """Share of permutations of the sides, the one that is there among them, with at least this value; None where none was made."""
    permutations: int


def mmd(
    source: np.ndarray,
    target: np.ndarray,
    *,
    kernel: Kernel = "rbf",
    bandwidth: float | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    least: int = 2,
) -> Discrepancy:
    """Return the squared maximum mean discrepancy of features (N, D) and (M, D).

    The p-value is exact, whatever N, M and D, if items were drawn independently of each other: under no difference every
    assignment of items to the sides is as likely as another. Memory is (N + M)^2 numbers.

    Args:
        kernel: ``rbf``, which is 0 only for equal distributions, or ``linear``, which sees means alone.
        bandwidth: None is the median distance of two items of either side.
        permutations: 0 makes no test.
        least: items that a side must have.

    Raises:
        UsageError: as `checked_sides`; no such kernel; a bandwidth that is not above 0; items that are all the same.
    """
    if kernel not in KERNELS:
        raise UsageError(f"kernel={kernel!r}; there are {', '.join(KERNELS)}")
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise UsageError(f"bandwidth={bandwidth!r}: a finite number above 0, or None")
    one, other = checked_sides(source, target, max(least, 2))
    rows = np.concatenate([one, other])
    if kernel == "linear":
        gram = rows @ rows.T
    else:
        squares = squared_distances(rows)
        bandwidth = median_distance(squares) if bandwidth is None else float(bandwidth)
        gram = np.exp(squares / (-2 * bandwidth**2))
    itself = gram.diagonal().copy()
    np.fill_diagonal(gram, 0.0)
    there = np.zeros((len(rows), 1))
    there[: len(one)] = 1
    value = float(_unbiased(gram, there)[0])
    n, m = len(one), len(other)
    inner, outer, across = _sums(gram, there)
    biased = (inner[0] + itself[:n].sum()) / n**2 + (outer[0] + itself[n:].sum()) / m**2 - 2 * across[0] / (n * m)
    p_value = _p_value(gram, n, value, permutations, seed) if permutations else None
    return Discrepancy(
        value, max(float(biased), 0.0), kernel, bandwidth if kernel == "rbf" else None, p_value, permutations
    )


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances (N, N) of rows (N, D), 0 on the diagonal."""
    squares = np.einsum("nd,nd->n", rows, rows)
    found: np.ndarray = np.maximum(squares[:, None] + squares[None] - 2 * (rows @ rows.T), 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def median_distance(squares: np.ndarray) -> float:
    """Return the median distance of two items from their squared distances (N, N); where half of the pairs are the same item twice,
    of those that are not.

    Raises:
        UsageError: all items are the same.
    """
    apart = squares[np.triu_indices(len(squares), 1)]
    largest = float(apart.max(initial=0.0))
    if largest <= 0:
        raise UsageError("all items have the same features; nothing can be compared")
    median = float(np.median(apart))
    if median <= 1e-12 * largest:
        median = float(np.median(apart[apart > 1e-12 * largest]))
    return float(np.sqrt(median))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values (K,) corrected for being K of them (Holm 1979): at a level, one false alarm among all is as rare as that."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in found]


def _sums(gram: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the kernel within the chosen items, within the others, and between them, for each of P choices (N, P) of 0 and 1."""
    to_chosen = gram @ chosen
    inner = np.einsum("np,np->p", chosen, to_chosen)
    touching = chosen.T @ gram.sum(axis=1)
    return inner, gram.sum() - 2 * touching + inner, touching - inner


def _unbiased(gram: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    n = float(chosen[:, 0].sum())
    m = len(chosen) - n
    inner, outer, across = _sums(gram, chosen)
    found: np.ndarray = inner / (n * (n - 1)) + outer / (m * (m - 1)) - 2 * across / (n * m)
    return found


def _p_value(gram: np.ndarray, count: int, value: float, permutations: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    # Sums in another order differ in the last digits: an assignment that gives the same value must count as such.
    enough, reached = value - 1e-9 * float(np.abs(gram).mean()), 0
    for begin in range(0, permutations, _AT_ONCE):
        chosen = np.zeros((len(gram), min(_AT_ONCE, permutations - begin)))
        for column in range(chosen.shape[1]):
            chosen[rng.permutation(len(gram))[:count], column] = 1
        reached += int((_unbiased(gram, chosen) >= enough).sum())
    return (1 + reached) / (1 + permutations)
