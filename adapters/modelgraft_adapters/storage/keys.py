"""What an item is, whatever it is called: a 16-byte digest of its content. The same image under two names is one item."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any, Final

from modelgraft.errors import UnreadableItemError
from modelgraft.paths import cache_dir

from modelgraft_adapters.media.files import MOST_PICTURE_BYTES, Given, open_regular, read_regular, regular_state, told
from modelgraft_adapters.storage.records import RecordStore

DIGEST_BYTES: Final = 16
_CHUNK: Final = 1 << 22
_TICK: Final = 50_000_000
"""Nanoseconds; kernels' ticks are up to 10 ms."""
_COARSE_TICK: Final = 2_100_000_000
_HELD: Final = 1 << 26
"""Files up to this many bytes are read once, for the digest and for decoding."""


def text_digest(text: str) -> bytes:
    """The digest of a text."""
    return _digest(b"text", text.encode("utf-8", "surrogatepass"))


def picture_digest(item: Any) -> tuple[bytes, bytes | None]:
    """The digest of an image's content, and the content of its file where it had to be read.

    Args:
        item: a path, an object with ``read_bytes()``, a PIL image, or an array.

    Raises:
        UnreadableItemError: there is no file, or it cannot be read.
    """
    if isinstance(item, Given) and not os.path.isfile(item):
        content = told(lambda: read_regular(item, MOST_PICTURE_BYTES, pipe=True))  # a pipe is read once
        return _digest(b"file", content), content
    if isinstance(item, (str, os.PathLike)):
        return _file_digest(os.fspath(item))
    if hasattr(item, "read_bytes"):
        try:
            content = bytes(item.read_bytes())
        except OSError as error:
            raise UnreadableItemError(f"cannot be read: {error}") from None
        return _digest(b"file", content), content
    from PIL import Image

    if isinstance(item, Image.Image):
        if 0 in item.size:  # told here too: features of such may be stored
            raise UnreadableItemError(f"an image of {item.width} x {item.height} pixels, of which there is none")
        # What reading an image looks at: its pixels, colours, transparency and orientation.
        about = (item.mode, item.size, repr(item.info.get("transparency")), item.getexif().get(0x0112))
        palette = item.palette.getdata()[1] if item.palette is not None else b""
        return _digest(b"pil", repr(about).encode(), bytes(palette), item.tobytes()), None
    import numpy as np

    values = np.ascontiguousarray(item)
    if 0 in values.shape:
        raise UnreadableItemError(f"an array of shape {values.shape}, in which there is no pixel")
    return _digest(b"array", f"{values.shape} {values.dtype}".encode(), values.tobytes()), None


class FileDigests:
    """Digests of files by path, size, inode and times of change, kept on disk so that a second run need not read them all.

    Times are compared for sameness; with the clock only to tell that a file is so new that it could be written to again, to the
    same length, and have the same times. Such a file is not remembered: a wrong clock costs reading it again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._records = RecordStore(folder or cache_dir() / "features" / "digests", DIGEST_BYTES)
        self._new: list[tuple[bytes, bytes]] = []

    def digest(self, path: str) -> tuple[bytes, bytes | None]:
        """As `picture_digest` of a path; the content is None where the digest was known."""
        if isinstance(path, Given) and not os.path.isfile(path):  # a pipe has no state to be known by
            return picture_digest(path)
        name = _state(path)
        (known,) = self._records.get([name])
        if known is not None:
            return known, None
        found, content = _file_digest(path)
        if _state(path) == name and _is_settled(path):  # else it was written to meanwhile, or may be unseen
            self._new.append((name, found))
        return found, content

    def save(self) -> None:
        """Keep what was found since.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        new, self._new = self._new, []
        distinct = dict(new)
        self._records.append(list(distinct), list(distinct.values()))


def _is_settled(path: str) -> bool:
    """Whether a further change would show in a file's times, which systems keep in ticks (disks of cameras in two seconds)."""
    found = told(lambda: regular_state(path))
    coarse = not found.st_mtime_ns % 10**9 and not found.st_ctime_ns % 10**9
    return time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > (_COARSE_TICK if coarse else _TICK)


def _state(path: str) -> bytes:
    found = told(lambda: regular_state(path))
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return _digest(b"state", os.fsencode(os.path.abspath(path)), repr(numbers).encode())


def _file_digest(path: str) -> tuple[bytes, bytes | None]:
    def read() -> tuple[bytes, bytes | None]:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _HELD:
                content = file.read(size)
                return _digest(b"file", content), content
            digest = hashlib.blake2b(b"file\0", digest_size=DIGEST_BYTES)
            while size > 0 and (chunk := file.read(min(_CHUNK, size))):
                digest.update(chunk)
                size -= len(chunk)
            return digest.digest(), None

    return told(read)


def _digest(kind: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(kind + b"\0", digest_size=DIGEST_BYTES)
    for number, part in enumerate(parts):
        if number < len(parts) - 1:  # the last part needs no length: it ends where the digest ends
            digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
