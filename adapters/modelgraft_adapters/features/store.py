"""Embeddings on disk, shared by every adapter on frozen features and by every process: ``<cache>/features/<key>/``.

The key is the digest of ``card.json`` there, which states in plain words everything the features depend on but the item
(`modelgraft_adapters.features.identity`), and the shape of the features. A card that is damaged is written anew. Deleting a
folder, or all of them, is safe: what is missing is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from modelgraft.errors import DamagedFileError
from modelgraft.paths import cache_dir, write_atomic
from modelgraft.sealed import with_checksum, without_checksum

from modelgraft_adapters.storage.records import RecordStore

_CUT: Final = struct.Struct("<II")


class FeatureStore:
    """The features of one model in one setting. Float32, any shape, the same for all items.

    Args:
        card: what the features depend on, plain JSON types.
        root: the folder that holds all stores; None is the cache's.
    """

    def __init__(self, card: Mapping[str, Any], root: Path | None = None) -> None:
        self.card = dict(card)
        self.key = hashlib.sha256(json.dumps(self.card, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = (root or features_folder()) / self.key
        self.shape: tuple[int, ...] | None = None
        self._records: RecordStore | None = None
        self._cut = RecordStore(self.folder / "cut", _CUT.size)
        self.refresh()

    def __len__(self) -> int:
        return len(self._records) if self._records is not None else 0

    def holds(self, digest: bytes) -> bool:
        """Whether the item of this digest has features here."""
        return self._records is not None and self._records.holds(digest)

    def get(self, digests: Sequence[bytes]) -> list[np.ndarray | None]:
        """Features of items, each float32 of `shape`; None where there are none, or the disk gives them back damaged."""
        if self._records is None:
            return [None] * len(digests)
        shape = self.shape
        assert shape is not None
        found = self._records.get(digests)
        return [None if row is None else np.frombuffer(row, "<f4").reshape(shape) for row in found]

    def add(self, digests: Sequence[bytes], features: np.ndarray) -> None:
        """Keep features (B, ...) float32 of B items, all or none.

        Raises:
            OSError: the disk is full or cannot be written.
            ValueError: they are not all finite, or have no numbers.
        """
        if not len(features):
            return
        if not features.size or not np.isfinite(features).all():
            raise ValueError("features to keep must be finite numbers")
        if self._records is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.shape = tuple(int(n) for n in features.shape[1:])
            card = json.dumps(with_checksum({**self.card, "shape": self.shape}), sort_keys=True, indent=2)
            write_atomic(self.folder / "card.json", card.encode() + b"\n")
            self._open(self.shape)
            assert self._records is not None
        if tuple(features.shape[1:]) != self.shape:
            raise OSError(f"{self.folder} holds features of shape {self.shape}, not {tuple(features.shape[1:])}")
        rows = np.ascontiguousarray(features, "<f4")
        self._records.append(digests, [row.tobytes() for row in rows])

    def note_cut(self, lengths: Mapping[bytes, tuple[int, int]]) -> None:
        """Keep that texts were cut: tokens, and how many were read. Before their features, which are never there without.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        self._cut.append(list(lengths), [_CUT.pack(*numbers) for numbers in lengths.values()])

    def cut(self, digests: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return of those texts that were cut their tokens, and how many were read."""
        if not len(self._cut):
            return {}
        found = zip(digests, self._cut.get(digests), strict=True)
        return {digest: (row[0], row[1]) for digest, data in found if data is not None for row in [_CUT.unpack(data)]}

    def refresh(self) -> None:
        """See what other processes have added."""
        self._cut.refresh()
        if self._records is not None:
            self._records.refresh()
            return
        shape = self._stated_shape()
        if shape is not None:  # else nobody has added anything yet
            self._open(shape)

    def _stated_shape(self) -> tuple[int, ...] | None:
        """What the card on disk says, if it is whole, and the card of this store."""
        where = self.folder / "card.json"
        try:
            card = without_checksum(json.loads(where.read_bytes()), str(where))
            shape = tuple(int(n) for n in card.pop("shape"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, DamagedFileError):
            return None
        return shape if card == json.loads(json.dumps(self.card)) and all(n > 0 for n in shape) else None

    def _open(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._records = RecordStore(self.folder, 4 * int(np.prod(shape)), usable=_finite)

    def size(self) -> int:
        """Bytes on disk."""
        return folder_size(self.folder)


def _finite(row: bytes) -> bool:
    return bool(np.isfinite(np.frombuffer(row, "<f4")).all())


def features_folder() -> Path:
    """Where all stores are."""
    return cache_dir() / "features"


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if there is none."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(here, name)).st_size
    return total
