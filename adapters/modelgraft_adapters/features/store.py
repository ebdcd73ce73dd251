"""Embeddings on disk, shared by every adapter on frozen features and by every process: ``<cache>/features/<key>/``.

The key is the digest of ``card.json`` there, which states in plain words everything the features depend on but the item
(`modelgraft_adapters.features.identity`). Deleting a folder, or all of them, is safe: what is missing is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from modelgraft.paths import cache_dir, write_atomic

from modelgraft_adapters.features.records import RecordStore


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
        """
        if self._records is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.shape = tuple(int(n) for n in features.shape[1:])
            card = json.dumps({**self.card, "shape": self.shape}, sort_keys=True, indent=2)
            write_atomic(self.folder / "card.json", card.encode() + b"\n")
            self._records = RecordStore(self.folder, 4 * int(np.prod(self.shape)))
        if tuple(features.shape[1:]) != self.shape:
            raise OSError(f"{self.folder} holds features of shape {self.shape}, not {tuple(features.shape[1:])}")
        rows = np.ascontiguousarray(features, "<f4")
        self._records.append(digests, [row.tobytes() for row in rows])

    def refresh(self) -> None:
        """See what other processes have added."""
        if self._records is not None:
            self._records.refresh()
            return
        try:
            card = json.loads((self.folder / "card.json").read_bytes())
            self.shape = tuple(int(n) for n in card["shape"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # nobody has added anything yet
        self._records = RecordStore(self.folder, 4 * int(np.prod(self.shape)))

    def size(self) -> int:
        """Bytes on disk."""
        return folder_size(self.folder)


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
