"""A catalogue file is read whole or refused with a ValueError, whatever was done to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from modelgraft.entry import Entry, Weights
from modelgraft.shipped import read_catalogue, write_catalogue

ENTRIES = [
    Entry(
        "a/b:c", "image", ("features",), params=3, input_size=(3, 8, 8), weights=Weights(repo="x/y", files=("*.bin",))
    ),
    Entry("a/d", "image-text", ("zero-shot",), aliases=("e/f",), metrics={"top-1 (%)": 50.5}, score="softmax"),
]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalogue.json"
    write_catalogue(path, "lib", "1.0", ENTRIES)
    return path


def read(path: Path, content: bytes) -> None:
    """Either entries that are all right, or a ValueError."""
    path.write_bytes(content)
    try:
        _, found = read_catalogue(path)
    except ValueError:
        return
    assert all(isinstance(entry, Entry) for entry in found)


def test_written_and_read_again(path: Path) -> None:
    assert read_catalogue(path) == ("1.0", ENTRIES)


@QUICK
@given(st.binary(max_size=60))
@example(b"[]")
@example(b"{}")
@example(b'{"version": 1, "entries": 3}')
@example(b'{"version": "1", "entries": [3]}')
@example(b"[" * 100_000)
def test_any_bytes(path: Path, content: bytes) -> None:
    read(path, content)


@QUICK
@given(st.integers(0, 400), st.binary(max_size=4), st.integers(0, 4))
def test_a_file_that_was_damaged(path: Path, place: int, put: bytes, taken: int) -> None:
    write_catalogue(path, "lib", "1.0", ENTRIES)
    whole = path.read_bytes()
    read(path, whole[:place] + put + whole[place + taken :])


@QUICK
@given(st.sampled_from([*ENTRIES[0].to_dict(), *ENTRIES[1].to_dict(), "loader", "note"]), values)
def test_a_field_of_another_kind(path: Path, field: str, value: Any) -> None:
    record = {**ENTRIES[0].to_dict(), field: value}
    read(path, json.dumps({"library": "lib", "version": "1.0", "entries": [record]}).encode())
