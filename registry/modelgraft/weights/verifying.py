"""Is a file on disk what it should be? Sizes always, digests once for each state of the file.

A digest that was found right is noted with the file's size, inode and time of change, so that the next start need not read
gigabytes again. Times are compared for sameness only, never with a clock: a clock that is wrong changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from modelgraft.contract import Stored
from modelgraft.errors import DamagedFileError, UnsafeWeightsError
from modelgraft.paths import cache_dir
from modelgraft.resolution import File, Part
from modelgraft.sealed import read_sealed, write_sealed
from modelgraft.threads import thread_pool

__all__ = ["digest", "sha256"]

_CHUNK = 1 << 22


def fault(path: Path, file: File, root: Path, *, again: bool = False) -> str | None:
    """What is wrong with the file at ``path``, in a few words; None if it is what ``file`` says.

    Args:
        root: the folder it must lie in once links are followed.
        again: read it even if an earlier reading found it right.

    Raises:
        UnsafeWeightsError: it is a link that leads out of ``root``, or no regular file.
        FileNotFoundError: it is not there.
    """
    real = path.resolve(strict=True)
    if not real.is_relative_to(root.resolve()):
        raise UnsafeWeightsError(f"{path} is a link that leads out of {root}, to {real}; it is refused - delete it")
    state = real.stat()
    if not stat.S_ISREG(state.st_mode):
        raise UnsafeWeightsError(f"{path} is not a regular file; it is refused")
    if file.size is not None and state.st_size != file.size:
        return f"it has {state.st_size:,} bytes where {file.size:,} were stated"
    if file.sha256 is None and file.blob is None:
        return None
    noted = _Noted(real, state)
    wanted = {
        kind: value.lower() for kind, value in (("sha256", file.sha256), ("blob", file.blob)) if value is not None
    }
    known = {} if again else noted.read()
    if all(known.get(kind, "").startswith(value) for kind, value in wanted.items()):
        return None
    # A file is set aside for its own bytes alone, never for what a note says of them.
    found = {kind: digest(real, kind) for kind in wanted}
    noted.write({**known, **found})
    for kind, value in wanted.items():
        if not found[kind].startswith(value):
            return f"its {kind} is {found[kind][:12]}... where {value[:12]}... was stated"
    return None


def faults(part: Part, stored: Stored, *, again: bool = False) -> dict[str, str]:
    """Path -> what is wrong, for the files of a part that are not what was stated. Arguments and errors as `fault`."""

    def look(file: File) -> str | None:
        try:
            return fault(stored.folder / file.path, file, stored.root, again=again)
        except FileNotFoundError:
            return "it is not there"

    with thread_pool(4) as pool:  # hashing lets go of the interpreter
        found = zip(part.files, pool.map(look, part.files), strict=True)
        return {file.path: why for file, why in found if why}


def sha256(path: Path) -> str:
    """The digest of a file, remembered as in `fault`."""
    real = path.resolve(strict=True)
    noted = _Noted(real, real.stat())
    known = noted.read()
    if "sha256" not in known:
        known = {**known, "sha256": digest(real, "sha256")}
        noted.write(known)
    return known["sha256"]


def digest(path: Path, kind: str) -> str:
    """``sha256``, or ``blob``: SHA-1 with git's header, as the hub names small files. Hexadecimal, lower case."""
    found = hashlib.sha256()
    if kind == "blob":
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


class _Noted:
    """What is known of one state of one file."""

    def __init__(self, real: Path, state: os.stat_result) -> None:
        # Both times: anyone can set the first back, nobody the second.
        self._state = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        name = hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
        self._path = cache_dir() / "digests" / f"{name}.sealed"

    def read(self) -> dict[str, str]:
        """Digests by kind."""
        try:
            noted = json.loads(read_sealed(self._path))
            if noted["state"] == self._state:
                return {str(kind): str(value) for kind, value in noted["digests"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DamagedFileError):
            pass  # never noted, damaged, or not ours any more: it is read anew
        return {}

    def write(self, digests: dict[str, str]) -> None:
        """Keep them; a home that cannot be written costs time, not the result."""
        try:
            write_sealed(self._path, json.dumps({"state": self._state, "digests": digests}).encode())
        except OSError:
            pass
