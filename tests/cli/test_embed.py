"""``modelgraft embed`` from the outside: every format, every bad item, one line for a usage error."""

from __future__ import annotations

import csv
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from modelgraft import load
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.adapters.media.test_images import _bomb
from tests.conftest import Run


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bad(folder: Path, good: bytes) -> list[str]:
    """37 items that are no images, of every kind."""
    png_start = b"\x89PNG\r\n\x1a\n"
    middle = len(good) // 2
    contents: dict[str, bytes] = {
        "empty.jpg": b"",
        "empty.png": b"",
        "newline.jpg": b"\n",
        "text.jpg": b"these are words",
        "text.png": b"these are words",
        "html.jpg": b"<!doctype html><title>404</title>",
        "xml.webp": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "json.gif": b"{}",
        "script.png": b"#!/bin/sh\nexit 1\n",
        "pickle.jpg": b"\x80\x04N.",
        "zip.png": b"PK\x03\x04" + bytes(40),
        "elf.bmp": b"\x7fELF" + bytes(60),
        "noise.jpg": np.random.default_rng(0).bytes(5000),
        "nulls.png": bytes(5000),
        "cut.jpg": good[:middle],
        "cut early.jpg": good[:200],
        "start only.jpg": good[:3],
        "zeros behind.jpg": good[:middle] + b"\xff\xd9",
        "no start.jpg": good[20:],
        "signature.png": png_start,
        "no chunks.png": png_start + bytes(20),
        "no data.png": png_start + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + _chunk(b"IEND", b""),
        "no width.png": png_start
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 8, 8, 2, 0, 0, 0))
        + _chunk(b"IEND", b""),
        "bad zlib.png": png_start
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
        + _chunk(b"IDAT", b"not deflated")
        + _chunk(b"IEND", b""),
        "bomb.png": _bomb(60_000, 60_000),
        "gif.gif": b"GIF89a",
        "gif cut.gif": b"GIF89a\x08\x00\x08\x00\x80\x00\x00",
        "webp.webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        "tiff.tif": b"II*\x00\x08\x00\x00\x00",
        "bmp.bmp": b"BM" + bytes(10),
        "ico.ico": b"\x00\x00\x01\x00\x01\x00",
        "unknown suffix.xyz": b"what is this",
    }
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to(folder / "nowhere")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    os.mkfifo(folder / "pipe.jpg")
    return [*sorted(str(path) for path in folder.iterdir()), str(folder / "missing.jpg")]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Path, list[str], set[str]]:
    """A table of 1,000 paths, 963 real photographs with 37 bad items spread among them."""
    folder = tmp_path_factory.mktemp("thousand")
    good = []
    with tarfile.open(shared_data / "cifar10.tar") as tar:
        for member in tar:
            if member.isfile() and len(good) < 963:
                opened = tar.extractfile(member)
                assert opened is not None
                path = folder / f"{len(good):04}.jpg"
                path.write_bytes(opened.read())
                good.append(str(path))
    bad = _bad(folder / "bad", Path(good[0]).read_bytes())
    assert len(good) == 963 and len(bad) == 37
    paths = list(good)
    for number, path in enumerate(bad):
        paths.insert(number * 27, path)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path"])
        writer.writerows([path] for path in paths)
    return folder / "table.csv", paths, set(bad)


@pytest.mark.full
def test_a_thousand_items_37_of_them_bad(run: Run, thousand: tuple[Path, list[str], set[str]], tmp_path: Path) -> None:
    source, paths, bad = thousand
    done = run("embed", str(source), "--column", "path", "-o", str(tmp_path / "x.parquet"))
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr, done.stderr
    assert "37 of 1000 items could not be read" in done.stderr
    assert f"963 embeddings of 256 numbers in {tmp_path / 'x.parquet'}; 963 computed" in done.stderr
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 1000 and table.schema.names == ["path", "embedding", "label", "error"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[256]"
    assert json.loads(table.schema.metadata[b"card"])["model"] == "embedded/sprig"
    errors = table["error"].to_pylist()
    assert [error is not None for error in errors] == [path in bad for path in paths]
    rows = table["embedding"].to_pylist()
    assert [row is None for row in rows] == [error is not None for error in errors]
    features = np.array([row for row in rows if row is not None], np.float32)
    assert features.shape == (963, 256) and np.isfinite(features).all()

    # The same by their names on standard input (where a folder is what it holds), from the store, in another format.
    named = [path for path in paths if not path.endswith("folder.jpg")]
    done = run("embed", "-", "-o", str(tmp_path / "x.npy"), stdin="\n".join(named))
    assert done.returncode == 1 and "36 of 999 items could not be read" in done.stderr, done.stderr
    assert "; 0 computed" in done.stderr
    assert np.array_equal(np.load(tmp_path / "x.npy"), features)
    lines = [json.loads(line) for line in (tmp_path / "x.npy.items.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == named
    assert [line["row"] for line in lines if line["error"] is None] == list(range(963))
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.parquet",
        "x.npy",
        "x.npy.items.jsonl",
        "x.npy.card.json",
    }


def test_features_are_the_models_and_the_card_says_which(run: Run, photos: Path, tmp_path: Path) -> None:
    backbone: Any = load("embedded/sprig", device="cpu")
    paths = sorted(photos.glob("*.jpg"))
    pixels = torch.stack([backbone.preprocess(Image.open(path).convert("RGB")) for path in paths])
    out = tmp_path / "x.safetensors"
    done = run("embed", str(photos), "-o", str(out), "--layer", "map", "--no-keep", "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    found = load_file(out)["features"]
    expected = backbone.encode_layer(pixels, "map").numpy()
    assert found.shape == expected.shape == (4, 256, 4, 4) and np.abs(found - expected).max() < 1e-5
    with safe_open(out, "np") as file:
        card = json.loads(file.metadata()["card"])
    assert card["layer"] == "map" and card["versions"]["torch"] and card["preprocessing"]["interpolation"] == "bicubic"


def test_texts_and_tables_with_labels(run: Run, shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "ag_news.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:50]
    with (tmp_path / "news.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["label", "text"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "x.parquet"
    done = run("embed", str(tmp_path / "news.csv"), "--text", "--model", "embedded/sprig", "-o", str(out))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.num_rows == 50 and table["label"].to_pylist() == [row["label"] for row in rows]
    assert "news.csv" in table["path"].to_pylist()[0]
    (tmp_path / "lines.txt").write_text("one line\n\nanother line\n", encoding="utf-8")
    done = run("embed", str(tmp_path / "lines.txt"), "a text", "--text", "-m", "embedded/sprig", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(out)["path"].to_pylist() == [f"{tmp_path}/lines.txt:1", f"{tmp_path}/lines.txt:3", "a text"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{photos}", "-o", "{tmp}/x.csv"], "must end in .parquet, .npy, .safetensors"),
        (["{photos}", "-o", "/nowhere/x.npy"], "does not exist"),
        (["{tmp}", "-o", "{tmp}/x.npy"], "holds no images"),
        (
            ["{photos}", "-o", "{tmp}/x.npy", "--layer", "cls"],
            "no layer 'cls' for images; there are: projected, unprojected, map",
        ),
        (["{photos}", "-o", "{tmp}/x.npy", "--model", "sprigg"], "did you mean embedded/sprig"),
        (["{photos}", "-o", "{tmp}/x.npy", "--model", "sentence-transformers/all-MiniLM-L6-v2"], "add --text"),
        (["a", "--text", "-o", "{tmp}/x.npy", "--model", "timm/resnet18"], "leave out --text"),
        (["{photos}", "-o", "{tmp}/x.npy", "--column", "path"], "go with one table"),
        (["{tmp}/none.csv", "-o", "{tmp}/x.npy"], "none.csv"),
        (["-", "-o", "{tmp}/x.npy"], "nothing to embed"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_no_file(
    run: Run, photos: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = run("embed", *[word.format(photos=photos, tmp=tmp_path) for word in arguments], env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_bad_items(run: Run, tmp_path: Path) -> None:
    done = run("embed", "a.jpg", "b.jpg", "-o", str(tmp_path / "x.parquet"))
    assert done.returncode == 1 and "2 of 2 items could not be read" in done.stderr, done.stderr
    assert pq.read_table(tmp_path / "x.parquet")["error"].to_pylist() == ["no such file"] * 2
