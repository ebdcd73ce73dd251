"""Which items are the same as others: the same file, or the same content under another name."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

from modelgraft.errors import UnreadableItemError

from modelgraft_adapters.storage.keys import picture_digest, text_digest


def warning(seen: int, count: int) -> str:
    """Return the line on items of a test that were trained on."""
    told = "this is no test" if seen == count else "the score may flatter"
    return f"{seen} of the {count} items were trained on: {told}"


class Contents:
    """Items that others are looked for among. Nothing is read before something is asked; of files only those of equal size.

    Items are known by what they are, never by their place in a list.
    """

    def __init__(self, items: Sequence[Any], modality: str) -> None:
        self.items, self.modality = items, modality
        self._texts: set[bytes] | None = None
        self._files: dict[Hashable, list[int]] = {}
        self._sizes: dict[int, list[int]] = {}
        self._others: set[bytes] | None = None
        self._digests: dict[int, bytes | None] = {}

    def shared(self, asked: Contents) -> int:
        """Return how many of the items asked for are here too."""
        if self.modality != asked.modality:
            return 0
        self._index()
        return sum(self._has(item) for item in asked.items)

    def _index(self) -> None:
        if self._texts is not None:
            return
        self._texts = set()
        for index, item in enumerate(self.items):
            if self.modality == "text":
                if str(item).strip():
                    self._texts.add(text_digest(str(item)))
                continue
            place, size = _place(item)
            if place is not None:
                self._files.setdefault(place, []).append(index)
            if size is not None:
                self._sizes.setdefault(size, []).append(index)

    def _has(self, item: Any) -> bool:
        assert self._texts is not None
        if self.modality == "text":
            return bool(str(item).strip()) and text_digest(str(item)) in self._texts
        place, size = _place(item)
        if place is not None and place in self._files:
            return True
        if size is not None:
            same = self._sizes.get(size, ())
            mine = _digest(item) if same else None
            return mine is not None and any(self._digest_of(index) == mine for index in same)
        if self._others is None:
            held = [one for one in self.items if _place(one)[1] is None]
            self._others = {digest for digest in map(_digest, held) if digest is not None}
        mine = _digest(item) if self._others else None
        return mine is not None and mine in self._others

    def _digest_of(self, index: int) -> bytes | None:
        if index not in self._digests:
            self._digests[index] = _digest(self.items[index])
        return self._digests[index]


def _place(item: Any) -> tuple[Hashable | None, int | None]:
    """Where an item's file lies, in the state it is in, and its size; None each where nothing is known without reading it."""
    if isinstance(item, (str, os.PathLike)):
        try:
            state = os.stat(item)
        except (OSError, ValueError):
            return None, -1  # it is not there: the same as none
        return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns), state.st_size
    path, offset, size = (getattr(item, name, None) for name in ("path", "offset", "size"))
    if isinstance(path, str) and isinstance(offset, int) and isinstance(size, int):  # a member of a tar
        return (os.path.realpath(path), offset, getattr(item, "state", None)), size
    return None, None


def _digest(item: Any) -> bytes | None:
    try:
        return picture_digest(item)[0]
    except (UnreadableItemError, OSError, ValueError, TypeError):
        return None
