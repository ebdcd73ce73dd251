"""The one way that a file named by the user's data is opened: a regular file, read no further than it is long.

A table, a folder or a tar that somebody else made may name a pipe nobody writes to, a device without an end, or a file of the
system whose reading never returns. None of them may hang a run or fill its memory.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from typing import BinaryIO, Final, TypeVar

from modelgraft.errors import UnreadableItemError

Result = TypeVar("Result")

MOST_PICTURE_BYTES: Final = 1 << 30
"""An image's file has no more bytes than this. Uncompressed samples of 16 bit at Pillow's limit of pixels are half of it."""
MOST_TEXT_BYTES: Final = 1 << 26
"""A text of its own (a ``.txt`` in a folder, a member of a tar) has no more bytes than this."""
MOST_TABLE_BYTES: Final = 1 << 31
"""A table that is text (CSV, JSON), a file of labels or of texts has no more bytes than this."""
_CHUNK: Final = 1 << 20


class Given(str):
    """A path that the user typed: unlike one that stands in his data it may be a pipe, as ``/dev/stdin`` or ``<(...)`` is."""

    __slots__ = ()


class Unread(str):
    """A path in a folder of the user's behind which nothing could be looked at: an item all the same, with the reason."""

    __slots__ = ("reason",)
    reason: str

    def __new__(cls, path: str, reason: str) -> Unread:
        made = super().__new__(cls, path)
        made.reason = reason
        return made

    def __reduce__(self) -> tuple[type[Unread], tuple[str, str]]:
        return Unread, (str(self), self.reason)


class UnreadError(OSError):
    """An `Unread` path was asked for."""


class NotRegularError(OSError):
    """A pipe, a device or a socket where a file is expected."""


def open_regular(path: str | os.PathLike[str], *, pipe: bool = False) -> io.BufferedReader:
    """Open a regular file for reading, whatever else lies under its name; never waits.

    Args:
        pipe: take a pipe too, for a path that the user typed himself.

    Raises:
        OSError: there is none, it may not be read, or it is something else (`IsADirectoryError`, `NotRegularError`).
    """
    _look_up(path)
    waits = getattr(os, "O_NONBLOCK", 0)
    if pipe and _is_pipe(os.stat(path).st_mode):
        waits = 0  # a pipe that is opened without waiting is empty until its writer comes
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0) | waits
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise _not_regular(path) from None
        raise
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from None
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode) and not (pipe and _is_pipe(mode)):
            raise _not_regular(path)
        return open(path, "rb", opener=lambda *_: handle)
    except BaseException:
        os.close(handle)
        raise


def regular_state(path: str | os.PathLike[str]) -> os.stat_result:
    """Return what the system says of a regular file, without opening it. Errors as `open_regular`."""
    _look_up(path)
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        raise _not_regular(path)
    return found


def read_regular(path: str | os.PathLike[str], most: int, *, pipe: bool = False) -> bytes:
    """Read a file as `open_regular` opens it, up to the length that it states: files of the system that state none are empty.

    Raises:
        OSError: as `open_regular`; or the file has more than ``most`` bytes.
    """
    with open_regular(path, pipe=pipe) as file:
        state = os.fstat(file.fileno())
        size = most + 1 if _is_pipe(state.st_mode) else state.st_size
        content = b"" if size > most and not _is_pipe(state.st_mode) else _read(file, size)
    if size > most and (len(content) > most or not _is_pipe(state.st_mode)):
        raise OSError(errno.EFBIG, f"larger than {most >> 20:,} MiB, the most that is read", os.fspath(path))
    return content


def told(read: Callable[[], Result]) -> Result:
    """Return what ``read`` does, its errors in the words of an item that cannot be read.

    Raises:
        UnreadableItemError: no file, a folder, something that is no file, no permission, or anything else of the system.
    """
    try:
        return read()
    except FileNotFoundError:
        raise UnreadableItemError("no such file") from None
    except IsADirectoryError:
        raise UnreadableItemError("a folder, not a file") from None
    except PermissionError:
        raise UnreadableItemError("no permission to read it") from None
    except (NotRegularError, UnreadError) as error:
        raise UnreadableItemError(str(error.strerror)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableItemError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _look_up(path: str | os.PathLike[str]) -> None:
    if isinstance(path, Unread):
        raise UnreadError(errno.EIO, path.reason, str(path))


def _read(file: BinaryIO, size: int) -> bytes:
    if size <= _CHUNK:
        return file.read(size)
    out = io.BytesIO()
    while out.tell() < size and (chunk := file.read(min(_CHUNK, size - out.tell()))):
        out.write(chunk)
    return out.getvalue()


def _is_pipe(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _not_regular(path: str | os.PathLike[str]) -> NotRegularError:
    return NotRegularError(errno.EINVAL, "not a regular file but a pipe, a device or a socket", os.fspath(path))
