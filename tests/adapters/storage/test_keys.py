"""An item is its content: equal under any name, other as soon as something differs that a model would see."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.storage.keys import FileDigests, picture_digest, text_digest
from PIL import Image


class InArchive:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        return self.content


def test_the_same_content_is_one_item_under_every_name(tmp_path: Path, photos: Path) -> None:
    data = (photos / "cat.jpg").read_bytes()
    (tmp_path / "other name.png").write_bytes(data)
    paths = [str(photos / "cat.jpg"), photos / "cat.jpg", tmp_path / "other name.png", InArchive(data)]
    assert {picture_digest(path) for path in paths} == {(picture_digest(paths[0])[0], data)}
    assert FileDigests(tmp_path / "d").digest(str(photos / "cat.jpg"))[0] == picture_digest(paths[0])[0]


def test_what_differs_for_a_model_differs() -> None:
    values = np.arange(48, dtype=np.uint8)
    square = Image.fromarray(values.reshape(4, 4, 3))
    turned = square.copy()
    turned.getexif()[0x0112] = 6
    clear = square.convert("P")
    see_through = clear.copy()
    see_through.info["transparency"] = 0
    recoloured = clear.copy()
    recoloured.putpalette(list(reversed(range(256))) * 3)
    items = [
        values.reshape(4, 4, 3),
        values.reshape(2, 8, 3),
        values.reshape(4, 4, 3)[::-1],
        square,
        turned,
        clear,
        see_through,
        recoloured,
        square.resize((2, 8)),
        square.convert("L"),
        InArchive(values.tobytes()),
    ]
    assert len({picture_digest(item)[0] for item in items}) == len(items)
    assert picture_digest(np.asfortranarray(items[0]))[0] == picture_digest(items[0])[0]
    assert len({text_digest(text) for text in ("", "a", "A", "a ", "ä", "\udcff")}) == 6
    assert all(len(text_digest(text)) == 16 for text in ("", "a" * 100_000))


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"first")
    time.sleep(0.06)  # a file that is newer than a tick of the clock is not remembered
    files = FileDigests(tmp_path / "d")
    first, content = files.digest(str(path))
    assert content == b"first"
    files.save()
    later = FileDigests(tmp_path / "d")
    assert later.digest(str(path)) == (first, None)
    # As long, and with its old time of change: the inode's own time tells.
    state = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"other")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert later.digest(str(path))[1] == b"other"
    assert later.digest(str(path))[0] != first


@pytest.mark.parametrize("large", [False, True])
def test_large_files_have_the_same_digest_and_are_not_held(tmp_path: Path, large: bool, monkeypatch) -> None:
    from modelgraft_adapters.storage import keys

    path = tmp_path / "x"
    path.write_bytes(b"0123456789" * 1000)
    expected = picture_digest(path)[0]
    monkeypatch.setattr(keys, "_HELD", 100 if large else 10**6)
    monkeypatch.setattr(keys, "_CHUNK", 999)
    digest, content = picture_digest(path)
    assert digest == expected and (content is None) == large


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "a folder, not a file"),
        (tmp_path / "pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("nul\0byte", "cannot be read"),
        (tmp_path / ("long" * 100), "cannot be read"),
    ):
        with pytest.raises(UnreadableItemError, match=said):
            picture_digest(path)
        with pytest.raises(UnreadableItemError, match=said):
            FileDigests(tmp_path / "d").digest(str(path))


def test_a_file_written_again_within_a_tick_is_not_taken_for_the_old_one(tmp_path: Path, monkeypatch) -> None:
    """Frames of one size, saved under one name one after the other: size, inode and times may all be the same."""
    from modelgraft_adapters.storage import keys

    def stale() -> int:
        path, wrong = tmp_path / "frame.bmp", 0
        for number in range(300):
            files = FileDigests(tmp_path / "d")
            with open(path, "wb" if number == 0 else "r+b") as file:
                file.write(number.to_bytes(2, "big"))
            files.digest(str(path))
            files.save()
            with open(path, "r+b") as file:
                file.write((1000 + number).to_bytes(2, "big"))
            wrong += files.digest(str(path))[0] != picture_digest(path)[0]
        return wrong

    assert stale() == 0
    now = tmp_path / "x"
    now.write_bytes(b"x")
    state = now.stat()
    monkeypatch.setattr(keys, "_is_settled", lambda path: True)
    real = keys.regular_state
    # A disk whose times stand still for a moment, as those of ext4 do within a tick.
    monkeypatch.setattr(keys, "regular_state", lambda path: (real(path), state)[1])
    assert stale() > 0


def test_what_stands_in_for_a_replaced_file_is_read(tmp_path: Path) -> None:
    """Replaced at the same path, of the same size, with the times of the old one."""
    path, other = tmp_path / "x.jpg", tmp_path / "y.jpg"
    path.write_bytes(b"first")
    time.sleep(0.06)
    files = FileDigests(tmp_path / "d")
    first, _ = files.digest(str(path))
    files.save()
    state = path.stat()
    other.write_bytes(b"other")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, path)
    assert FileDigests(tmp_path / "d").digest(str(path)) == (picture_digest(path)[0], b"other") and first
