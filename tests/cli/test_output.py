"""Results that go to standard output arrive whole, or the command says in one line that they did not, and leaves with 1."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CODE = "from modelgraft.cli.main import main; main()"
UNGUARDED = "import modelgraft.cli.main as m; m.keep_output = lambda: None; m.main()"  # Python's own output
FORMATS = ("table", "json", "jsonl", "csv")
LEAST = 100_000
"""Bytes: under what ``list`` writes in each format, and no multiple of a block."""


def _list(format: str, out: Any, unbuffered: bool, code: str = CODE, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, *(["-u"] if unbuffered else []), "-c", code, "list", "--format", format],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        check=False,
        **more,
    )


@pytest.fixture(autouse=True, scope="module")
def snapshot() -> None:
    """The plugins are tried before there is no room to keep what they bring."""
    assert _list("json", subprocess.DEVNULL, False).returncode == 0


def _room() -> None:
    """No file may be larger: a write that crosses the limit is a short one, as on a disk that is nearly full."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LEAST, LEAST))


def _told(done: subprocess.CompletedProcess[str], why: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"modelgraft: error: standard output cannot be written: {why}; what came out is a part\n"


@pytest.mark.full
@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_with_room_for_a_part(format: str, unbuffered: bool, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        _told(_list(format, out, unbuffered, preexec_fn=_room), "File too large")
    assert (tmp_path / "out").stat().st_size == LEAST


def test_with_pythons_own_output_a_part_passes_for_the_whole(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        done = _list("jsonl", out, True, UNGUARDED, preexec_fn=_room)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "out").stat().st_size == LEAST


@pytest.mark.full
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
def test_a_full_disk(unbuffered: bool) -> None:
    for format in FORMATS:
        with open("/dev/full", "wb") as out:
            _told(_list(format, out, unbuffered), "No space left on device")


@pytest.mark.parametrize("unbuffered", [False, True], ids=["buffered", "unbuffered"])
def test_a_reader_that_has_seen_enough_is_no_error(unbuffered: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = _list("json", writing, unbuffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.full
def test_streams_that_were_closed() -> None:
    """``>&-`` and ``2>&-``: what is printed does not go into the next file that is opened."""
    for closed, wanted in (((1,), 1), ((2,), 0), ((1, 2), 1), ((0, 1, 2), 1)):

        def close(closed: tuple[int, ...] = closed) -> None:
            for descriptor in closed:
                os.close(descriptor)

        done = _list("jsonl", subprocess.PIPE, False, preexec_fn=close)
        assert done.returncode == wanted, closed
        if closed == (1,):
            _told(done, "Bad file descriptor")
        assert done.stdout.count("\n") > 1000 if closed == (2,) else not done.stdout


def test_all_of_it_arrives(tmp_path: Path) -> None:
    """The guarded output is Python's own, byte for byte."""
    sizes: list[bytes] = []
    for unbuffered, code in ((False, CODE), (True, CODE), (False, UNGUARDED)):
        with (tmp_path / "out").open("wb") as out:
            assert _list("csv", out, unbuffered, code).returncode == 0
        sizes.append((tmp_path / "out").read_bytes())
    assert len(sizes[0]) > LEAST and sizes[0] == sizes[1] == sizes[2]


def test_who_swallows_the_error_hides_nothing() -> None:
    """A verb may catch what its print raises, and go on to the end."""
    code = (
        "import contextlib, io, sys, modelgraft.cli.main as m, modelgraft.cli.list_verb as v\n"
        "def swallowed(*a, **k):\n"
        "    with contextlib.suppress(Exception): sys.stdout.write('x' * 10**6); sys.stdout.flush()\n"
        "v.render.as_json = swallowed; m.main()"
    )
    with open("/dev/full", "wb") as out:
        _told(_list("json", out, False, code), "No space left on device")
