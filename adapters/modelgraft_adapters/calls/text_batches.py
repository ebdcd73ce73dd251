"""Texts of like length in one batch: a batch is padded to its longest, so mixed ones are computed mostly on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

WINDOWS: Final = 32
"""The largest window of texts that are sorted, in batches; the first is one batch, so that the first results come soon."""
BYTES: Final = 192
"""Of UTF-8 for each text of a batch, some 40 tokens: batches of longer texts have fewer. On a CPU, of 32 texts, that is what its
caches hold: twice as much is a tenth slower (`benchmarks/engines.py`)."""
MORE: Final = 2
"""How many times more texts a batch has where they are short and nobody has said how many."""


def windows(batch_size: int) -> Iterator[int]:
    """Yield how many texts to take at once, and for ever: one batch first, then twice as many each time, up to `WINDOWS`."""
    size = 1
    while True:
        yield batch_size * size
        size = min(2 * size, WINDOWS)


def by_length(texts: Sequence[str], batch_size: int, *, exactly: bool = False) -> list[list[int]]:
    """Return the places of N texts in batches of like length, the longest first: what memory does not suffice for shows at once.

    Args:
        texts: N of them.
        batch_size: texts of a batch; their bytes are at most `BYTES` times it, padding included, if there are two or more.
        exactly: never more than ``batch_size``; else up to `MORE` times as many short ones.
    """
    lengths = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    most = batch_size if exactly else MORE * batch_size
    batches: list[list[int]] = []
    room = 0
    for place in sorted(range(len(texts)), key=lambda n: -lengths[n]):
        if not room:
            # The first of a batch is its longest.
            room = min(most, max(1, batch_size * BYTES // max(1, lengths[place])))
            batches.append([])
        batches[-1].append(place)
        room -= 1
    return batches
