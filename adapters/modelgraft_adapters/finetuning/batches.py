"""The training items in the order of the steps: what a step sees is a function of the seed and its number, and of nothing else.

So a run that goes on where it was interrupted sees what it would have seen, and several processes share a step's items.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import active_children
from typing import Any, Protocol

import numpy as np
import torch
from modelgraft.errors import UnreadableItemError, UsageError
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.media.texts import reason_against


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process has of a step."""

    inputs: torch.Tensor | Mapping[str, torch.Tensor]
    """Images (B, C, H, W) or tokens, on the CPU."""
    index: torch.Tensor
    """(B,) int64: which training items they are."""
    broken: tuple[tuple[int, str], ...]
    """Items that could not be read, and why; they are not among the others."""

    def __len__(self) -> int:
        return len(self.index)


class Items(Protocol):
    """What a step's rows are read from."""

    @property
    def items(self) -> Sequence[Any]:
        """As many as there are rows in a pass."""
        ...

    def places(self, step: int, size: int, seed: int) -> list[tuple[int, int]]:
        """(pass, item) of each of the ``size`` rows of a step."""
        ...

    def __getitem__(self, place: tuple[int, int]) -> Any:
        """Of (pass, item): a function of these and a seed alone."""
        ...

    def collate(self, found: list[Any]) -> Batch:
        """A batch of some of them."""
        ...


def shuffled(start: int, stop: int, items: int, seed: int) -> list[tuple[int, int]]:
    """(pass, item) of the rows ``start`` to ``stop`` - 1 of a run.

    Passes over the items follow one another without a gap, each in an order of its own; every item comes once in each.
    """
    out: list[tuple[int, int]] = []
    while start + len(out) < stop:
        number, at = divmod(start + len(out), items)
        out += [(number, int(item)) for item in _order(number, items, seed)[at : at + stop - start - len(out)]]
    return out


class Shuffled:
    """Items that come in passes, each in an order of its own."""

    __slots__ = ()

    def places(self: Any, step: int, size: int, seed: int) -> list[tuple[int, int]]:
        """(pass, item) of each of the ``size`` rows of a step."""
        return shuffled(step * size, (step + 1) * size, len(self.items), seed)


@lru_cache(maxsize=16)
def _order(number: int, items: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(items)


def seed_of(*parts: int) -> int:
    """A seed (63 bits) out of several numbers, unlike for unlike numbers."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def drawn_from(*numbers: int) -> Iterator[None]:
    """What is drawn on the CPU meanwhile is a function of these numbers; afterwards torch's generator is what it was.

    `torch.manual_seed` would also note, with three tracebacks, that every kind of device is to be seeded: 2 ms for each item.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(*numbers))
        yield


@dataclass(frozen=True, slots=True)
class PictureItems(Shuffled, Dataset[Any]):
    """Images as tensors; the random part of the transform is drawn from seed, pass and item alone."""

    items: Sequence[Any]
    transform: Callable[[Image.Image], torch.Tensor]
    seed: int

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, torch.Tensor | str]:
        number, item = place
        try:
            image, _ = read_image(self.items[item])
            with drawn_from(self.seed, number, item):
                return item, self.transform(image)
        except UnreadableItemError as error:
            return item, str(error)

    @staticmethod
    def collate(found: list[tuple[int, Any]]) -> Batch:
        """A `Batch` of what could be read."""
        good = [(item, value) for item, value in found if isinstance(value, torch.Tensor)]
        if len(shapes := {tuple(value.shape) for _, value in good}) > 1:
            raise UsageError(
                f"the model preprocesses the images of a step to different shapes ({', '.join(map(str, sorted(shapes)[:3]))}), "
                "which cannot be trained on together; take augment='crop'"
            )
        pixels = torch.stack([value for _, value in good]) if good else torch.zeros(0)
        index = torch.tensor([item for item, _ in good], dtype=torch.int64)
        return Batch(pixels, index, tuple((i, v) for i, v in found if isinstance(v, str)))


@dataclass(frozen=True, slots=True)
class TextItems(Shuffled, Dataset[Any]):
    """Texts as tokens."""

    items: Sequence[str]
    tokenise: Callable[[Sequence[str]], Mapping[str, torch.Tensor]]

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, str]:
        return place[1], self.items[place[1]]

    def collate(self, found: list[tuple[int, str]]) -> Batch:
        """A `Batch` of the texts that can be read."""
        refused = {item: reason for item, text in found if (reason := reason_against(text)) is not None}
        good = [(item, text) for item, text in found if item not in refused]
        tokens = self.tokenise([text for _, text in good]) if good else {}
        index = torch.tensor([item for item, _ in good], dtype=torch.int64)
        return Batch(tokens, index, tuple((i, refused[i]) for i, _ in found if i in refused))


@dataclass(frozen=True, slots=True)
class Batches:
    """The steps' batches, from any step on."""

    data: Items
    size: int
    """Items of a step, of all processes together."""
    seed: int
    rank: int = 0
    processes: int = 1
    workers: int = 0
    """Processes that read ahead; 0 reads when a batch is wanted."""

    def span(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield those of steps ``start`` to ``stop`` - 1: of each step every ``processes``-th item from ``rank`` on.

        Where processes that read ahead cannot be started, or die, this one reads: the batches are the same.
        """
        done, before = start, set(active_children())
        try:
            if self.workers:
                for batch in self._loader(start, stop, self.workers):
                    yield batch
                    done += 1
                return
        except (OSError, RuntimeError) as error:
            if not _lost_process(error):
                raise
            for child in set(active_children()) - before:
                child.terminate()
            told = " ".join(str(error).split())[:200]
            warnings.warn(f"items are read without processes of their own from step {done} on: {told}", stacklevel=2)
        yield from self._loader(done, stop, 0)

    def _loader(self, start: int, stop: int, workers: int) -> Any:
        return DataLoader(
            self.data,  # type: ignore[arg-type]
            batch_sampler=_Steps(self, range(start, stop)),  # type: ignore[arg-type]
            collate_fn=self.data.collate,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )


def _lost_process(error: Exception) -> bool:
    """Whether the system starts no more processes or threads, or has ended one."""
    told = str(error)
    limited = isinstance(error, BlockingIOError) or "can't start new thread" in told
    return limited or ("DataLoader worker" in told and "Caught" not in told)


@dataclass(frozen=True, slots=True)
class _Steps:
    """What torch calls a batch sampler: the places of one process's items, step by step."""

    batches: Batches
    steps: range

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        own = self.batches
        for step in self.steps:
            yield own.data.places(step, own.size, own.seed)[own.rank :: own.processes]

    def __len__(self) -> int:
        return len(self.steps)
