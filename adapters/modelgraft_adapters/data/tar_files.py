"""The members of a tar, read so that none is lost: every byte of the archive has to be accounted for.

Python's `tarfile` ends at the first header that it cannot read and says nothing, so a flipped or cut archive is one with fewer
members; it also trusts the sizes that headers state. Here it reads the headers, one block each, and the walk is ours: a header
with its checksum, its content, zeros up to the next block, and in the end two blocks of zeros or more and nothing else.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Final

from modelgraft.errors import ModelgraftError, UnreadableItemError

from modelgraft_adapters.media.files import open_regular

SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
BLOCK: Final = tarfile.BLOCKSIZE
MOST_HEADER_BYTES: Final = 1 << 18
"""A long name or a list of records before a member has no more bytes; names have 4,096 and attributes 65,536 at most."""
_ZEROS: Final = bytes(1 << 20)
_LINKS_AND_DEVICES: Final = frozenset(
    [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
"""Types that nothing follows, whatever size they state."""
_ABOUT_THE_NEXT: Final = frozenset(
    [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE]
)
"""Types whose content is a name, or records, of members that follow."""
_PAX_NAMES: Final = frozenset(
    [
        "atime",
        "charset",
        "comment",
        "ctime",
        "gid",
        "gname",
        "hdrcharset",
        "linkpath",
        "mtime",
        "path",
        "size",
        "uid",
        "uname",
    ]
)
"""Records that POSIX knows; all others have a vendor's name and a dot before theirs."""


@dataclass(frozen=True, slots=True)
class TarItem:
    """A file inside an uncompressed tar."""

    path: str
    """The tar on disk."""
    name: str
    """The member's name."""
    offset: int
    """Where its bytes begin in the tar."""
    size: int
    state: tuple[int, int] | None = None
    """Size and time of change (ns) that the tar had when its members were listed."""

    def read_bytes(self) -> bytes:
        """The file's bytes. Opens the tar anew, so that threads and processes do not share a position.

        Raises:
            UnreadableItemError: the tar is gone, shorter than it was, or has been changed.
        """
        try:
            with open_regular(self.path) as file:
                file.seek(self.offset)
                content = file.read(self.size) if self.offset + self.size <= os.fstat(file.fileno()).st_size else b""
                state = _state(os.fstat(file.fileno()))
        except OSError as error:
            raise UnreadableItemError(f"{self.path}: {error.strerror or error}") from None
        if len(content) != self.size:
            raise UnreadableItemError(f"{self.path} ends in the middle of {self.name}")
        if self.state is not None and state != self.state:
            raise UnreadableItemError(f"{self.path} has been changed since its members were listed; read it again")
        return content


@dataclass(frozen=True, slots=True)
class Member:
    """What one header and those that belong to it say."""

    name: str
    kind: bytes
    sparse: bool
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Members:
    """All members of a tar, in its order."""

    state: tuple[int, int]
    members: list[Member]


class DamagedTarError(ModelgraftError):
    """A tar that is cut, flipped or hostile: some of its members would be lost, or others be read in their place."""


def is_tar(path: str) -> bool:
    """Whether a file of this name is a tar."""
    return path.lower().endswith(SUFFIXES)


def list_members(plain: str, path: str) -> Members:
    """The members of an uncompressed tar.

    What is seen is whatever would lose a member, end in the middle of one, or read another's bytes as a header. Tar has no checksum
    over contents: those are the decoders' affair; nor over names of more than 100 bytes, of which only the form is checked.

    Args:
        plain: the tar on disk.
        path: what messages call it.

    Raises:
        DamagedTarError: cut off, a header whose checksum is wrong, bytes that belong to nothing; or no tar at all.
        ModelgraftError: it cannot be read.
    """
    try:
        with open_regular(plain) as file:
            found = os.fstat(file.fileno())
            return Members(_state(found), list(_walk(file, found.st_size, path)))
    except OSError as error:
        raise ModelgraftError(f"cannot read {path!r}: {error.strerror or error}") from None


def _walk(file: BinaryIO, total: int, path: str) -> Iterator[Member]:
    place = 0
    shared: dict[str, str] = {}  # records that hold for all members from here on
    own: dict[str, str] = {}
    while True:
        file.seek(place)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            if place == 0 and total == 0:
                raise DamagedTarError(f"{path!r} is no tar file: it is empty")
            raise _cut(path, "without the blocks of zeros that end a tar")
        if not any(block):
            if own:
                raise _damaged(path, place, "the archive ends after a long name, before its member")
            _check_end(file, place, total, path)
            return
        header = _header(block, place, path)
        start = place + BLOCK
        kind, stated = header.type, header.size
        if kind in _ABOUT_THE_NEXT:
            content, place = _content(file, start, stated, total, path)
            if kind == tarfile.GNUTYPE_LONGNAME:
                own["path"] = _text(content.rstrip(b"\0"), start, path)
            elif kind == tarfile.XGLTYPE:
                shared |= _records(content, start, path)
            elif kind != tarfile.GNUTYPE_LONGLINK:
                own |= _records(content, start, path)
            continue
        said = shared | own
        size = _size(said["size"], place, path) if "size" in said else stated
        if kind == tarfile.GNUTYPE_SPARSE:
            start = _after_map(file, block, start, path)
        if kind in _LINKS_AND_DEVICES:
            size = 0
        if start + size > total:
            raise _cut(path, f"in the middle of {header.name!r}")
        sparse = kind == tarfile.GNUTYPE_SPARSE or any(name.startswith("GNU.sparse.") for name in said)
        yield Member(said.get("path", header.name), kind, sparse, start, size)
        place = _after(file, start, size, total, path)
        own = {}


def _header(block: bytes, place: int, path: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        if place == 0:
            raise DamagedTarError(f"{path!r} is damaged, or no tar file: {error}") from None
        raise _damaged(path, place, f"no header where one must be ({error})") from None
    if header.size < 0 or header.size >= 1 << 60:
        raise _damaged(path, place, f"{header.name!r} states a size of {header.size}")
    return header


def _content(file: BinaryIO, start: int, size: int, total: int, path: str) -> tuple[bytes, int]:
    """Content of a header that says something of the next one, and where the next block begins."""
    if size > MOST_HEADER_BYTES:
        raise _damaged(path, start, f"a name or a list of attributes of {size:,} bytes")
    if start + size > total:
        raise _cut(path, "in the middle of a long name")
    file.seek(start)
    return file.read(size), _after(file, start, size, total, path)


def _after(file: BinaryIO, start: int, size: int, total: int, path: str) -> int:
    """Where the block after a content begins; what lies between are zeros."""
    end = start + size
    place = start + -(-size // BLOCK) * BLOCK
    if place > total:
        raise _cut(path, "behind its last member")
    file.seek(end)
    if any(file.read(place - end)):
        raise _damaged(path, end, "something stands between two members")
    return place


def _after_map(file: BinaryIO, block: bytes, start: int, path: str) -> int:
    """Where the content of a sparse file begins: behind the blocks that say where its parts belong."""
    more = block[482]
    while more:
        file.seek(start)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise _cut(path, "in the middle of a sparse file")
        more, start = block[504], start + BLOCK
    return start


def _check_end(file: IO[bytes], place: int, total: int, path: str) -> None:
    if total - place < 2 * BLOCK:
        raise _cut(path, "with one block of zeros where a tar ends with two")
    file.seek(place)
    while chunk := file.read(len(_ZEROS)):
        if chunk != _ZEROS[: len(chunk)]:
            raise _damaged(path, place, "something stands behind its end (are these two tars in one file?)")


def _records(content: bytes, place: int, path: str) -> dict[str, str]:
    """``length name=value`` records. Read here because tarfile's own patterns take a time that grows with the square."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        digits, blank, _ = content[at : at + 20].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = content[at : at + length]
        name, equals, value = record[len(digits) + 1 :].partition(b"=")
        if length < len(digits) + 4 or len(record) < length or not equals or not value.endswith(b"\n"):
            raise _damaged(path, place, "a list of attributes that is not well-formed")
        word = _text(name, place, path)
        if word not in _PAX_NAMES and "." not in word:
            raise _damaged(path, place, f"an attribute {word!r} that no tar knows")
        if word in ("path", "size") or word.startswith("GNU.sparse."):
            found[word] = _text(value[:-1], place, path)
        at += length
    if "GNU.sparse.name" in found:
        found["path"] = found["GNU.sparse.name"]
    return found


def _size(value: str, place: int, path: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise _damaged(path, place, f"a size of {value[:40]!r}")
    return int(value)


def _text(value: bytes, place: int, path: str) -> str:
    if b"\0" in value:
        raise _damaged(path, place, "a name with a NUL in it")
    return value.decode("utf-8", "surrogateescape")


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _cut(path: str, where: str) -> DamagedTarError:
    return DamagedTarError(f"{path!r} is damaged: it is cut off {where}; fetch it again")


def _damaged(path: str, place: int, what: str) -> DamagedTarError:
    return DamagedTarError(f"{path!r} is damaged at byte {place:,}: {what}; fetch it again")
