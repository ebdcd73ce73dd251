"""Damaged, hostile and changing tars: no item is lost, renamed or read from elsewhere without an error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft.paths import cache_dir
from modelgraft_adapters.data import shards, tar_files, uncompressing
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.tar_files import DamagedTarError, Members, list_members

from tests.adapters.data.conftest import MakeTar, picture

Listed = list[tuple[str, int, int]] | None
"""Name, offset and size of each file; None: an error."""


def _ours(path: str) -> Listed:
    try:
        found = list_members(path, path).members
    except DamagedTarError:
        return None
    return [(m.name, m.offset, m.size) for m in found if m.kind in tarfile.REGULAR_TYPES]


def _tarfiles(path: str) -> Listed:
    """What Python's own walk gives, as modelgraft once took it: the guard taken out."""
    try:
        with tarfile.open(path, "r:") as tar:
            found = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    except tarfile.TarError:
        return None
    return None if any(offset + size > os.path.getsize(path) for _, offset, size in found) else found


def _damages(content: bytes, heads: list[int], ends: list[int]) -> Iterator[bytes]:
    rng = random.Random(0)
    last = -(-ends[-1] // 512) * 512
    cuts = {place + d for place in rng.sample(ends, 12) for d in (-1, 0, 1, 511, 512)} | {
        -(-e // 512) * 512 for e in ends
    }
    for place in sorted(cuts | set(range(last, last + 1024, 7)) | {rng.randrange(len(content)) for _ in range(60)}):
        yield content[:place]
    places = [head + n for head in rng.sample(heads, 5) for n in range(0, 512, 3)]
    places += [rng.randrange(end, -(-end // 512) * 512) for end in rng.sample(ends, 12) if end % 512]
    for place in [*places, *range(last, last + 1024, 31)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        yield bytes(damaged)


def _silent(listed: Callable[[str], Listed], content: bytes, path: Path) -> tuple[int, int]:
    """How many damages there were, and how many of them lost or changed an item without an error."""
    path.write_bytes(content)
    truth = listed(str(path))
    assert truth
    heads, ends = [offset - 512 for _, offset, _ in truth], [offset + size for _, offset, size in truth]
    count = silent = 0
    for damaged in _damages(content, heads, ends):
        path.write_bytes(damaged)
        count += 1
        silent += listed(str(path)) not in (None, truth)
    return count, silent


def _head_of_a_real_tar(shared_data: Path, members: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(shared_data / "camvid.tar") as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source.getmembers()[:members]:
            target.addfile(member, source.extractfile(member))
    return out.getvalue()


def test_a_cut_or_flipped_tar_loses_nothing_in_silence(shared_data: Path, tmp_path: Path) -> None:
    count, silent = _silent(_ours, _head_of_a_real_tar(shared_data, 20), tmp_path / "x.tar")
    assert count > 900 and silent == 0


def test_without_our_walk_it_does(shared_data: Path, tmp_path: Path) -> None:
    count, silent = _silent(_tarfiles, _head_of_a_real_tar(shared_data, 20), tmp_path / "x.tar")
    assert silent > count // 2


def test_real_tars_are_walked_as_python_does(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("*.tar")):
        assert _ours(str(path)) == _tarfiles(str(path)), path


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_and_odd_ones(tmp_path: Path, kind: int) -> None:
    names = ["a/1.png", "ä" * 30 + "/2.png", "d" * 60 + "/" + "e" * 60 + "/3.png", "b/ 4 .png", "b/5\n\x1b[31m.png"]
    if kind != tarfile.USTAR_FORMAT:
        names += ["x" * 150 + "/6.png", "/".join(["y" * 200] * 5) + "/7.png", "b/\udcff8.png"]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=kind, errors="surrogateescape") as out:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = len(picture(number))
            out.addfile(info, io.BytesIO(picture(number)))
    assert _ours(str(path)) == _tarfiles(str(path))
    data = read_data(path)
    assert sorted(item.name for item in data.items) == sorted(names)
    assert {item.name: item.read_bytes() for item in data.items} == {n: picture(k) for k, n in enumerate(names)}


def test_a_damaged_long_name_is_seen_where_its_form_breaks(tmp_path: Path) -> None:
    """Over names of more than 100 bytes tar has no checksum: a letter for another is not seen, all else is."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        info = tarfile.TarInfo("x" * 150 + "/1.png")
        info.size = 10
        out.addfile(info, io.BytesIO(bytes(10)))
    whole = path.read_bytes()
    start = whole.index(b" path=")
    for old, new in (
        (b" path=", b" qath="),
        (b" path=", b"_path="),
        (b" path=", b" path\0"),
        (b"/1.png\n", b"/1.pngX"),
    ):
        path.write_bytes(whole.replace(old, new, 1))
        assert start and _ours(str(path)) is None


def _header(name: str = "a/1.png", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


END = bytes(1024)


def _signed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _with_size(size: int) -> bytes:
    """A header whose size is written as GNU writes large and negative numbers."""
    block = bytearray(_header())
    block[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % (1 << 88)).to_bytes(11, "big")
    return _signed(block)


HOSTILE = {
    "a negative size": (_header() + _with_size(-512) + END, "states a size of -512"),
    "a size that leads back": (_header() + _with_size(-1024) + END, "states a size of -1024"),
    "a size beyond all files": (_with_size(1 << 70) + END, "states a size of"),
    "a size beyond the file": (_header(size=10**9) + END, "cut off in the middle of"),
    "a long name of a gigabyte": (
        _header(size=1 << 30, kind=tarfile.GNUTYPE_LONGNAME) + END,
        "a list of attributes of",
    ),
    "records of a gigabyte": (_header(size=1 << 30, kind=tarfile.XHDTYPE) + END, "a list of attributes of"),
    "records without form": (_header(size=512, kind=tarfile.XHDTYPE) + b"9" * 512 + _header() + END, "not well-formed"),
    "a record of no length": (
        _header(size=512, kind=tarfile.XHDTYPE) + b"0 a=b\n" + bytes(506) + END,
        "not well-formed",
    ),
    "a negative size in a record": (
        _header(size=15, kind=tarfile.XHDTYPE) + b"15 size=-99999\n" + bytes(497) + _header() + END,
        "a size of '-99999'",
    ),
    "a name for nothing": (
        _header() + _header(size=5, kind=tarfile.GNUTYPE_LONGNAME) + b"a.png" + bytes(507) + END,
        "before",
    ),
    "a sparse file without an end": (_header(kind=tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29), "checksum"),
    "no end": (_header(), "without the blocks of zeros"),
    "half an end": (_header() + bytes(512), "with one block of zeros"),
    "another tar behind it": (_header() + END + _header("b/2.png") + END, "two tars in one file"),
    "garbage behind it": (_header() + END + b"garbage", "behind its end"),
    "something in the padding": (_header(size=1) + b"x" + b"y" * 511 + END, "between two members"),
    "nothing": (b"", "it is empty"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tars_are_refused(tmp_path: Path, what: str) -> None:
    content, reason = HOSTILE[what]
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DamagedTarError, match=reason) as raised:
        read_data(tmp_path / "x.tar")
    assert "x.tar" in str(raised.value) and "\n" not in str(raised.value)


def test_a_list_of_attributes_takes_no_time_that_grows_with_its_square(tmp_path: Path) -> None:
    """On older Pythons tarfile's own patterns do (CVE-2024-6232): 200 such members were hours."""
    value = b"1" * 200_000
    record = b"200017 comment=" + value + b"\n"
    record = b"%d%s" % (len(record), record[6:])
    padded = record + bytes(-len(record) % 512)
    member = _header(size=len(record), kind=tarfile.XHDTYPE) + padded
    (tmp_path / "x.tar").write_bytes(b"".join(member + _header(f"a/{n}.png") for n in range(200)) + END)
    began = time.monotonic()
    assert len(list_members(str(tmp_path / "x.tar"), "x.tar").members) == 200
    assert time.monotonic() - began < 60  # a hang, not a speed


def test_sparse_and_linked_members_are_left_out_with_a_note(tmp_path: Path) -> None:
    sparse = bytearray(_header("a/s.png", 512, tarfile.GNUTYPE_SPARSE))
    sparse[482] = 1
    more = bytearray(512)
    path = tmp_path / "x.tar"
    content = _signed(sparse) + bytes(more) + b"s" * 512 + _header("a/hard.png", 99, tarfile.LNKTYPE)
    path.write_bytes(content + _header("b/2.png", 5) + b"12345" + bytes(507) + END)
    data = read_data(path)
    assert [item.name for item in data.items] == ["b/2.png"] and data.items[0].read_bytes() == b"12345"
    assert data.notes[0].startswith("2 members")


def test_a_member_that_stands_twice_is_told(tar: MakeTar, tmp_path: Path) -> None:
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as out:
        for name, number in (("a/1.png", 1), ("b/1.png", 2), ("a/1.png", 3)):
            info = tarfile.TarInfo(name)
            info.size = len(picture(number))
            out.addfile(info, io.BytesIO(picture(number)))
    assert any(note.startswith("1 member of") and "'a/1.png'" in note for note in read_data(path).notes)


def test_a_tar_that_changes_while_it_is_read_is_seen(tar: MakeTar) -> None:
    path = tar({"a/1.png": picture(1), "b/2.png": picture(2)})
    data = read_data(path)
    later = tar({"a/1.png": picture(2), "b/2.png": picture(1)})
    assert later == path
    for guard in (True, False):
        for item in data.items:
            if guard:
                with pytest.raises(UnreadableItemError, match="has been changed since its members were listed"):
                    item.read_bytes()
            else:  # another image under the old name and label
                assert tar_files.TarItem(item.path, item.name, item.offset, item.size).read_bytes()


def test_a_flipped_content_has_another_digest(tar: MakeTar) -> None:
    """Tar keeps no checksum of contents; a changed image is at least another item to every cache."""
    from modelgraft_adapters.storage.keys import picture_digest

    path = tar({"a/1.png": picture(1)})
    before = picture_digest(read_data(path).items[0])[0]
    content = bytearray(path.read_bytes())
    content[512 + 200] ^= 1
    path.write_bytes(content)
    assert picture_digest(read_data(path).items[0])[0] != before


def test_only_regular_files_are_tars(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    os.symlink("/dev/zero", tmp_path / "zero.tar")
    for name in ("pipe.tar", "zero.tar"):
        with pytest.raises(UsageError, match="not a regular file"):
            read_data(tmp_path / name)


def _kept() -> list[str]:
    folder = cache_dir() / "shards"
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_is_stopped_and_leaves_nothing(
    tmp_path: Path, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncompressing, "ALWAYS_ALLOWED", 10 << 20)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(compress(_header(size=64 << 20) + bytes(64 << 20) + END))
    before, peak = _kept(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelgraftError, match="more than 200 times as large, maybe a decompression bomb"):
        read_data(path)
    assert _kept() == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200 << 10


def test_a_tar_that_the_disk_has_no_room_for_is_refused(tar: MakeTar, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar({"a/1.png": picture(1)}, "x.tar.gz", "w:gz")
    usage = uncompressing.shutil.disk_usage("/")
    monkeypatch.setattr(uncompressing.shutil, "disk_usage", lambda folder: usage._replace(free=1 << 10))
    before = _kept()
    with pytest.raises(ModelgraftError, match="does not fit on the disk of"):
        read_data(path)
    assert _kept() == before


def test_an_xz_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    content = bytearray(lzma.compress(_header() + END, filters=[{**filters[0], "dict_size": 1 << 20}]))
    assert content[16] == 16  # the dictionary's size: 1 MiB
    content[16] = 38  # 2 GiB
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")
    (tmp_path / "x.tar.xz").write_bytes(content)
    with pytest.raises(ModelgraftError, match=r"damaged or cut off .*emory"):
        read_data(tmp_path / "x.tar.xz")


def test_streams_one_after_another_are_one_file(tar: MakeTar, tmp_path: Path) -> None:
    content = tar({"a/1.png": picture(1), "b/2.png": picture(2)}).read_bytes()
    for name, compress, pad in (("x.tar.xz", lzma.compress, bytes(8)), ("x.tar.gz", gzip.compress, b"")):
        (tmp_path / name).write_bytes(compress(content[:700]) + pad + compress(content[700:]) + pad)
        assert [item.read_bytes() for item in read_data(tmp_path / name).items] == [picture(1), picture(2)]


def test_a_damaged_copy_in_the_cache_is_made_anew(tar: MakeTar, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{name}/{n}.png": picture(n) for name in "ab" for n in range(3)}
    path = tar(members, "x.tar.gz", "w:gz")
    data = read_data(path)
    copy = Path(data.items[0].path)
    content = bytearray(copy.read_bytes())
    content[data.items[2].offset + 100] ^= 4
    copy.write_bytes(content)
    with monkeypatch.context() as guard:  # without the digest another image is taken for the one that was saved
        guard.setattr(uncompressing, "_is_whole", Path.exists)
        assert read_data(path).items[2].read_bytes() != picture(2)
    assert [item.read_bytes() for item in read_data(path).items] == [picture(n) for _ in "ab" for n in range(3)]


KILLED = """
import os, signal, sys
from modelgraft_adapters.data import uncompressing
class Slow:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, size):
        print("writing", flush=True)
        signal.pause()
uncompressing.gzip.open = lambda file: Slow()
uncompressing.uncompressed(sys.argv[1])
"""


def test_what_a_killed_process_left_is_swept_and_what_another_writes_is_not(tar: MakeTar) -> None:
    path = tar({"a/1.png": picture(1)}, "x.tar.gz", "w:gz")
    before = [name for name in _kept() if name.startswith(".part-")]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    (part,) = (name for name in _kept() if name.startswith(".part-") and name not in before)
    assert len(read_data(path)) == 1
    assert part in _kept()  # the other still writes it
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(read_data(path)) == 1
    assert part not in _kept()


def test_a_text_that_is_far_too_long_is_refused(tar: MakeTar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_TEXT_BYTES", 1000)
    with pytest.raises(UnreadableItemError, match=r"1\.txt has 2,000 bytes; a text has at most 1,000"):
        read_data(tar({"1.txt": b"x" * 2000, "1.cls": b"a"}))


def test_members_are_a_plain_list(tar: MakeTar) -> None:
    found = list_members(str(tar({"a/1.png": b"1"})), "x")
    assert isinstance(found, Members) and [m.name for m in found.members] == ["a/1.png"]
