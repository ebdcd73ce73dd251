"""Notes on what was fetched whole, and the place for what was bad."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from modelgraft.errors import ModelgraftError
from modelgraft.paths import cache_dir
from modelgraft.resolution import Part, Resolution
from modelgraft.sealed import read_sealed, write_sealed


def remember(part: Part) -> None:
    """Note the files of a part that was fetched whole: offline, a file that has gone since is then missed."""
    try:
        known = recall(part.location, part.revision)
        files = {file.path: file for file in (*(known.files if known else ()), *part.files)}
        record = Resolution("-", (Part(part.location, part.revision, tuple(files.values())),)).to_dict()
        write_sealed(_note(part.location, part.revision), json.dumps(record).encode())
    except OSError:
        pass  # a home that cannot be written: offline then has less to go by


def recall(location: str, revision: str | None) -> Part | None:
    """What `remember` noted of a place at a commit."""
    try:
        return Resolution.from_dict("-", json.loads(read_sealed(_note(location, revision)))).parts[0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ModelgraftError):
        return None


def quarantine(pointer: Path) -> Path | None:
    """Move the file that ``pointer`` is or leads to out of the way, and take the link away; where it is now."""
    try:
        real = pointer.resolve(strict=True)
    except OSError:
        pointer.unlink(missing_ok=True)
        return None
    aside = cache_dir() / "set-aside" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{real.name}"
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(real, aside)
        except OSError:  # another disk: beside it, under a name that nothing reads
            aside = real.with_name(f"{real.name}.bad-{os.getpid()}")
            os.replace(real, aside)
        pointer.unlink(missing_ok=True)
    except OSError as error:
        raise ModelgraftError(
            f"{real} is damaged and cannot be moved out of the way ({error.strerror}); delete it"
        ) from error
    return aside


def _note(location: str, revision: str | None) -> Path:
    name = hashlib.sha256(f"{location}@{revision}".encode()).hexdigest()[:32]
    return cache_dir() / "fetched" / f"{name}.sealed"
