"""Files that appear whole or not at all: killed at any step, without room, and what was left over is swept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from modelgraft.paths import held_file, held_folder, release, sweep, write_atomic, written_whole
from modelgraft.sealed import read_sealed, sealed_reader, sealed_writer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by forking")
def test_killed_at_any_step_the_old_or_the_new_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    outcomes = []
    for step in range(1, 100):
        with sealed_writer(path) as file:
            file.write(b"old" * 1000)
        child = os.fork()
        if child == 0:
            seen = 0

            def count(event: str, arguments: tuple[object, ...]) -> None:
                nonlocal seen
                seen += event.split(".")[0] in ("os", "open", "fcntl", "tempfile")
                if seen == step:  # noqa: B023
                    os._exit(9)

            sys.addaudithook(count)
            with sealed_writer(path) as file:
                file.write(b"new" * 1000)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert read_sealed(path) in (b"old" * 1000, b"new" * 1000)
        outcomes.append(read_sealed(path)[:3])
        if not killed:
            break
    assert outcomes == sorted(outcomes, reverse=True) and len(set(outcomes)) == 2
    assert len(os.listdir(tmp_path)) > 2  # what the killed ones left
    sweep(path)
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_what_somebody_writes_now_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    (file, first), (folder, second) = held_file(path), held_folder(path)
    others = [tmp_path / ".a.pt.notes", tmp_path / ".b.pt.abcdefgh.pt", tmp_path / "a.pt.abcdefgh"]
    for other in others:
        other.touch()
    sweep(path)
    assert file.exists() and folder.is_dir() and all(other.exists() for other in others)
    release(first)
    release(second)
    sweep(path)
    assert not file.exists() and not folder.exists() and all(other.exists() for other in others)


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), written_whole(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no limit of file sizes")
def test_a_disk_with_room_for_a_part(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / "a"
    write_atomic(path, b"old")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, b"new" * 10_000)
        with pytest.raises(OSError, match="File too large"), sealed_writer(path) as file:
            file.write(b"new" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_large_sealed_file_is_read_from_where_its_content_begins(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with sealed_writer(path) as file:
        for n in range(300):
            file.write(bytes([n % 256]) * 50_000)
    with sealed_reader(path) as reading:
        start = reading.tell()
        assert reading.read(3) == b"\0\0\0" and start > 0
    assert len(read_sealed(path)) == 15_000_000
