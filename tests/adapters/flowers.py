"""A small folder of real images: some of each class of the shared flowers."""

from __future__ import annotations

import tarfile
from pathlib import Path


def flowers(shared_data: Path, folder: Path, *, train: int, test: int) -> Path:
    """``folder/{train,test}/CLASS/*.jpg``, so many of each of the five classes; the first by name."""
    counts: dict[tuple[str, str], int] = {}
    with tarfile.open(shared_data / "flowers5.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            parts = Path(member.name).parts
            if not member.isfile() or len(parts) != 3:
                continue
            split, name, _ = parts
            counts[split, name] = counts.get((split, name), 0) + 1
            if counts[split, name] <= {"train": train, "test": test}[split]:
                tar.extract(member, folder, filter="data")
    return folder
