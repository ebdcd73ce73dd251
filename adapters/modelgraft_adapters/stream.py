"""Items through a model in batches and in order, decoding beside the forward pass; an item that fails becomes a row.

Memory is constant in the number of items: at most a few batches are decoded ahead.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from modelgraft.errors import UnreadableItemError

Item = TypeVar("Item")
Ready = TypeVar("Ready")


@dataclass(slots=True)
class Outcome(Generic[Item]):
    """What became of one item: a row of the model's output, or the reason why there is none."""

    item: Item
    row: torch.Tensor | None
    note: str | None
    error: str | None


def default_workers() -> int:
    """Decoding threads: Pillow releases the interpreter lock, and more than a few only contend with the forward pass."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def stream(
    items: Iterable[Item],
    prepare: Callable[[Item], tuple[Ready, str | None]],
    infer: Callable[[list[Ready]], torch.Tensor],
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Outcome[Item]]:
    """Yield an `Outcome` per item, in the order of the items.

    Args:
        items: read lazily.
        prepare: one item to what the model reads and a note; run in ``workers`` threads. It may raise
            `UnreadableItemError`, which becomes the row's error; anything else ends the run.
        infer: B prepared items to rows (B, ...); run in the calling thread.
    """
    source = iter(items)
    waiting: deque[tuple[Item, Future[tuple[Ready, str | None]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="modelgraft-decode") as pool:
        try:
            while True:
                batch: list[Outcome[Item]] = []
                ready: list[Ready] = []
                # Errors take no place in a batch, but a folder full of them must not pile up either.
                while len(ready) < batch_size and len(batch) < 4 * batch_size:
                    _submit(pool, source, prepare, waiting, 2 * batch_size)
                    if not waiting:
                        break
                    item, future = waiting.popleft()
                    try:
                        value, note = future.result()
                    except UnreadableItemError as error:
                        batch.append(Outcome(item, None, None, str(error)))
                    else:
                        batch.append(Outcome(item, None, note, None))
                        ready.append(value)
                if not batch:
                    return
                if ready:
                    _submit(pool, source, prepare, waiting, 2 * batch_size)
                    rows = iter(infer(ready))
                    for outcome in batch:
                        if outcome.error is None:
                            outcome.row = next(rows)
                yield from batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _submit(
    pool: ThreadPoolExecutor,
    source: Iterator[Item],
    prepare: Callable[[Item], tuple[Ready, str | None]],
    waiting: deque[tuple[Item, Future[tuple[Ready, str | None]]]],
    ahead: int,
) -> None:
    while len(waiting) < ahead:
        try:
            item = next(source)
        except StopIteration:
            return
        waiting.append((item, pool.submit(prepare, item)))
