"""A compressed tar to a copy that can be read at any place, within limits: a few megabytes may hold terabytes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from modelgraft.errors import DamagedFileError, ModelgraftError, UsageError
from modelgraft.paths import cache_dir
from modelgraft.sealed import read_sealed, write_sealed

from modelgraft_adapters.media.files import open_regular

LARGEST_RATIO: Final = 200
"""A tar is not uncompressed to more than this many times its size. Images come to 1, texts to 10, tiny labels to 140."""
ALWAYS_ALLOWED: Final = 1 << 30
"""Up to this many bytes any ratio is allowed."""
_KEPT_FREE: Final = 1 << 30
_XZ_MEMORY: Final = 1 << 28
"""What ``xz -9`` needs is a quarter of it; a header may ask for 4 GiB."""
_CHUNK: Final = 1 << 20


def uncompressed(path: str) -> tuple[str, str | None]:
    """A tar that can be read at any place, and a note if one had to be made.

    Made under another name and renamed, so that half a file is never read as whole; what was made of an older state of the same
    file is deleted, and so is what a killed process left. Beside the copy lies its digest, and it is made anew where they differ.

    Raises:
        UsageError: there is no such file, or it is compressed in a way that is not read.
        ModelgraftError: damaged, or it would become more than `LARGEST_RATIO` times as large, or than the disk has room for.
    """
    try:
        with open_regular(path) as file:
            magic = file.read(6)
            state = os.fstat(file.fileno())
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror or error}") from None
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        raise UsageError(f"{path!r} is compressed with zstd; uncompress it first: zstd -d {path!r}")
    openers = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", _Xz))
    opener: Any = next((opener for mark, opener in openers if magic.startswith(mark)), None)
    if opener is None:
        return path, None
    folder = cache_dir() / "shards"
    stem = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = folder / f"{stem}-{state.st_size}-{state.st_mtime_ns}.tar"
    _sweep(folder)
    if not _is_whole(target):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _part(folder) as out:
                digest = _copy(path, opener, out, state.st_size)
                os.replace(out.name, target)
            write_sealed(_digest_of(target), digest)
        except (gzip.BadGzipFile, lzma.LZMAError, EOFError, ValueError) as error:
            raise ModelgraftError(f"{path!r} is damaged or cut off ({error}); fetch it again") from None
        except OSError as error:
            raise ModelgraftError(
                f"{path!r} cannot be uncompressed into {str(folder)!r}: {error.strerror or error}; "
                "free some space, or uncompress it yourself"
            ) from None
        for old in folder.glob(f"{stem}-*.tar"):
            if old != target:
                for gone in (old, _digest_of(old)):
                    with contextlib.suppress(OSError):
                        gone.unlink()
    return str(target), f"{path!r} is compressed: read from an uncompressed copy in {str(folder)!r}"


def _copy(path: str, opener: Any, out: IO[bytes], size: int) -> bytes:
    """Uncompress into ``out``; the digest of what was written."""
    digest = hashlib.blake2b()
    disk = shutil.disk_usage(os.path.dirname(out.name))
    room = disk.free - min(_KEPT_FREE, disk.total // 20)
    most = max(LARGEST_RATIO * size, ALWAYS_ALLOWED)
    written = 0
    with open_regular(path) as file, opener(file) as compressed:
        while chunk := compressed.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise ModelgraftError(
                    f"{path!r} would become more than {LARGEST_RATIO} times as large, maybe a decompression bomb; "
                    "uncompress it yourself if it is not"
                )
            if written > room:
                raise ModelgraftError(
                    f"{path!r} does not fit on the disk of {os.path.dirname(out.name)!r}, where {max(room, 0) >> 20:,} MiB "
                    "may be filled; make room, or uncompress it yourself"
                )
            digest.update(chunk)
            out.write(chunk)
    out.flush()
    os.fsync(out.fileno())
    return digest.digest()


def _is_whole(target: Path) -> bool:
    """Whether the copy is there and is what was written."""
    try:
        with open_regular(target) as file:
            return hashlib.file_digest(file, hashlib.blake2b).digest() == read_sealed(_digest_of(target))
    except (OSError, DamagedFileError):
        return False


def _digest_of(target: Path) -> Path:
    return target.with_suffix(".digest")


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[IO[bytes]]:
    """A file that is locked while it is written, so that no other process takes it for one that was left behind."""
    while True:
        out = tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False)
        with contextlib.suppress(OSError):
            _lock(out.fileno())
        if os.path.lexists(out.name):
            break
        out.close()  # another process swept it away before it was locked
    try:
        with out:
            yield out
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(out.name)
        raise


def _sweep(folder: Path) -> None:
    """Delete what killed processes have left."""
    for part in folder.glob(".part-*"):
        with contextlib.suppress(OSError), open_regular(part) as file:
            _lock(file.fileno())
            part.unlink()


def _lock(handle: int) -> None:
    """Lock a file until it is closed.

    Raises:
        OSError: another process holds it, or the disk knows no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where a file that is open cannot be deleted
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class _Xz:
    """What `lzma.LZMAFile` does for reading, with a limit of memory, which that does not take."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._part = self._fresh()

    def __enter__(self) -> _Xz:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, size: int) -> bytes:
        while True:
            given = b""
            if self._part.eof:
                if not (given := self._next_stream()):
                    return b""
                self._part = self._fresh()
            elif self._part.needs_input and not (given := self._file.read(_CHUNK)):
                raise EOFError("it ends before its end-of-stream marker")
            if found := self._part.decompress(given, size):
                return found

    def _next_stream(self) -> bytes:
        rest = self._part.unused_data.lstrip(b"\0")  # between streams zeros may stand
        while not rest and (chunk := self._file.read(_CHUNK)):
            rest = chunk.lstrip(b"\0")
        return rest

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
