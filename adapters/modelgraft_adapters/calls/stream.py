"""Items through a model in batches and in order, decoding beside the forward pass; an item that fails becomes a row.

Memory is constant in the number of items: at most a few batches are decoded ahead.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from modelgraft.errors import UnreadableItemError
from modelgraft.threads import thread_pool

from modelgraft_adapters.calls.text_batches import windows

Item = TypeVar("Item")
Ready = TypeVar("Ready")


@dataclass(slots=True)
class Outcome(Generic[Item]):
    """What became of one item: a row of the model's output, or the reason why there is none."""

    item: Item
    row: torch.Tensor | None
    note: str | None
    error: str | None


@dataclass(slots=True)
class Prepared(Generic[Item, Ready]):
    """One item as a model reads it, or the reason why it cannot be."""

    item: Item
    value: Ready | None
    note: str | None
    error: str | None


def default_workers() -> int:
    """Decoding threads: Pillow releases the interpreter lock, and more than a few only contend with the forward pass."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def read_ahead(
    items: Iterable[Item], prepare: Callable[[Item], tuple[Ready, str | None]], *, workers: int, ahead: int
) -> Generator[Prepared[Item, Ready], None, None]:
    """Every item prepared, in order, up to ``ahead`` of them before they are asked for.

    Args:
        items: read lazily, in the calling thread.
        prepare: one item to what the model reads and a note; run in ``workers`` threads. It may raise
            `UnreadableItemError`, which becomes the item's error; anything else ends the run.
    """
    source = iter(items)
    waiting: deque[tuple[Item, Future[tuple[Ready, str | None]]]] = deque()
    pool = _decoding_pool(min(workers, ahead))

    def submit() -> None:
        while len(waiting) < ahead:
            try:
                item = next(source)
            except StopIteration:
                return
            waiting.append((item, pool.submit(prepare, item)))

    try:
        submit()
        while waiting:
            item, future = waiting.popleft()
            try:
                value, note = future.result()
            except UnreadableItemError as error:
                yield Prepared(item, None, None, str(error))
            else:
                del future  # it holds the value, and the one who asked may be done with it first
                yield Prepared(item, value, note, None)
            submit()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _decoding_pool(workers: int) -> Executor:
    """Threads in which torch works alone; where none can be started, items are read by who asks for them.

    A provider's preprocessing uses torch, and torch gives every thread that does a team of its own, as many as there are cores;
    these teams then stand in the way of the forward pass (measured: a tenth of its throughput). How many threads torch takes is
    kept by thread, but each new one starts from the number set last: so it is set to 1 while the threads start, and put back.
    """

    def alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # from now on this thread has its number

    with _starting:
        before = torch.get_num_threads()
        try:
            return thread_pool(workers, "modelgraft-decode", alone)
        finally:
            torch.set_num_threads(before)


_starting = threading.Lock()


def stream(
    items: Iterable[Item],
    prepare: Callable[[Item], tuple[Ready, str | None]],
    infer: Callable[[list[Ready]], torch.Tensor],
    *,
    batch_size: int,
    workers: int,
    not_finite: str = "the model's output for it is not finite",
    grouped: Callable[[list[Ready]], list[list[int]]] | None = None,
) -> Iterator[Outcome[Item]]:
    """Yield an `Outcome` per item, in the order of the items.

    Args:
        items: read lazily.
        prepare: as for `read_ahead`.
        infer: B prepared items to rows (B, ...); run in the calling thread.
        not_finite: the error of an item whose row is not finite.
        grouped: makes batches of a window of prepared items, by their places in it (`text_batches`); None takes them as they come.
    """
    sizes = windows(batch_size) if grouped else itertools.repeat(batch_size)
    prepared = read_ahead(items, prepare, workers=workers, ahead=2 * batch_size)
    try:
        for size in sizes:
            batch: list[Outcome[Item]] = []
            ready: list[Ready] = []
            # Errors take no place in a batch, but a folder full of them must not pile up either.
            while len(ready) < size and len(batch) < 4 * size:
                found = next(prepared, None)
                if found is None:
                    break
                batch.append(Outcome(found.item, None, found.note, found.error))
                if found.value is not None:
                    ready.append(found.value)
            if not batch:
                return
            good = [outcome for outcome in batch if outcome.error is None]
            for places in grouped(ready) if grouped else [list(range(len(ready)))]:
                if not places:
                    continue
                rows = infer([ready[place] for place in places])
                finite = torch.isfinite(rows).flatten(1).all(dim=1).tolist()
                for place, row, is_finite in zip(places, rows, finite, strict=True):
                    outcome = good[place]
                    outcome.row, outcome.error = (row, None) if is_finite else (None, not_finite)
            yield from batch
    finally:
        prepared.close()
