"""The shape that the host keeps entries in: what goes in comes out, and damage is seen when it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft.host import snapshot
from modelgraft.host.host import current_host
from modelgraft.host.table import EMPTY, Table

entries = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(min_size=1), "modality": st.sampled_from(["image", "text"]), "tasks": st.just(["features"])},
        optional={
            "params": st.integers(1, 10**12),
            "embed_dim": st.integers(1, 4096),
            "input_size": st.lists(st.integers(1, 999), min_size=3, max_size=3),
            "licence": st.text(),
            "weights": st.fixed_dictionaries({"repo": st.text(min_size=1)}),
            "aliases": st.lists(st.text(), min_size=1),
            "retired": st.lists(st.text(), min_size=1),
            "metrics": st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
            "default": st.just(True),
        },
    )
)


@given(entries, entries)
def test_tables_are_the_entries_they_were_made_of(first: list[dict], second: list[dict]) -> None:
    tables = [Table.of(first), Table.of(second)]
    data = b"before\n" + b"".join(table.raw for table in tables)
    columns = json.loads(json.dumps([table.columns for table in tables]))  # as they come back from the file
    one = Table(columns[0], data, len(b"before\n"))
    two = Table(columns[1], data, one.end)
    assert two.end == len(data)
    for table, made_of in ((one, first), (two, second)):
        assert list(table) == made_of == table[:] and len(table) == len(made_of)
        assert table.names == [e["name"] for e in made_of]
        for n, e in enumerate(made_of):
            values, codes = table.coded("licence")
            assert values[codes[n]] == e.get("licence")
            assert table.sparse("aliases").get(n) == e.get("aliases")
            assert {m: table.metric(m)[n] for m in e.get("metrics", {})} == e.get("metrics", {})
            assert table[n] == e == table[n - len(table)]


def test_an_empty_table() -> None:
    assert len(EMPTY) == 0 and list(EMPTY) == [] and EMPTY.names == [] and EMPTY.sparse("aliases") == {}
    with pytest.raises(IndexError):
        EMPTY[0]


@pytest.mark.parametrize("damage", ["cut", "flip a byte of an entry", "empty", "garbage", "another format"])
def test_a_damaged_snapshot_is_made_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = {f"{r['distribution']}:{r['name']}": r for r in current_host().records}
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    snapshot._write(records)
    assert snapshot._read().keys() == records.keys()
    path = snapshot.snapshot_path()
    whole = path.read_bytes()
    position = whole.rindex(b"resnet50")
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "flip a byte of an entry": whole[:position] + b"R" + whole[position + 1 :],
            "empty": b"",
            "garbage": os.urandom(1000),
            "another format": whole.replace(b'"format":', b'"format":9', 1),
        }[damage]
    )
    assert snapshot._read() == {}
