"""The snapshot: any damage to the file is seen when it is read, wherever it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelgraft import sealed
from modelgraft.entry import Entry
from modelgraft.host import snapshot
from modelgraft.host.discovery import Found
from modelgraft.host.records import key_of, new_record
from modelgraft.host.table import Table


def _records() -> dict[str, dict[str, Any]]:
    found = []
    for name in ("one", "two"):
        record = new_record(Found(name, f"modelgraft_{name}", f"modelgraft-{name}", "1.0", "/site", "stamp"))
        entries = [
            Entry(f"{name}/m{n}", "image", ("features",), params=n + 1, licence="mit").to_dict() for n in range(5)
        ]
        found.append({**record, "entries": Table.of(entries)})
    return {key_of(record): record for record in found}


def _plain(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        key: {**record, "entries": (record["entries"][:], record["entries"].columns)} for key, record in records.items()
    }


def _damages(whole: bytes) -> Iterator[bytes]:
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        yield bytes(flipped)
        yield whole[:at]
    rng = random.Random(0)
    for _ in range(300):  # blocks that went missing, came twice, or are those of another file
        a, b, c = sorted(rng.randrange(len(whole)) for _ in range(3))
        yield whole[:a] + whole[b:]
        yield whole[:b] + whole[a:b] + whole[b:]
        yield whole[:a] + whole[b:c] + whole[a:b] + whole[c:]
        yield whole[:a] + bytes(b - a) + whole[b:]
    yield whole + b"\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    snapshot._write(_records())
    return snapshot.snapshot_path()


@pytest.mark.full
def test_no_damage_is_taken_for_an_answer(path: Path) -> None:
    right = _plain(snapshot._read())
    assert right == _plain(_records())
    whole = path.read_bytes()
    count = 0
    for damaged in _damages(whole):
        if damaged == whole:
            continue
        path.write_bytes(damaged)
        assert snapshot._read() == {}
        count += 1
    assert count > 5000


@pytest.mark.full
def test_without_the_checksum_damage_is_taken_for_an_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, whole = _plain(snapshot._read()), path.read_bytes()
    monkeypatch.setattr(snapshot, "read_sealed", lambda path: path.read_bytes()[len(sealed.seal(b"")) :])
    wrong = 0
    for damaged in _damages(whole):
        path.write_bytes(damaged)
        try:
            read = _plain(snapshot._read())
        except Exception:
            continue
        wrong += read not in ({}, right)
    assert wrong > 500
