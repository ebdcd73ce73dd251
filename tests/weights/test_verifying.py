"""Is a file what it should be: every way of not being it, and what is remembered of one that is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from modelgraft.errors import UnsafeWeightsError
from modelgraft.resolution import File
from modelgraft.weights import verifying
from modelgraft.weights.verifying import fault, sha256

CONTENT = b"some weights" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob 1200\0" + CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "store" / "w.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def test_the_right_file(path: Path) -> None:
    for file in (
        File("w.bin"),
        File("w.bin", 1200),
        File("w.bin", 1200, SHA256),
        File("w.bin", 1200, SHA256[:8], BLOB),
    ):
        assert fault(path, file, path.parent) is None
    assert sha256(path) == SHA256


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"x", b""], ids=["cut", "longer", "flipped", "empty"]
)
@pytest.mark.parametrize(
    "file", [File("w.bin", 1200, SHA256), File("w.bin", None, SHA256), File("w.bin", None, None, BLOB)]
)
def test_another_file(path: Path, content: bytes, file: File) -> None:
    assert fault(path, file, path.parent) is None
    path.write_bytes(content)
    assert fault(path, file, path.parent) is not None


def test_a_change_is_seen_whatever_the_clock_says(path: Path) -> None:
    file, state = File("w.bin", 1200, SHA256), path.stat()
    assert fault(path, file, path.parent) is None
    # Another file of the same length and times in its place: it is another inode.
    other = path.with_name("other")
    other.write_bytes(CONTENT[:-1] + b"x")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, path)
    assert "sha256" in str(fault(path, file, path.parent))
    for year in (1, 4_000_000_000):  # 1970 and 2096
        path.write_bytes(CONTENT)
        os.utime(path, (year, year))
        assert fault(path, file, path.parent) is None


def test_a_file_is_read_once_for_each_state_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    plain = verifying.digest
    monkeypatch.setattr(verifying, "digest", lambda p, kind: reads.append(kind) or plain(p, kind))
    file = File("w.bin", 1200, SHA256, BLOB)
    assert [fault(path, file, path.parent) for _ in range(3)] == [None] * 3
    assert reads == ["sha256", "blob"]
    assert fault(path, file, path.parent, again=True) is None
    assert reads == ["sha256", "blob"] * 2


def test_links_may_not_lead_out(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(CONTENT)
    link = path.with_name("link")
    link.symlink_to(outside)
    with pytest.raises(UnsafeWeightsError, match="leads out of"):
        fault(link, File("link", 1200, SHA256), path.parent)
    link.unlink()
    link.symlink_to(path)
    assert fault(link, File("link", 1200, SHA256), path.parent) is None
    with pytest.raises(UnsafeWeightsError, match="not a regular file"):
        fault(path.parent, File("x"), path.parent)
