"""Files with a checksum: what was written comes back, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft.errors import DamagedFileError
from modelgraft.sealed import read_sealed, seal, unseal, write_sealed


@given(st.binary())
def test_what_was_sealed_comes_back(data: bytes) -> None:
    assert unseal(seal(data), "it") == data


@given(st.binary(), st.data())
def test_one_flipped_bit_anywhere_is_seen(data: bytes, draw: st.DataObject) -> None:
    content = bytearray(seal(data))
    bit = draw.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedFileError, match="it is damaged"):
        unseal(bytes(content), "it")


@given(st.binary(), st.data())
def test_a_file_cut_anywhere_is_seen(data: bytes, draw: st.DataObject) -> None:
    content = seal(data)
    with pytest.raises(DamagedFileError):
        unseal(content[: draw.draw(st.integers(0, len(content) - 1))], "it")


def test_through_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_sealed(path, b"content")
    assert read_sealed(path) == b"content"
    path.write_bytes(b"content")  # without its checksum: an older version's, or another program's
    with pytest.raises(DamagedFileError, match=str(path)):
        read_sealed(path)
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "absent")
