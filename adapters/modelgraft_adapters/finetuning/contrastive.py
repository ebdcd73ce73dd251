"""Contrastive tuning (Tunstall et al. 2022, "SetFit", arXiv 2209.11055): items of a class are drawn together, others apart.

From n labelled items come about n squared pairs, each a training example: that is why it trains on so few labels. The pairs are
never listed: the k-th is found from the seed and its number, in memory that grows with the items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Task
from torch.nn import functional as F
from torch.utils.data import Dataset

from modelgraft_adapters.finetuning.batches import Batch, PictureItems, TextItems, seed_of
from modelgraft_adapters.finetuning.model import Grafted

Sampling = Literal["oversampling", "undersampling", "unique"]
_BLOCK: Final = 256
"""Rows of a table of all groups that are in memory at once."""
_TURNS: Final = 6


class Pair(NamedTuple):
    """Numbers of two training items, the lower one first (an item is also paired with itself: dropout tells the two apart)."""

    first: int
    second: int
    same: int
    """1: of one class; 0: not."""


class PairSampler:
    """The pairs of each pass over them, positive and negative in turn.

    Pairs are those of setfit's sampler: positive are two items of one class (multi-label: with a class in common), an item with
    itself included; all others are negative. An item without any class is no negative of itself, which it is in setfit.

    Args:
        targets: (N,) int64 classes, or of multi-label data (N, C) of 0 and 1.
        task: of the targets.
        seed: of the order.
        sampling: pairs of each kind in a pass: ``oversampling`` as many as of the kind with more (the other kind's come again),
            ``undersampling`` as many as of the kind with fewer, ``unique`` every pair once.

    Raises:
        UsageError: a regression, or targets of which no two items are of one class or no two are of different ones.
    """

    def __init__(self, targets: np.ndarray, task: Task, seed: int, sampling: Sampling = "oversampling") -> None:
        if task == "regression":
            raise UsageError("contrastive tuning compares classes, and these targets are numbers; take lp-ft or full")
        self.seed = seed
        multi = task == "multi-label"
        found, group = np.unique(targets, axis=0, return_inverse=True)
        group = group.reshape(-1)
        self._order = np.argsort(group, kind="stable")  # items, group by group: a group has one set of classes
        sizes = np.bincount(group, minlength=len(found)).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._sets = found.astype(np.float32) if multi else None
        classed = found.any(axis=1) if multi else np.ones(len(found), bool)
        shared = _shared(self._sets, sizes) if self._sets is not None else np.zeros_like(sizes)
        others = len(targets) - self._starts[1:] - shared
        within = np.where(classed, sizes * (sizes + 1) // 2, 0), np.where(classed, 0, sizes * (sizes - 1) // 2)
        # Positive (1) and negative (0) pairs up to each slot: first those within a group, then those with the groups after it.
        self._upto = {
            1: np.cumsum(np.concatenate([within[0], sizes * shared])),
            0: np.cumsum(np.concatenate([within[1], sizes * others])),
        }
        self.unique: dict[int, int] = {same: int(upto[-1]) for same, upto in self._upto.items()}
        if not all(self.unique.values()):
            missing = "different classes" if not self.unique[0] else "one class"
            raise UsageError(f"contrastive tuning needs pairs of {missing}, and these {len(targets)} items have none")
        balanced = max if sampling == "oversampling" else min
        both = balanced(self.unique.values())
        self.counts: dict[int, int] = dict(self.unique) if sampling == "unique" else {1: both, 0: both}
        """Pairs of a pass by kind."""

    def __len__(self) -> int:
        """Pairs of a pass."""
        return sum(self.counts.values())

    def pair(self, number: int, k: int) -> Pair:
        """The k-th pair of a pass. Every pair of a kind comes once before one of them comes again.

        Raises:
            IndexError: a pass has fewer pairs.
        """
        if not 0 <= k < len(self):
            raise IndexError(f"a pass has {len(self)} pairs, there is no number {k}")
        fewer = min(self.counts.values())
        if k < 2 * fewer:
            place, same = k // 2, 1 - k % 2
        else:
            place, same = k - fewer, int(self.counts[1] > fewer)
        round_, place = divmod(place, self.unique[same])
        first, second = self._ranked(same, shuffled(place, self.unique[same], seed_of(self.seed, number, round_, same)))
        return Pair(min(first, second), max(first, second), same)

    def _ranked(self, same: int, rank: int) -> tuple[int, int]:
        """The pair of a kind with this rank, in an order that is of no interest."""
        upto, groups = self._upto[same], len(self._starts) - 1
        slot = int(np.searchsorted(upto, rank, side="right"))
        rest = rank - (int(upto[slot - 1]) if slot else 0)
        group = slot % groups
        start, end = int(self._starts[group]), int(self._starts[group + 1])
        if slot < groups:  # within it: row `high` of a triangle has the pairs (0, high), (1, high) ...
            high = (math.isqrt(8 * rest + 1) - 1) // 2
            low = rest - high * (high + 1) // 2
            return int(self._order[start + low]), int(self._order[start + high + (0 if same else 1)])
        if self._sets is None:
            own, other = divmod(rest, len(self._order) - end)
            return int(self._order[start + own]), int(self._order[end + other])
        matches = (self._sets[group + 1 :] @ self._sets[group] > 0) == bool(same)
        sizes = np.cumsum(np.where(matches, np.diff(self._starts)[group + 1 :], 0))
        own, other = divmod(rest, int(sizes[-1]))
        after = int(np.searchsorted(sizes, other, side="right"))
        other -= int(sizes[after - 1]) if after else 0
        return int(self._order[start + own]), int(self._order[self._starts[group + 1 + after] + other])


def _shared(sets: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(G,) int64: for each group the items of the groups after it that have a class in common with it."""
    found, groups = np.zeros(len(sets), np.int64), np.arange(len(sets))
    for start in range(0, len(sets), _BLOCK):
        here = groups[start : start + _BLOCK]
        common = (sets[here] @ sets.T > 0) & (groups > here[:, None])
        found[here] = np.where(common, sizes, 0).sum(axis=1)
    return found


def shuffled(place: int, count: int, key: int) -> int:
    """The number at a place of an order of 0 ... ``count`` - 1 drawn by ``key``, without listing the others.

    A Feistel network (Luby and Rackoff 1988) permutes the next even number of bits; what falls outside is put through it again
    (cycle walking, Black and Rogaway 2002).
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(_TURNS):
            left, right = right, left ^ (seed_of(key, turn, right) & mask)
        place = left << half | right
        if place < count:
            return place


@dataclass(frozen=True, slots=True)
class PairItems(Dataset[Any]):
    """Pairs of texts or images: what `TextItems` or `PictureItems` read, two in a row."""

    source: TextItems | PictureItems
    sampler: PairSampler

    @property
    def items(self) -> Sequence[int]:
        """The numbers of the pairs of a pass."""
        return range(len(self.sampler))

    def places(self, step: int, size: int, seed: int) -> list[tuple[int, int]]:
        """(pass, pair) of each row of a step: in the order of their numbers, for pair k of a pass is drawn already."""
        return [divmod(step * size + number, len(self.sampler)) for number in range(size)]

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, Any, Any]:
        number, k = place
        pair = self.sampler.pair(number, k)
        # An image's random changes are drawn from the pass: two of its own, or an image with itself would be two alike.
        passes = seed_of(number, k, 0), seed_of(number, k, 1)
        return pair.same, self.source[passes[0], pair.first], self.source[passes[1], pair.second]

    def collate(self, found: list[tuple[int, Any, Any]]) -> Batch:
        """A `Batch` of the pairs of which both could be read: inputs (B, 2, ...), index 1 for items of one class, else 0."""
        read = self._read(found)
        broken = dict(read.broken)
        if broken:
            found = [row for row in found if row[1][0] not in broken and row[2][0] not in broken]
            read = self._read(found)
        inputs = _each(read.inputs, lambda rows: rows.unflatten(0, (-1, 2))) if found else read.inputs
        return Batch(inputs, torch.tensor([same for same, *_ in found], dtype=torch.int64), tuple(broken.items()))

    def _read(self, found: list[tuple[int, Any, Any]]) -> Batch:
        """Both sides of all rows together, so that texts are padded alike."""
        return self.source.collate([side for _, *sides in found for side in sides])


class Siamese(Grafted):
    """Cosines of pairs by their embeddings. Its head is ``nn.Identity()``: the probe is fitted on the tuned features."""

    def forward(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B,) float32 of pairs (B, 2, ...)."""
        embedded = self.embed(_each(batch, lambda rows: rows.flatten(0, 1))).float().unflatten(0, (-1, 2))
        return F.cosine_similarity(embedded[:, 0], embedded[:, 1], dim=1)


def _each(inputs: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A tensor changed, or each of a mapping."""
    return {name: change(rows) for name, rows in inputs.items()} if isinstance(inputs, Mapping) else change(inputs)


@dataclass(frozen=True, slots=True)
class CosineObjective:
    """``(cos - target)**2`` of each pair."""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 losses of cosines (B,) and targets (B,), both float32."""
        return (outputs - targets).square()

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """() int64: pairs that are nearer to their target than to the other."""
        return ((outputs > 0.5) == (targets > 0.5)).sum()
