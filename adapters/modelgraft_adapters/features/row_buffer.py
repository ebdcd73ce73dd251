"""Rows that come one after the other into one array, which is a file where it would be large."""

from __future__ import annotations

import tempfile
from typing import Any, Final

import numpy as np
from modelgraft.errors import ModelgraftError

from modelgraft_adapters.features.store import features_folder

GATHERED: Final = 1 << 26
"""Features of more bytes than this are given as a memory map of a file, not gathered in memory."""


class Gathered:
    """Rows into one array, or beyond `GATHERED` bytes into a file that is mapped: the run itself stays small."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._rows: np.ndarray | None = None
        self._file: Any = None
        self._put = 0
        self._blank: list[int] = []
        self._shape: tuple[int, ...] | None = None

    def put(self, at: int, row: np.ndarray | None) -> None:
        """Take the row of item ``at``; they come in order."""
        if row is None:
            self._blank.append(at)
            return
        if self._shape is None:
            self._begin(row.shape)
        if row.shape != self._shape:
            raise ModelgraftError(
                f"the model gives features of shape {row.shape} and of {self._shape} for items of one set; they do not go together"
            )
        if self._file is not None:
            self._file.seek(at * row.nbytes)
            self._file.write(row.tobytes())
        else:
            assert self._rows is not None
            self._rows[at] = row

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        if 4 * self._count * int(np.prod(shape)) > GATHERED:
            try:
                features_folder().mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=features_folder())
                return
            except OSError:
                pass  # then in memory
        self._rows = np.full((self._count, *shape), np.nan, np.float32)

    def array(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """(count, ...) float32."""
        if self._shape is None:
            return np.full((count, *shape), np.nan, np.float32)
        if self._file is None:
            assert self._rows is not None
            return self._rows[:count]
        nothing = np.full(self._shape, np.nan, np.float32)
        for at in self._blank:
            self._file.seek(at * nothing.nbytes)
            self._file.write(nothing.tobytes())
        self._file.flush()
        # Copy-on-write: the caller may change it as any array.
        return np.memmap(self._file, np.float32, "c", shape=(count, *self._shape))
