"""Rows of a fixed size on disk under 16-byte names: append-only, many writers, no locks, nothing torn is ever read.

A folder holds segments, a pair of files for each process that wrote: ``X.rows``, the rows one after the other, and ``X.keys``,
blocks of ``magic, count, count * (name, CRC-32 of the row), CRC-32 of the block``. A block is written only when its rows are on
the disk, and is whole or not there: what a killed process left behind its last whole block is never looked at.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

_BINARY: Final = getattr(os, "O_BINARY", 0)
_MAGIC: Final = b"mgK1"
_HEAD: Final = struct.Struct("<4sI")
_TAIL: Final = struct.Struct("<I")
_NAME: Final = struct.Struct("<QQ")
_RECORD: Final = np.dtype([("name", "V16"), ("crc", "<u4")])
_SMALL_RUN: Final = 8192
_MOST_OPEN: Final = 64


class _Run:
    """Part of the index: columns sorted by the first half of the name. 32 bytes a row."""

    def __init__(
        self, high: np.ndarray, low: np.ndarray, crc: np.ndarray, segment: np.ndarray, row: np.ndarray
    ) -> None:
        order = np.argsort(high, kind="stable")
        self.high, self.low = high[order], low[order]
        self.crc, self.segment, self.row = crc[order], segment[order], row[order]  # row -1: forgotten

    def __len__(self) -> int:
        return len(self.high)

    def find(self, high: int, low: int) -> int | None:
        """Where the name is."""
        at = int(np.searchsorted(self.high, np.uint64(high)))
        while at < len(self.high) and self.high[at] == high:
            if self.low[at] == low and self.row[at] >= 0:
                return at
            at += 1
        return None

    @classmethod
    def of(cls, runs: Sequence[_Run]) -> _Run:
        """Several in one."""
        return cls(*(np.concatenate([getattr(run, name) for run in runs]) for name in cls.COLUMNS))

    @classmethod
    def empty(cls) -> _Run:
        """None yet."""
        return cls(*(np.zeros(0, kind) for kind in ("<u8", "<u8", "<u4", "<i4", "<i8")))

    COLUMNS: Final = ("high", "low", "crc", "segment", "row")


class RecordStore:
    """Rows of ``row_bytes`` bytes in ``folder``. Safe for several threads and several processes at once.

    Memory: 32 bytes for each row that is stored, whatever the rows' size. The folder is made at the first `append`.

    Args:
        usable: asked of a row that is read; one that is not usable counts as damaged.
    """

    def __init__(self, folder: Path, row_bytes: int, usable: Callable[[bytes], bool] = bool) -> None:
        self.folder = folder
        self.row_bytes = row_bytes
        self._usable = usable
        self._runs = (_Run.empty(), _Run.empty())  # what is old, what is new
        self._segments: list[str] = []
        self._read: dict[str, tuple[int, int]] = {}  # segment -> bytes of its keys and rows that have been taken in
        self._files: dict[int, int] = {}
        self._writing: tuple[str, int, int] | None = None
        self._lock = threading.RLock()
        self.refresh()

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def refresh(self) -> None:
        """Take in what other processes have finished since."""
        try:
            with os.scandir(self.folder) as listed:
                names = sorted(entry.name for entry in listed if entry.name.endswith(".keys"))
        except OSError:
            return
        with self._lock:
            for name in names:
                segment = name.removesuffix(".keys")
                at, rows = self._read.get(segment, (0, 0))
                with contextlib.suppress(OSError):
                    if (self.folder / name).stat().st_size > at:
                        self._take_in(segment, at, rows)

    def holds(self, name: bytes) -> bool:
        """Whether there is a row of this name."""
        return self._find(name) is not None

    def get(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The rows of these names; None where there is none, or where the disk gives it back damaged (it is then forgotten)."""
        return [self._get(name) for name in names]

    def _get(self, name: bytes) -> bytes | None:
        # A damaged row may have been stored anew, by whoever saw it first.
        while (found := self._find(name)) is not None:
            run, at = found
            data = self._row(int(run.segment[at]), int(run.row[at]))
            if data is not None and zlib.crc32(data) == int(run.crc[at]) and self._usable(data):
                return data
            run.row[at] = -1
        return None

    def append(self, names: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Store rows, all or none of them, and see them on the disk before returning.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        assert all(len(name) == 16 for name in names) and all(len(row) == self.row_bytes for row in rows)
        if not names:
            return
        with self._lock:
            segment, keys, body = self._writing or self._begin()
            end_keys, end_rows = self._read.get(segment, (0, 0))
            records = np.zeros(len(names), _RECORD)
            records["name"] = np.frombuffer(b"".join(names), "V16")
            records["crc"] = [zlib.crc32(row) for row in rows]
            block = _HEAD.pack(_MAGIC, len(names)) + records.tobytes()
            # By offset: a write that failed half way (a full disk) is written over by the next.
            _write(body, b"".join(rows), end_rows * self.row_bytes)
            os.fsync(body)
            _write(keys, block + _TAIL.pack(zlib.crc32(block)), end_keys)
            os.fsync(keys)
            self._take_in(segment, end_keys, end_rows)

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            descriptors = [*self._files.values(), *(self._writing[1:] if self._writing else ())]
            self._files.clear()
            self._writing = None
            for descriptor in descriptors:
                os.close(descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _begin(self) -> tuple[str, int, int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        segment = secrets.token_hex(8)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY
        body = os.open(self.folder / f"{segment}.rows", flags, 0o666)
        try:
            keys = os.open(self.folder / f"{segment}.keys", flags, 0o666)
        except OSError:
            os.close(body)
            raise
        self._writing = (segment, keys, body)
        return self._writing

    def _take_in(self, segment: str, at: int, rows: int) -> None:
        with open(self.folder / f"{segment}.keys", "rb") as file:
            file.seek(at)
            data = file.read()
        held = (self.folder / f"{segment}.rows").stat().st_size // self.row_bytes
        if segment not in self._read:
            self._segments.append(segment)
        number = self._segments.index(segment)
        place, found = 0, []
        while place + _HEAD.size <= len(data):
            magic, count = _HEAD.unpack_from(data, place)
            end = place + _HEAD.size + count * _RECORD.itemsize
            if magic != _MAGIC or end + _TAIL.size > len(data) or rows + count > held:
                break
            if zlib.crc32(data[place:end]) != _TAIL.unpack_from(data, end)[0]:
                break
            records = np.frombuffer(data, _RECORD, count, place + _HEAD.size)
            halves = np.frombuffer(records["name"].tobytes(), "<u8").reshape(count, 2)
            places = np.arange(rows, rows + count, dtype=np.int64)
            found.append(_Run(halves[:, 0], halves[:, 1], records["crc"], np.full(count, number, np.int32), places))
            rows += count
            place = end + _TAIL.size
        self._read[segment] = (at + place, rows)
        if found:
            old, new = self._runs
            new = _Run.of([new, *found])
            if len(new) > max(_SMALL_RUN, len(old) // 4):
                old, new = _Run.of([old, new]), _Run.empty()
            self._runs = (old, new)  # one assignment: a thread that is searching sees the one pair or the other

    def _find(self, name: bytes) -> tuple[_Run, int] | None:
        high, low = _NAME.unpack(name)
        for run in self._runs:
            if (at := run.find(high, low)) is not None:
                return run, at
        return None

    def _row(self, segment: int, row: int) -> bytes | None:
        with self._lock:
            try:
                if segment not in self._files:
                    if len(self._files) >= _MOST_OPEN:
                        os.close(self._files.pop(next(iter(self._files))))
                    self._files[segment] = os.open(
                        self.folder / f"{self._segments[segment]}.rows", os.O_RDONLY | _BINARY
                    )
                data = _read(self._files[segment], self.row_bytes, row * self.row_bytes)
            except OSError:
                return None
        return data if len(data) == self.row_bytes else None


def _read(descriptor: int, count: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)  # Windows; the caller holds the lock
    return os.read(descriptor, count)


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    if not hasattr(os, "pwrite"):  # Windows; one thread writes a segment
        os.lseek(descriptor, at, os.SEEK_SET)
    while view:
        done = os.pwrite(descriptor, view, at) if hasattr(os, "pwrite") else os.write(descriptor, view)
        view, at = view[done:], at + done
