"""Files of features: the same in every format, read by the formats' own libraries; whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters.features import output_files as feature_files
from modelgraft_adapters.features.output_files import SUFFIXES, feature_file
from safetensors import safe_open

CARD = {"model": "test/é", "layer": "pooled"}
Item = tuple[str, np.ndarray | None, str | None]


def items(count: int, shape: tuple[int, ...] = (5,)) -> list[Item]:
    """Every seventh has failed; the first three too."""
    rng = np.random.default_rng(0)
    return [
        (f"a/{n}.jpg", None, f"reason {n}")
        if n < 3 or n % 7 == 0
        else (f"a/{n} é\udcff", rng.normal(size=shape).astype(np.float32), None)
        for n in range(count)
    ]


def write(path: Path, rows: list[Item]) -> None:
    with feature_file(path, CARD) as file:
        for name, features, error in rows:
            file.write(name, features, label=None if error else "cat", error=error)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 50, 3000])
@pytest.mark.parametrize("shape", [(5,), (1,), (3, 2, 2)])
def test_all_formats_hold_the_same(tmp_path: Path, count: int, shape: tuple[int, ...]) -> None:
    rows = items(count, shape)
    good = [features for _, features, _ in rows if features is not None]
    expected = np.stack(good) if good else np.zeros((0, 0), np.float32)
    for suffix in SUFFIXES:
        write(tmp_path / f"x{suffix}", rows)
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["error"].to_pylist() == [error for _, _, error in rows]
    assert table["label"].to_pylist() == [None if error else "cat" for _, _, error in rows]
    found = [row for row in table["embedding"].to_pylist() if row is not None]
    assert [row is None for row in table["embedding"].to_pylist()] == [features is None for _, features, _ in rows]
    assert np.array_equal(np.array(found, np.float32).reshape(expected.shape), expected)
    assert json.loads(table.schema.metadata[b"card"])["model"] == "test/é"
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == (
        max(1, -(-count // feature_files.ROWS_PER_GROUP)) if count else 1
    )
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert stored.dtype == np.float32 and np.array_equal(stored, expected)
    assert json.loads((tmp_path / "x.npy.card.json").read_bytes())["layer"] == "pooled"
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert np.array_equal(file.get_tensor("features"), expected)
        assert json.loads(file.metadata()["card"]) == CARD
    for name in ("x.npy", "x.safetensors"):
        lines = [json.loads(line) for line in (tmp_path / f"{name}.items.jsonl").read_text().splitlines()]
        assert [line["path"] for line in lines] == [name for name, _, _ in rows]
        assert [line["error"] for line in lines] == [error for _, _, error in rows]
        assert [line["row"] for line in lines if line["row"] is not None] == list(range(len(good)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_that_breaks_off_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), feature_file(path, CARD) as file:
        for name, features, error in items(2000):
            file.write(name, features, error=error)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write(path, items(10))
    assert path.read_bytes() != b"old"
    (tmp_path / "other").touch()
    assert (
        path.stat().st_mode == (tmp_path / "other").stat().st_mode
    )  # as any file the user makes, not a temporary one's


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_of_another_shape_are_refused(tmp_path: Path, suffix: str) -> None:
    with (
        pytest.raises(ModelgraftError, match="b has features of shape"),
        feature_file(tmp_path / f"x{suffix}", CARD) as file,
    ):
        file.write("a", np.zeros(3, np.float32))
        file.write("b", np.zeros(4, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    for suffix in SUFFIXES:
        file = feature_file(tmp_path / f"x{suffix}", CARD)
        file.open = lambda final: open("/dev/full", "wb")  # type: ignore[method-assign, assignment]
        with pytest.raises(ModelgraftError, match=r"cannot be written: .*No space left"), file:
            for name, features, error in items(5000, (50,)):
                file.write(name, features, error=error)


def test_what_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for path, said in (
        (tmp_path / "x.txt", "must end in"),
        (tmp_path / "no" / "x.npy", "does not exist"),
        (tmp_path / "folder.npy", "is a folder"),
    ):
        with pytest.raises(UsageError, match=said):
            feature_file(path, CARD)
