"""What every adapter learns from and is tested on: items, what they should be, and which split each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

Modality = Literal["image", "text"]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """N items with their targets. Items are held as what they are read from (paths, texts ...), never decoded ahead."""

    items: Sequence[Any]
    """Pictures: paths, PIL pictures, uint8 arrays (H, W[, C]), or objects with ``read_bytes()`` (a file in a tar). Texts: str."""
    modality: Modality
    task: Task = "single-label"
    targets: np.ndarray | None = None
    """single-label (N,) int64, -1 where there is no label; multi-label (N, C) float32, 0 or 1, a row of NaN where there is none;
    regression (N, K) float32, NaN where there is none. None: nothing is known of any item."""
    classes: tuple[str, ...] = ()
    """C names, in sorted order unless the source states an order; of a regression the names of its K columns."""
    identities: Sequence[str] = ()
    """(N) what rows and messages call each item: a path, ``table.csv:7``, ``shard.tar:train/cat/1.jpg``, ``item 3``."""
    split: np.ndarray | None = None
    """(N,) of str: ``train``, ``test``, ``val`` ...; None where nothing is split yet."""
    notes: tuple[str, ...] = ()
    """Rules that were applied on reading, a line each, for the user ("3 rows without a label are left out of training")."""

    def __post_init__(self) -> None:
        for what, values in (("targets", self.targets), ("identities", self.identities or None), ("split", self.split)):
            if values is not None and len(values) != len(self.items):
                raise UsageError(f"{len(self.items)} items and {len(values)} {what}")

    def __len__(self) -> int:
        return len(self.items)

    def identity(self, index: int) -> str:
        """What to call an item."""
        return self.identities[index] if self.identities else f"item {index}"

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The items at ``indices`` (or under a mask), in that order."""
        where = np.asarray(indices)
        where = np.flatnonzero(where) if where.dtype == bool else where.astype(np.int64)
        return replace(
            self,
            items=[self.items[n] for n in where],
            targets=None if self.targets is None else self.targets[where],
            identities=[self.identities[n] for n in where] if self.identities else (),
            split=None if self.split is None else self.split[where],
        )

    @property
    def labelled(self) -> np.ndarray:
        """(N,) bool: which items have a target."""
        if self.targets is None:
            return np.zeros(len(self), bool)
        if self.task == "single-label":
            return self.targets >= 0
        return ~np.isnan(self.targets).any(axis=1)

    def part(self, name: str) -> Dataset:
        """The items of one split.

        Raises:
            UsageError: the data is not split, or has no such split.
        """
        names = self.split_names
        if name not in names:
            raise UsageError(f"no split {name!r}; there are: {', '.join(names) or 'none, split it first'}")
        assert self.split is not None
        return self.take(self.split == name)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits there are, sorted."""
        return () if self.split is None else tuple(sorted(set(self.split.tolist())))

    @property
    def train(self) -> Dataset:
        """The split ``train``."""
        return self.part("train")

    @property
    def test(self) -> Dataset:
        """The split ``test``."""
        return self.part("test")
