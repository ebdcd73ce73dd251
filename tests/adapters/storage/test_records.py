"""Rows on disk: found again, whole or not there, whatever happens to the files and whoever else writes."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft_adapters.storage.records import RecordStore

WIDTH = 24


def name(n: int) -> bytes:
    return hashlib.blake2b(str(n).encode(), digest_size=16).digest()


def row(n: int, width: int = WIDTH) -> bytes:
    return (hashlib.sha256(f"row {n}".encode()).digest() * width)[:width]


def fill(store: RecordStore, numbers: range) -> None:
    store.append([name(n) for n in numbers], [row(n) for n in numbers])


def held(store: RecordStore, count: int) -> list[int]:
    """The numbers there are; whatever is given is right."""
    found = store.get([name(n) for n in range(count)])
    assert all(data in (None, row(n)) for n, data in enumerate(found))
    return [n for n, data in enumerate(found) if data is not None]


def test_what_is_stored_is_found_by_the_writer_by_others_and_later(tmp_path: Path) -> None:
    one, two = RecordStore(tmp_path / "s", WIDTH), RecordStore(tmp_path / "s", WIDTH)
    assert len(one) == 0 and not one.holds(name(0)) and one.get([name(0)]) == [None]
    fill(one, range(5))
    assert held(one, 7) == [0, 1, 2, 3, 4] and held(two, 7) == []
    two.refresh()
    fill(two, range(5, 7))
    assert held(two, 7) == list(range(7))
    one.refresh()
    assert held(one, 7) == held(RecordStore(tmp_path / "s", WIDTH), 7) == list(range(7))
    one.close()
    fill(one, range(7, 9))  # a closed store goes on in a new segment
    assert held(RecordStore(tmp_path / "s", WIDTH), 10) == list(range(9))


def test_the_index_survives_its_merges(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, 4)
    for start in range(0, 40_000, 2_000):
        store.append(
            [name(n) for n in range(start, start + 2_000)],
            [n.to_bytes(4, "little") for n in range(start, start + 2_000)],
        )
    assert len(store) == 40_000
    for n in range(0, 40_000, 977):
        assert store.get([name(n)]) == [n.to_bytes(4, "little")]
    assert not store.holds(name(40_000))
    # Names that agree in their first half are told apart.
    twins = [b"12345678" + bytes([n] * 8) for n in range(3)]
    store.append(twins, [b"aaaa", b"bbbb", b"cccc"])
    assert store.get([twins[2], twins[0], twins[1]]) == [b"cccc", b"aaaa", b"bbbb"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["keys", "rows"]), st.floats(0, 1), st.booleans())
def test_a_file_cut_anywhere_gives_whole_batches_and_nothing_wrong(suffix: str, where: float, rubbish: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(Path(folder), WIDTH)
        for start in range(0, 12, 4):
            fill(store, range(start, start + 4))
        store.close()
        (file,) = Path(folder).glob(f"*.{suffix}")
        data = file.read_bytes()
        kept = data[: int(where * len(data))]
        file.write_bytes(kept + os.urandom(13) if rubbish else kept)
        again = RecordStore(Path(folder), WIDTH)
        found = held(again, 12)
        if suffix == "keys":
            assert found == list(range(len(found))) and len(found) % 4 == 0
        fill(again, range(12))
        assert held(again, 12) == list(range(12))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["keys", "rows"]), st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_seen_and_the_row_can_be_stored_anew(suffix: str, at: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(Path(folder), WIDTH)
        fill(store, range(8))
        store.close()
        (file,) = Path(folder).glob(f"*.{suffix}")
        data = bytearray(file.read_bytes())
        data[at % len(data)] ^= 1 << bit
        file.write_bytes(data)
        again = RecordStore(Path(folder), WIDTH)
        lost = sorted(set(range(8)) - set(held(again, 8)))
        assert lost == list(range(8)) if suffix == "keys" else len(lost) == 1
        for n in lost:
            assert not again.holds(name(n))
            fill(again, range(n, n + 1))
        assert held(again, 8) == held(RecordStore(Path(folder), WIDTH), 8) == list(range(8))


@pytest.mark.full
def test_processes_that_write_at_once_do_no_harm(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.adapters.storage.test_records import *\n"
        "store = RecordStore(Path(sys.argv[1]), WIDTH); start = int(sys.argv[2])\n"
        "for n in range(start, start + 150, 3):\n"
        "    fill(store, range(n, n + 3)); store.refresh(); held(store, 400)\n"
    )
    root = Path(__file__).parents[3]
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(start)], cwd=root) for start in (0, 75, 225)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert held(RecordStore(tmp_path, WIDTH), 400) == list(range(375))


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, WIDTH)
    fill(store, range(10))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (WIDTH * 12, before[1]))
        with pytest.raises(OSError):
            fill(store, range(10, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert held(store, 20) == list(range(10))
    fill(store, range(10, 15))
    assert held(RecordStore(tmp_path, WIDTH), 20) == held(store, 20) == list(range(15))
