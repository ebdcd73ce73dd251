"""The lock file: which exact bytes each model's name stood for when it was locked.

``modelgraft.lock`` is JSON, sorted, with one line per file of a model, so that a change of weights shows as the change of a line:

    {
     "modelgraft-lock": 1,
     "models": {
      "timm/resnet10t:c3_in1k": {
       "licence": "apache-2.0",
       "plugin": {"distribution": "modelgraft", "version": "0.1.0"},
       "weights": [
        {
         "location": "hf:timm/resnet10t.c3_in1k",
         "revision": "...",
         "files": {
          "model.safetensors": {"sha256": "...", "size": 21788880}
    ...

A key is the canonical name, with ``@revision`` if the model was locked at one. Reading is strict: a file that was damaged, cut,
merged badly or written by a newer modelgraft is refused in one line that says where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from modelgraft.errors import LockError
from modelgraft.host.discovery import installed_version
from modelgraft.outputs import write_through
from modelgraft.project import lockformat
from modelgraft.project.files import exclusive, project_file, read_json, short
from modelgraft.resolution import Part, Resolution

__all__ = ["active"]

FILE: Final = "modelgraft.lock"
VARIABLE: Final = "MODELGRAFT_LOCKED"
"""Environment: unset, empty or ``0`` (not locked), ``1`` (the project's lock file) or the path of a lock file."""

_DIGESTED: Final = ("hf", "file")
"""Schemes whose files always have a digest: the hub states it, and folders of this machine are read for it."""


def default_path() -> Path:
    """The project's lock file (`modelgraft.project.files.project_file`), whether it is there or not."""
    return project_file(FILE)


# Reading and writing


def read(path: Path) -> dict[str, Resolution]:
    """Locked name -> what it stands for.

    Raises:
        LockError: not there, not readable, or not a lock file of this format; with the place of the fault.
    """
    if not path.exists():
        raise _missing(path)
    refuse = partial(_refused, path)
    return lockformat.loads(read_json(path, refuse), refuse)


def write(path: Path, models: Mapping[str, Resolution]) -> None:
    """Write a lock file, atomically; equal content gives equal bytes, and a file that has them already is left alone.

    Args:
        models: locked name -> resolution; the order does not matter.

    Raises:
        LockError: the folder cannot be written, or a resolution is none that `read` would take back (a name with control
            characters, a file twice, an address with a password in it).
    """
    refuse = partial(_refused, path)
    records = {name: models[name].to_dict() for name in sorted(models)}
    for name, record in records.items():
        doubled = [len({file.path for file in part.files}) != len(part.files) for part in models[name].parts]
        if any(doubled) or lockformat.resolution(name, record, refuse).to_dict() != record:
            raise refuse(f"at {short(name)}: a file is listed twice")
    data = lockformat.dumps(records).encode()
    try:
        if not (path.is_file() and path.read_bytes() == data):
            write_through(path, data)
    except OSError as error:
        raise refuse(f"cannot be written ({error.strerror})") from None


@contextmanager
def changing(path: Path) -> Iterator[dict[str, Resolution]]:
    """Read, let the caller change the dict, write; other writers wait meanwhile. An exception writes nothing.

    Raises:
        LockError: as `read` (a missing file is empty) and `write`, or another writer holds the file for long.
    """
    with exclusive(path, partial(_refused, path)):
        models = read(path) if path.exists() else {}
        yield models
        write(path, models)


def _refused(path: Path, what: str) -> LockError:
    return LockError(f"the lock file {short(str(path), 5000)[1:-1]} {what}")


def _missing(path: Path) -> LockError:
    return LockError(f"there is no lock file {path}; make it with 'modelgraft lock NAME'")


# What a run with --locked uses


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock file in force: the only place that resolutions come from."""

    path: Path
    models: Mapping[str, Resolution]

    def resolution(self, name: str) -> Resolution:
        """What is locked for a canonical name, or for ``name@revision``.

        A name locked without a revision answers for the exact commit it is locked at, too.

        Raises:
            LockError: the name is not in the lock file, or was locked with another version of its plugin.
        """
        found = self.models.get(name)
        bare = lockformat.unrevised(name)
        if found is None and bare != name and bare in self.models:
            kept = self.models[bare]
            if kept.parts and kept.parts[0].revision == name.rpartition("@")[2]:
                found = kept
        if found is None:
            raise LockError(
                f"{name} is not in the lock file {self.path}, and --locked uses nothing else; run 'modelgraft lock {name}'"
            )
        if found.distribution and (version := installed_version(found.distribution)) != found.version:
            now = (
                f"{found.distribution} {version} is installed" if version else f"{found.distribution} is not installed"
            )
            raise LockError(
                f"{name} is locked with {found.distribution} {found.version}, and {now}; install the locked one "
                f"('pip install {found.distribution}=={found.version}'), or run 'modelgraft lock --upgrade {name}'"
            )
        for part in found.parts:
            self._check_digests(name, part)
        return found

    def part(self, location: str, revision: str | None, name: str) -> Part:
        """What is locked of a place that no catalogue lists: a model is recognised by these files and no others.

        Args:
            revision: as the user wrote it; None is the one locked.
            name: of the place, for the error.

        Raises:
            LockError: no locked model has files there, or none by which it could be recognised.
        """
        wanted = f"{name}@{revision}" if revision else name
        # The model that lies there itself comes before those that read it too, as an adapter reads its backbone.
        keys = sorted(self.models, key=lambda key: (self._own(key) != location, "@" in key, key))
        part = next(
            (
                part
                for key in keys
                for part in self.models[key].parts
                if part.location == location and (revision in (None, part.revision) or key.endswith(f"@{revision}"))
            ),
            None,
        )
        if part is None:
            raise LockError(
                f"{wanted} is not in the lock file {self.path}, and --locked uses nothing else; run 'modelgraft lock {wanted}'"
            )
        self._check_digests(wanted, part)
        if not any(file.path.endswith(".json") and "/" not in file.path for file in part.files):
            raise LockError(
                f"{wanted} is locked without its configuration, by an earlier version; run 'modelgraft lock --upgrade {wanted}'"
            )
        return part

    def check_places(self, name: str, found: Resolution, places: Sequence[str]) -> None:
        """See that what is locked lies where the entry says it does: a lock pins a model, and never moves it elsewhere.

        Raises:
            LockError: it lies elsewhere.
        """
        locked = [part.location for part in found.parts][: len(places)]
        if locked != list(places):
            there = next((one for one, other in zip_longest(locked, places) if one != other), None)
            raise LockError(
                f"the lock file {self.path} has files of {name} at {there or 'no place'}, which is not where this model is; run "
                f"'modelgraft lock --upgrade {name}'"
            )

    def _own(self, key: str) -> str | None:
        parts = self.models[key].parts
        return parts[0].location if parts else None

    def _check_digests(self, name: str, part: Part) -> None:
        """A place that states digests, or can be read for them, is locked with them."""
        bare = next((file.path for file in part.files if not (file.sha256 or file.blob)), None)
        if bare is not None and part.scheme in _DIGESTED:
            raise LockError(
                f"the lock file {self.path} has no digest of {bare} of {name}, and without one any file would do; run "
                f"'modelgraft lock --upgrade {name}'"
            )


_read: tuple[tuple[Any, ...], Locked] | None = None


def active() -> Locked | None:
    """The lock in force (``--locked`` or `VARIABLE`), or None. Cheap to call again: the file is read when it has changed.

    Raises:
        LockError: a lock is in force and its file is not there or cannot be read.
    """
    global _read
    value = os.environ.get(VARIABLE, "")
    if value in ("", "0"):
        return None
    path = default_path() if value == "1" else Path(value).expanduser()
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    state = (path.absolute(), stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if _read is None or _read[0] != state:
        _read = (state, Locked(path, read(path)))
    return _read[1]


@contextmanager
def unlocked() -> Iterator[None]:
    """No lock is in force inside: for those who write the lock file, or compare it with the world."""
    kept = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[VARIABLE] = kept
