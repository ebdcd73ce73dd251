"""Files of our own that carry a checksum: damage is seen when they are read, and is never taken for content.

Caches and checkpoints are read back long after they were written, from disks that rot and by processes that were killed. A
format of its own rarely notices a flipped bit (safetensors and zip do not check their data), so what we write begins with a
digest of all that follows.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from modelgraft.errors import DamagedFileError
from modelgraft.paths import write_atomic

_MAGIC: Final = b"modelgraft sealed 1\n"
_DIGEST: Final = 64


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
        raise DamagedFileError(f"{what} is damaged, or none of modelgraft's: its checksum does not match")
    return data


def _seal_of(data: bytes) -> bytes:
    """Return what stands before ``data`` in a sealed file."""
    return b"%s%s\n" % (_MAGIC, hashlib.sha256(data).hexdigest().encode())
