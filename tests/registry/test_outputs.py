"""What a user names to write to: links are followed, pipes and devices written through, modes kept; the place is tried first."""

from __future__ import annotations

import os
import resource
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.outputs import check_output, check_output_folder, output_file, write_output
from modelgraft.paths import write_atomic


def _write(path: Path, data: bytes) -> None:
    check_output(path)
    write_output(path, data)


def test_a_link_keeps_leading_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "results.csv"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to("kept/results.csv")
    (tmp_path / "second").symlink_to("link")
    (tmp_path / "new").symlink_to("kept/new.csv")
    for name in ("link", "second", "new"):
        _write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == name.encode()
    assert target.read_bytes() == b"second" and sorted(os.listdir(tmp_path / "kept")) == ["new.csv", "results.csv"]


def test_without_following_the_link_is_lost(tmp_path: Path) -> None:
    """The guard is known to matter: a file of our own replaces what is there."""
    (tmp_path / "results.csv").write_bytes(b"old")
    (tmp_path / "link").symlink_to("results.csv")
    write_atomic(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "results.csv").read_bytes() == b"old"


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    path.chmod(0o600)
    as_root = os.getuid() == 0
    if as_root:
        os.chown(path, 1234, 4321)
    _write(path, b"new")
    state = path.stat()
    assert stat.S_IMODE(state.st_mode) == 0o600 and path.read_bytes() == b"new"
    assert not as_root or (state.st_uid, state.st_gid) == (1234, 4321)
    _write(tmp_path / "b.json", b"new")
    assert stat.S_IMODE((tmp_path / "b.json").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    check_output(path)  # waits for nobody
    reader.start()
    write_output(path, b"x" * 200_000)
    reader.join(20)
    assert got == [b"x" * 200_000] and path.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_terminal_is_written_through() -> None:
    master, slave = os.openpty()
    _write(Path(os.ttyname(slave)), b"seen")
    assert os.read(master, 100) == b"seen"
    os.close(master)
    os.close(slave)


def test_devices_are_still_devices(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to(os.devnull)
    for path in (tmp_path / "nowhere", Path(os.devnull)):
        _write(path, b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode) and (tmp_path / "nowhere").is_symlink()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_a_descriptor_by_its_name(tmp_path: Path) -> None:
    """``>(gzip > a.gz)`` in a shell is such a name. A file behind one is gone on with, not replaced."""
    with (tmp_path / "log").open("wb") as log:
        log.write(b"before ")
        log.flush()
        _write(Path(f"/dev/fd/{log.fileno()}"), b"after")
        _write(Path(f"/proc/self/fd/{log.fileno()}"), b" all")
    assert (tmp_path / "log").read_bytes() == b"before after all"
    reading = os.open(tmp_path / "log", os.O_RDONLY)
    with pytest.raises(ModelgraftError, match="cannot be written"):
        check_output(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    with pytest.raises(ModelgraftError, match="Bad file descriptor"):
        check_output(Path(f"/dev/fd/{reading}"))


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), output_file(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 120 + ".json", "y" * 100 + "." + "z" * 150):
        _write(tmp_path / name, b"new")
    assert len(os.listdir(tmp_path)) == 3


def test_what_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "broken").symlink_to("nowhere/file")
    (tmp_path / "round").symlink_to("round")
    for path, kind, said in (
        (tmp_path, UsageError, "is a folder"),
        (tmp_path / "no" / "file", UsageError, "does not exist"),
        (tmp_path / "file" / "x", ModelgraftError, "x' does not exist|Not a directory"),
        (tmp_path / "broken", UsageError, "does not exist"),
        (tmp_path / "round", ModelgraftError, "links"),
        (tmp_path / ("x" * 300), ModelgraftError, "too long"),
    ):
        with pytest.raises(kind, match=said):
            check_output(path)
    with pytest.raises(UsageError, match="two outputs"):
        check_output(tmp_path / "a", tmp_path / "." / "a")
    check_output(Path(os.devnull), Path(os.devnull))
    with pytest.raises(UsageError, match="is a file"):
        check_output_folder(tmp_path / "file" / "below")
    check_output_folder(tmp_path / "not" / "there" / "yet")
    assert sorted(os.listdir(tmp_path)) == ["broken", "file", "round"]


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write everywhere."""
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are root's alone where root runs it."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def _full() -> Iterator[None]:
    """No byte fits into any file."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_folder_that_may_not_be_written_and_a_full_disk(public: Path) -> None:
    (public / "protected").mkdir()
    (public / "protected").chmod(0o555)
    with _as_nobody():
        for ask in (check_output, check_output_folder):
            with pytest.raises(ModelgraftError, match="cannot be written: Permission denied"):
                ask(public / "protected" / "x")  # type: ignore[operator]
    with _full():
        for ask in (check_output, check_output_folder):
            with pytest.raises(ModelgraftError, match="cannot be written: File too large"):
                ask(public / "x")  # type: ignore[operator]
    assert os.listdir(public) == ["protected"]


def test_a_file_that_is_write_protected_is_not_replaced(public: Path) -> None:
    folder = public / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "a").write_bytes(b"old")
    (folder / "a").chmod(0o444)
    with _as_nobody():
        if os.access(folder / "a", os.W_OK, effective_ids=True):
            pytest.skip("this user may write everything")
        with pytest.raises(ModelgraftError, match="write-protected"):
            check_output(folder / "a")
    assert (folder / "a").read_bytes() == b"old"
