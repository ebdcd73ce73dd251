"""Where modelgraft keeps what it can make again, and how it writes files that are never seen half done."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

__all__ = ["cache_dir", "held_folder", "release", "sweep", "sync_folder", "umask", "write_atomic"]

_LONGEST: Final = 200
"""Bytes of a name that another beside it may begin with: most disks take 255."""


def cache_dir() -> Path:
    """``$MODELGRAFT_CACHE``, else ``$XDG_CACHE_HOME/modelgraft``, else ``~/.cache/modelgraft``. May not exist yet."""
    if named := os.environ.get("MODELGRAFT_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "modelgraft"


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, never a part.

    Raises:
        OSError: the folder cannot be written.
    """
    with written_whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, to write and to read, that takes the place of ``path`` when the block ends well, and is gone if it does not.

    Until then it is at ``file.name``, beside ``path``, with the same suffix.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, holding = held_file(path)
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        release(holding)


def held_file(path: Path) -> tuple[Path, int | None]:
    """Make a temporary file beside ``path``, with its suffix, and what keeps `sweep` away from it until it is given to `release`.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary, holding = _held(path, lambda **place: _closed(*tempfile.mkstemp(**place, suffix=_suffix(path))))
    return Path(temporary), holding


def held_folder(path: Path) -> tuple[Path, int | None]:
    """Make a temporary folder beside ``path``, and what keeps `sweep` away from it until it is given to `release`.

    Raises:
        OSError: the folder above cannot be written.
    """
    new, holding = _held(path, tempfile.mkdtemp)
    return Path(new), holding


def release(holding: int | None) -> None:
    """Let go of what `held_file` and `held_folder` hold."""
    if holding is not None:
        os.close(holding)


def sweep(path: Path) -> None:
    """Delete what processes that were killed left beside ``path`` while they wrote it: `written_whole`'s and `held_folder`'s.

    What a process that lives is writing stays. Nothing is raised: what cannot be deleted costs room, not the result.
    """
    try:
        import fcntl
    except ImportError:  # Windows: who holds a file there cannot be asked
        return
    import re
    import shutil

    left = re.compile(rf"{re.escape(_prefix(path))}[a-z0-9_]{{8}}({re.escape(_suffix(path))})?")
    with contextlib.suppress(OSError):
        for name in os.listdir(path.absolute().parent):
            if not left.fullmatch(name):
                continue
            there = path.parent / name
            with contextlib.suppress(OSError):
                handle = os.open(there, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(there, ignore_errors=True) if there.is_dir() else there.unlink()
                finally:
                    os.close(handle)


def sync_folder(folder: Path) -> None:
    """See the names in a folder on the disk, where the system can: after a power cut a file that was put in place is in place."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def umask() -> int:
    """Return the process's mask of permissions."""
    # There is no way to read it but to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _held(path: Path, make: Callable[..., str]) -> tuple[str, int | None]:
    """Make something temporary beside ``path``, and lock it for as long as the descriptor is open, where the system can."""
    while True:
        there = make(dir=path.absolute().parent, prefix=_prefix(path))
        try:
            import fcntl
        except ImportError:  # Windows
            return there, None
        try:
            holding = os.open(there, os.O_RDONLY)
        except FileNotFoundError:  # `sweep` of another process came between
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(holding, fcntl.LOCK_EX)
        if os.path.exists(there):
            return there, holding
        os.close(holding)


def _prefix(path: Path) -> str:
    """How the names of what is temporary for a path begin; a name that leaves no room for more is shortened."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST:
        return f".{path.name}."
    return f".{hashlib.sha256(name).hexdigest()[:32]}."


def _suffix(path: Path) -> str:
    return path.suffix if len(os.fsencode(path.suffix)) <= 20 else ""


def _closed(handle: int, name: str) -> str:
    os.close(handle)
    return name
