"""A folder or a file on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from modelgraft.contract import Progress, Stored
from modelgraft.entry import Weights
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.resolution import File, Part


class FolderSource:
    """``file:PATH``. Nothing is copied, nothing is set aside: the files are the user's."""

    def resolve_weights(self, weights: Weights, revision: str | None) -> Part:
        """Every file below the folder (or the one file), with its size."""
        if revision is not None:
            raise UsageError(f"{weights.place} is a folder and has no revisions")
        path = _path(str(weights.place))
        if path.is_file():
            return Part(str(weights.place), None, (_file(path.name, path),))
        if not path.is_dir():
            raise WeightsUnavailableError(f"there is no folder or file {path}")
        found = []
        for folder, _, names in os.walk(path):  # links to folders are not followed
            for name in sorted(names):
                file = Path(folder) / name
                if not name.startswith(".") and file.is_file():
                    found.append(_file(file.relative_to(path).as_posix(), file))
        return Part(str(weights.place), None, tuple(found))

    def fetch_weights(self, part: Part, progress: Progress) -> Stored:
        """Where they are."""
        path = _path(part.location)
        folder = path.parent if path.is_file() else path
        return Stored(folder, folder)

    def set_aside(self, part: Part, path: str) -> Path | None:
        """Nothing: a user's file stays where it is."""
        return None


def _file(name: str, path: Path) -> File:
    return File(name, path.stat().st_size)


def _path(location: str) -> Path:
    return Path(location.partition(":")[2]).expanduser()
