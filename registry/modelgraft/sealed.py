"""Files of our own that carry a checksum: damage is seen when they are read, and is never taken for content.

Caches and checkpoints are read back long after they were written, from disks that rot and by processes that were killed. A
format of its own rarely notices a flipped bit (safetensors and zip do not check their data), so what we write begins with a
digest of all that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from modelgraft.errors import DamagedFileError
from modelgraft.paths import write_atomic, written_whole

__all__ = ["read_sealed", "sealed_reader", "sealed_writer", "with_checksum", "without_checksum", "write_sealed"]

_MAGIC: Final = b"modelgraft sealed 1\n"
_DIGEST: Final = 64
_CHUNK: Final = 1 << 22
_KEY: Final = "checksum"
_KIND: Final = "sha256:"


def write_sealed(path: Path, data: bytes) -> None:
    """Write ``data`` below its sha256, so that a reader sees the old file or the whole new one.

    Raises:
        OSError: the folder cannot be written.
    """
    write_atomic(path, seal(data))


def read_sealed(path: Path) -> bytes:
    """Return what `write_sealed` was given.

    Raises:
        OSError: the file cannot be read.
        DamagedFileError: it is not the file that was written.
    """
    return unseal(path.read_bytes(), str(path))


def seal(data: bytes) -> bytes:
    """Return ``data`` with its checksum before it."""
    return _seal_of(data) + data


def unseal(content: bytes, what: str) -> bytes:
    """Return the data of a sealed file.

    Args:
        what: the file, for the error.

    Raises:
        DamagedFileError: the content is not what `seal` made.
    """
    start = len(_MAGIC) + _DIGEST + 1
    data = content[start:]
    if content[:start] != _seal_of(data):
        raise _damaged(what)
    return data


@contextmanager
def sealed_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a sealed file that is written from the first byte to the last, however large; it appears whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    with written_whole(path) as file:
        hashing = _Hashing(file)
        file.write(_head(""))
        yield hashing  # type: ignore[misc]  # what its users call of a file is there
        file.seek(0)
        file.write(_head(hashing.digest.hexdigest()))


@contextmanager
def sealed_reader(path: Path) -> Iterator[IO[bytes]]:
    """Read a sealed file once to check it, and open it at the beginning of what was written; its size takes no memory.

    Raises:
        OSError: the file cannot be read.
        DamagedFileError: it is not the file that was written.
    """
    with path.open("rb") as file:
        head, digest = file.read(len(_head(""))), hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if head != _head(digest.hexdigest()):
            raise _damaged(str(path))
        file.seek(len(head))
        yield file


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its checksum as one more key: for files that people and other programs read as JSON."""
    plain = json.loads(json.dumps(record))  # as it will be read: keys are texts, sorted as such
    return {**record, _KEY: _of_json(plain)}


def without_checksum(record: Mapping[str, Any], what: str, *, needed: bool = True) -> dict[str, Any]:
    """Return the object that `with_checksum` was given.

    Args:
        what: the file, for the error.
        needed: whether an object that states no checksum is refused too.

    Raises:
        DamagedFileError: the content is not what was written.
    """
    rest = {key: value for key, value in record.items() if key != _KEY}
    if (needed or _KEY in record) and record.get(_KEY) != _of_json(rest):
        raise _damaged(what)
    if _KEY not in record and any(_is_checksum(key, record) for key in record):
        raise _damaged(what)  # the damage is in the key's own name
    return rest


def _is_checksum(key: str, record: Mapping[str, Any]) -> bool:
    value = record[key]
    if not (isinstance(value, str) and value.startswith(_KIND)):
        return False
    return value == _of_json({other: record[other] for other in record if other != key})


class _Hashing:
    """A file that is written in order, and the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Pass on what is buffered."""
        self.file.flush()


def _of_json(record: Mapping[str, Any]) -> str:
    """The checksum of the content: white space and the order of keys are no part of it."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return f"{_KIND}{hashlib.sha256(text.encode()).hexdigest()}"


def _seal_of(data: bytes) -> bytes:
    """Return what stands before ``data`` in a sealed file."""
    return _head(hashlib.sha256(data).hexdigest())


def _head(digest: str) -> bytes:
    return b"%s%s\n" % (_MAGIC, digest.rjust(_DIGEST).encode())


def _damaged(what: str) -> DamagedFileError:
    return DamagedFileError(f"{what} is damaged, or none of modelgraft's: its checksum does not match")
