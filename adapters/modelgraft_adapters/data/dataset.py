"""What every adapter trains on and is tested on: items, what they should be, and which split each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.overlap import Contents

Modality = Literal["image", "text"]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """N items with their targets. Items are held as what they are read from (paths, texts ...), never decoded ahead."""

    items: Sequence[Any]
    """Images: paths, PIL images, uint8 arrays (H, W[, C]), or objects with ``read_bytes()`` (a file in a tar). Texts: str."""
    modality: Modality
    task: Task = "single-label"
    targets: np.ndarray | None = None
    """single-label (N,) int64, -1 where there is no label; multi-label (N, C) float32, 0 or 1, a row of NaN where there is none;
    regression (N, K) float64, NaN where there is none. None: nothing is known of any item."""
    classes: tuple[str, ...] = ()
    """C names, in sorted order unless the source states an order; of a regression the names of its K columns."""
    identities: Sequence[str] = ()
    """(N) what rows and messages call each item: a path, ``table.csv:7``, ``shard.tar:train/cat/1.jpg``, ``item 3``."""
    split: np.ndarray | None = None
    """(N,) of str: ``train``, ``test``, ``val`` ...; None where nothing is split yet."""
    notes: tuple[str, ...] = ()
    """Rules that were applied on reading, a line each, for the user ("3 rows without a label are left out of training")."""
    groups: np.ndarray | None = None
    """(N,) of str: items of one name belong together, and stay on one side of every split that is drawn. None: each is alone."""
    group_column: str | None = None
    """What the groups are called: the column they come from, or ``groups``."""
    values: np.ndarray | None = field(default=None, kw_only=True)
    """(C,): the classes as the user's labels are, of their own type; None where they are the names."""

    def __post_init__(self) -> None:
        for what, values in (
            ("targets", self.targets),
            ("identities", self.identities or None),
            ("split", self.split),
            ("groups", self.groups),
        ):
            if values is not None and len(values) != len(self.items):
                raise UsageError(f"{len(self.items)} items and {len(values)} {what}")
        if self.values is not None and len(self.values) != len(self.classes):
            raise UsageError(f"{len(self.classes)} classes and {len(self.values)} values of them")

    def __len__(self) -> int:
        return len(self.items)

    def identity(self, index: int) -> str:
        """What to call an item."""
        return self.identities[index] if self.identities else f"item {index}"

    @property
    def places(self) -> Contents:
        """The items by where they lie and what they hold, to find the same ones among others."""
        return Contents(self.items, self.modality)

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The items at ``indices`` (or under a mask), in that order."""
        where = np.asarray(indices)
        where = np.flatnonzero(where) if where.dtype == bool else where.astype(np.int64)
        return replace(
            self,
            items=[self.items[n] for n in where.tolist()],
            targets=None if self.targets is None else self.targets[where],
            identities=[self.identities[n] for n in where.tolist()] if self.identities else (),
            split=None if self.split is None else self.split[where],
            groups=None if self.groups is None else self.groups[where],
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

    def splits(self, room_for: str = "unlabelled") -> np.ndarray:
        """A copy of `split` to write into, with room for a further name; all ``train`` where nothing is split."""
        names = ["train"] * len(self) if self.split is None else self.split.tolist()
        return np.array(names, f"<U{max(map(len, [*names, room_for]))}")

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


def repeated(data: Dataset) -> Dataset:
    """The data with a note on items of the split ``test`` that the split ``train`` has too: the same file, text or content."""
    test = data.test
    seen = data.train.places.shared(test.places)
    if not seen:
        return data
    line = f"{seen:,} of the {len(test):,} test items are in the training data too, the same: the score may flatter"
    return replace(data, notes=(*data.notes, line))


def join(parts: Mapping[str, Dataset]) -> Dataset:
    """One `Dataset` of several, each a split of its own (or with splits of its own, which it keeps).

    Classes are those of all parts: the order of the first that states it where all others know no further ones, else sorted.

    Raises:
        UsageError: no parts, parts of different modality or task, regressions of different columns.
    """
    from modelgraft_adapters.data.encoding import class_order

    if not parts:
        raise UsageError("no data to join")
    sets = list(parts.values())
    labelled = [part for part in sets if part.targets is not None]
    for what, found in (
        ("modality", {str(part.modality) for part in sets}),
        ("task", {str(part.task) for part in labelled}),
    ):
        if len(found) > 1:
            raise UsageError(f"the splits {', '.join(parts)} differ in {what}: {', '.join(sorted(found))}")
    classes = max((part.classes for part in sets), key=len)
    if any(not set(part.classes) <= set(classes) for part in sets):
        if labelled and labelled[0].task == "regression":
            raise UsageError(f"the splits {', '.join(parts)} have different columns of numbers")
        classes = class_order(name for part in sets for name in part.classes)
    task = labelled[0].task if labelled else sets[0].task
    grouped = [part for part in sets if part.groups is not None]
    if grouped and len(grouped) < len(sets):
        raise UsageError(f"some of the splits {', '.join(parts)} have groups, others not")
    return Dataset(
        items=[item for part in sets for item in part.items],
        modality=sets[0].modality,
        task=task,
        targets=np.concatenate([_renumbered(part, task, classes) for part in sets]) if labelled else None,
        classes=classes,
        identities=[part.identity(n) for part in sets for n in range(len(part))],
        split=np.concatenate(
            [np.full(len(part), name) if part.split is None else part.split for name, part in parts.items()]
        ),
        notes=tuple(dict.fromkeys(f"{name}: {note}" for name, part in parts.items() for note in part.notes)),
        groups=np.concatenate([_groups(part, name) for name, part in parts.items()]) if grouped else None,
        group_column=grouped[0].group_column if grouped else None,
        values=_values(labelled, classes),
    )


def _values(parts: list[Dataset], classes: tuple[str, ...]) -> np.ndarray | None:
    """The classes' own values, where all parts have them, of one type."""
    found: dict[str, Any] = {}
    for part in parts:
        if part.values is None:
            return None
        for name, value in zip(part.classes, part.values.tolist(), strict=True):
            if type(found.setdefault(name, value)) is not type(value) or found[name] != value:
                return None
    kinds = {type(value) for value in found.values()}
    return np.array([found[name] for name in classes]) if len(kinds) == 1 and set(found) >= set(classes) else None


def _groups(part: Dataset, name: str) -> np.ndarray:
    """A part's groups; what is alone there is alone among all parts."""
    assert part.groups is not None
    return np.array([f"{group}\0{name}" if group.startswith("\0") else group for group in part.groups], dtype=object)


def _renumbered(part: Dataset, task: Task, classes: tuple[str, ...]) -> np.ndarray:
    """A part's targets with ``classes`` for columns or numbers."""
    if task == "single-label":
        if part.targets is None:
            return np.full(len(part), -1, np.int64)
        number = np.array([*(classes.index(name) for name in part.classes), -1], np.int64)
        return number[part.targets]
    out = np.full((len(part), len(classes)), np.nan, np.float32)
    if part.targets is not None:
        known = ~np.isnan(part.targets).any(axis=1)
        out[known] = 0
        for column, name in enumerate(part.classes):
            out[known, classes.index(name)] = part.targets[known, column]
    return out
