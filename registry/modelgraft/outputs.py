"""Where a user wants results: tried before the work, and written as he would write it himself.

A regular file appears whole or not at all and keeps its mode, a link keeps leading where it leads, and what is no regular file (a
pipe, a terminal, ``/dev/stdout``) is written through. Files of our own, in caches, are `modelgraft.paths`' affair: a link there
is nothing to follow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.paths import held_file, release, sweep, sync_folder, umask

__all__ = ["Output", "check_output", "check_output_folder", "output_file", "told", "write_output"]

_DESCRIPTOR: Final = re.compile(r"/dev/fd/(\d+)|/proc/(\d+)/fd/(\d+)")
_MOST_LINKS: Final = 40
_TRIAL: Final = 1 << 16
"""Bytes that are written, and deleted, to see whether there is room at all."""


class Output:
    """A file that takes the place of what a user named, once it is put there.

    Args:
        path: a file, a link to one, a pipe, a device; ``-`` and ``/dev/stdout`` are standard output.

    Attributes:
        file: open to write and to read; at ``file.name``, with the suffix of ``path``.

    Raises:
        OSError: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = _followed(path)
        self._holding: int | None = None
        self._before = _state(self._target)
        if self._through:
            if isinstance(self._target, int):
                os.write(_descriptor(self._target), b"")  # one that was opened for reading says so
            elif not _writable(self._target):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            handle, name = tempfile.mkstemp(suffix=path.suffix[:20])
            os.close(handle)
            self._temporary = Path(name)
        else:
            assert isinstance(self._target, Path)
            if self._before is not None and not _writable(self._target):
                raise PermissionError(errno.EACCES, "the file is write-protected", str(path))
            self._temporary, self._holding = held_file(self._target)
        try:
            self.file: IO[bytes] = open(self._temporary, "w+b")
        except BaseException:
            self.discard()
            raise

    def place(self) -> None:
        """Put what was written where it was wanted.

        Raises:
            OSError: the disk is full, or the place is not what it was; nothing has changed there.
        """
        self.file.flush()
        if self._through:
            self._copy()
            return
        assert isinstance(self._target, Path)
        os.fsync(self.file.fileno())
        self._as_before()
        try:
            os.replace(self._temporary, self._target)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV) or self._before is None:
                raise
            self._copy()  # a file that is mounted by itself, as into a container, cannot be replaced
        sync_folder(self._target.parent)
        sweep(self._target)

    def discard(self) -> None:
        """Delete what is not in place; safe at any time."""
        if hasattr(self, "file"):
            with contextlib.suppress(OSError):
                self.file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        release(self._holding)
        self._holding = None

    @property
    def _through(self) -> bool:
        return isinstance(self._target, int) or (self._before is not None and not stat.S_ISREG(self._before.st_mode))

    def _as_before(self) -> None:
        """Give the new file the mode of the old one, and its owner where that is allowed."""
        before = self._before
        if before is None:
            os.chmod(self._temporary, 0o666 & ~umask())
            return
        now = os.stat(self._temporary)
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            with contextlib.suppress(OSError):
                os.chown(self._temporary, before.st_uid, before.st_gid)
        os.chmod(self._temporary, stat.S_IMODE(before.st_mode))

    def _copy(self) -> None:
        self.file.seek(0)
        with _opened(self._target) as sink:
            shutil.copyfileobj(self.file, sink, 1 << 20)


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """Open an `Output`, which is put in place when the block ends well, and is gone if it does not.

    Raises:
        ModelgraftError: it cannot be written.
    """
    with told(path):
        out = Output(path)
    try:
        yield out.file
        with told(path):
            out.place()
    finally:
        out.discard()


def write_output(path: Path, data: bytes) -> None:
    """Write ``data`` to an `Output`. Errors as `output_file`."""
    with told(path):
        write_through(path, data)


def write_through(path: Path, data: bytes) -> None:
    """Write ``data`` to an `Output`, for callers that tell errors in words of their own.

    Raises:
        OSError: it cannot be written.
    """
    out = Output(path)
    try:
        out.file.write(data)
        out.place()
    finally:
        out.discard()


def check_output(path: Path, *others: Path | None) -> Path:
    """Return ``path``, if a result can be written there: tried before the work, and nothing is left of that.

    Args:
        others: further outputs of the same command.

    Raises:
        UsageError: a folder, a folder that does not exist, or two outputs in one place.
        ModelgraftError: it cannot be written, or there is no room.
    """
    for other in others:
        same = other is not None and os.path.realpath(other) == os.path.realpath(path)
        if same and (path.is_file() or not os.path.lexists(path)):
            raise UsageError(f"{str(path)!r} is named for two outputs; give each a file of its own")
    try:
        target = _followed(path)
        there = _state(target)
    except OSError as error:
        raise ModelgraftError(f"{path} cannot be written: {error.strerror or error}") from None
    if isinstance(target, Path):
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise UsageError(f"{str(path)!r} is a folder; name a file")
        if not target.absolute().parent.is_dir():
            raise UsageError(f"the folder of {str(path)!r} does not exist")
    with told(path):
        out = Output(path)
        try:
            out.file.write(bytes(_TRIAL))
            out.file.flush()
            os.fsync(out.file.fileno())
        finally:
            out.discard()
    return path


def check_output_folder(folder: Path) -> None:
    """Try whether a folder can be made there, or files in it; nothing is left of that.

    Raises:
        UsageError: a file is in the way.
        ModelgraftError: it cannot be written, or there is no room.
    """
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there} is a file; {folder} cannot be a folder")
    with told(folder), tempfile.TemporaryDirectory(prefix=".modelgraft-", dir=there) as made:
        trial = os.open(os.path.join(made, "trial"), os.O_WRONLY | os.O_CREAT, 0o600)
        with open(trial, "wb") as file:
            file.write(bytes(_TRIAL))
            file.flush()
            os.fsync(trial)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Put what the system says of an output into one line.

    Raises:
        ModelgraftError: in the place of an `OSError`; but a reader of it that has gone is `BrokenPipeError`, as everywhere.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ModelgraftError(f"{path} cannot be written: {error.strerror or error}") from None


def _followed(path: Path) -> Path | int:
    """Where links lead; a descriptor of this process, if they lead there: what stands behind it is open already."""
    if str(path) == "-":
        return 1
    at = os.fspath(path)
    for _ in range(_MOST_LINKS):
        here = os.path.join(os.path.realpath(os.path.dirname(at) or "."), os.path.basename(at))
        if (found := _DESCRIPTOR.fullmatch(here)) and found[2] in (None, str(os.getpid())):
            return int(found[1] or found[3])
        if not os.path.islink(at):
            return Path(at)
        at = os.path.join(os.path.dirname(at), os.readlink(at))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _state(target: Path | int) -> os.stat_result | None:
    try:
        return os.fstat(_descriptor(target)) if isinstance(target, int) else os.stat(target)
    except FileNotFoundError:
        return None


def _descriptor(number: int) -> int:
    """The command line keeps standard output to itself, behind another number."""
    if number == 1 and sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            return sys.stdout.fileno()
    return number


@contextlib.contextmanager
def _opened(target: Path | int) -> Iterator[IO[bytes]]:
    if isinstance(target, Path):
        with open(target, "wb") as sink:
            yield sink
        return
    if target in (1, 2):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    with open(os.dup(_descriptor(target)), "wb") as sink:
        yield sink
