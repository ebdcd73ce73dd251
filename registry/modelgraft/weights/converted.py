"""What engines made of models, as a store that ``modelgraft cache`` works on: see `modelgraft_adapters.features.engine`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from modelgraft.contract import Held, Stored
from modelgraft.errors import DamagedFileError
from modelgraft.paths import cache_dir
from modelgraft.resolution import File, Part
from modelgraft.sealed import read_sealed

__all__ = ["FILES", "engines_folder", "stated_files"]

FILES: Final = "files.sealed"
"""In the folder of a converted model: its files and their SHA-256."""


def engines_folder() -> Path:
    """Return where converted models are kept."""
    return cache_dir() / "engines"


def stated_files(folder: Path) -> dict[str, str]:
    """Return the files of a converted model with their SHA-256.

    Raises:
        OSError, ValueError, DamagedFileError: what is stated is not there, or damaged.
    """
    stated = json.loads(read_sealed(folder / FILES))
    if not isinstance(stated, dict):
        raise ValueError("a converted model states no files")
    return stated


class Converted:
    """A `Store` of converted models, and of notes on those that could not be converted."""

    def held(self) -> list[Held]:
        """Everything that is stored."""
        if not (root := engines_folder()).is_dir():
            return []
        return [_held(place, root) for place in sorted(root.iterdir()) if not place.name.startswith(".")]

    def discard(self, part: Part) -> int:
        """Delete a conversion, or a note; the bytes that became free."""
        place = engines_folder() / part.location.partition(":")[2]
        size = _size(place)
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
        return size


def _held(place: Path, root: Path) -> Held:
    try:
        stated = stated_files(place) if place.is_dir() else {}
        files = tuple(File(name, None, digest) for name, digest in stated.items())
    except (OSError, ValueError, DamagedFileError):
        files = (File(FILES, None, "0" * 64),)  # which is then told as damaged
    used = place / FILES if (place / FILES).exists() else place
    return Held(Part(f"engine:{place.name}", None, files), Stored(place, root), _size(place), used.stat().st_mtime)


def _size(place: Path) -> int:
    if not place.is_dir():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
