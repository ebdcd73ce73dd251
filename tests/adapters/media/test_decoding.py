"""Bytes that a stranger calls an image start no program, open no other file and take no more memory than an image may."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.media import images, samples
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.storage.keys import picture_digest
from PIL import Image

from tests.conftest import ROOT, Run

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ``gs`` that comes first and leaves a file behind when it is started."""
    marker = tmp_path / "started"
    program = tmp_path / "programs" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return marker


class InMemory:
    def read_bytes(self) -> bytes:
        return EPS


def _ways(folder: Path) -> dict[str, Any]:
    """The same bytes by every way that images come in."""
    import datasets
    import pandas
    import pyarrow
    import pyarrow.parquet

    data = folder / "data"
    (data / "cat").mkdir(parents=True)
    (data / "cat" / "1.jpg").write_bytes(EPS)
    (folder / "table.csv").write_text("path,label\ndata/cat/1.jpg,cat\n")
    with tarfile.open(folder / "x.tar", "w") as out:
        out.add(data / "cat" / "1.jpg", "cat/1.jpg")
    table = pyarrow.table({"image": [{"bytes": EPS, "path": "1.jpg"}], "label": ["cat"]})
    pyarrow.parquet.write_table(table, folder / "x.parquet")
    rows = datasets.Dataset.from_dict({"image": [{"bytes": EPS, "path": "1.jpg"}], "label": [0]})
    rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(folder / "saved")
    return {
        "path": str(data / "cat" / "1.jpg"),
        "memory": io.BytesIO(EPS),
        "object": InMemory(),
        "folder": read_data(data).items[0],
        "csv": read_data(folder / "table.csv").items[0],
        "tar": read_data(folder / "x.tar").items[0],
        "parquet": read_data(folder / "x.parquet").items[0],
        "arrow": read_data(table).items[0],
        "pandas": read_data(pandas.DataFrame({"image": [str(data / "cat" / "1.jpg")], "label": ["cat"]})).items[0],
        "datasets": read_data(rows).items[0],
        "saved": read_data(folder / "saved").items[0],
    }


def test_postscript_under_a_pictures_name_starts_no_program(tmp_path: Path, ghostscript: Path) -> None:
    for item in _ways(tmp_path).values():
        with pytest.raises(UnreadableItemError, match="not an image of a format that is read"):
            read_image(item)
    assert not ghostscript.exists()


def test_without_the_list_of_formats_it_does(
    tmp_path: Path, ghostscript: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FORMATS", None)
    for way, item in _ways(tmp_path).items():
        with pytest.raises(UnreadableItemError):
            read_image(item)
        assert ghostscript.exists(), way
        ghostscript.unlink()


@pytest.mark.full
def test_nor_from_standard_input(tmp_path: Path, ghostscript: Path, run: Run) -> None:
    (tmp_path / "a.jpg").write_bytes(EPS)
    whole = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(whole, "PNG")
    for content, code in ((EPS, 1), (whole.getvalue(), 0)):
        done = subprocess.run(
            [sys.executable, "-m", "modelgraft", "classify", "/dev/stdin", "--labels", "cat,dog", "--format", "json"],
            input=content,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stderr
    done = run("classify", "-", "--labels", "cat,dog", stdin=f"{tmp_path / 'a.jpg'}\n")
    assert done.returncode == 1 and "not an image" in done.stdout + done.stderr
    assert not ghostscript.exists()


def test_a_column_of_labels_is_not_decoded(tmp_path: Path, ghostscript: Path) -> None:
    import datasets
    from modelgraft.errors import UsageError
    from modelgraft_adapters.data import huggingface

    rows = datasets.Dataset.from_dict({"text": ["a b"], "label": [{"bytes": EPS, "path": "1.jpg"}]})
    rows = rows.cast_column("label", datasets.Image())
    assert read_data(rows, modality="text").targets is None
    with pytest.raises(UsageError, match="column 'label' holds no labels but Image"):
        read_data(rows, modality="text", label_column="label")
    assert not ghostscript.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface, "_states_labels", lambda feature: True)
        with pytest.raises(OSError, match="cannot identify"):
            read_data(rows, modality="text")
    assert ghostscript.exists()


def _child(folder: Path, guard: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.media.decoding_child", str(folder), "2", "3", guard],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.full
def test_mutated_files_of_every_format_touch_nothing_else(tmp_path: Path, ghostscript: Path) -> None:
    said = _child(tmp_path, "")
    assert (said["done"], said["other"]) == ([], []), said
    assert said["files"] > 300 and said["read"] > 500 and said["refused"] > 300, said
    assert not ghostscript.exists()


@pytest.mark.full
def test_without_the_list_of_formats_they_do(tmp_path: Path, ghostscript: Path) -> None:
    said = _child(tmp_path, "formats")
    assert any(event.startswith("subprocess.Popen ('gs'") for event in said["done"]), said["done"]
    assert any(event.startswith("open ") for event in said["done"]), said["done"]
    assert ghostscript.exists()


def test_pictures_are_opened_in_one_place() -> None:
    """A bare ``Image.open`` takes whichever decoder the bytes ask for; scripts of measurement and training name theirs too."""
    found = {}
    for top in ("registry", "adapters", "plugins", "benchmarks"):
        for path in sorted((ROOT / top).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            assert not re.search(
                r"ImageFile\.Parser|from PIL\.Image import|decode_image|imread\(|LOAD_TRUNCATED", text
            ), path
            for call in re.findall(r"\bImage\.open\(.*", text):
                found.setdefault(path.relative_to(ROOT).as_posix(), []).append("formats=FORMATS" in call)
    assert all(all(named) for named in found.values()), found
    shipped = [path for path in found if "/training/" not in path and not path.startswith("benchmarks/")]
    assert shipped == ["adapters/modelgraft_adapters/media/images.py"]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO"])
def test_of_every_kind_of_animation_the_first_picture_is_taken(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "x", kind, save_all=True, append_images=frames[1:])
    image, note = read_image(tmp_path / "x")
    red, green, blue = image.getpixel((5, 5))
    assert red > 240 and green < 15 and blue < 15 and note == "several frames, the first is taken"
    frames[0].save(tmp_path / "one", kind)
    assert read_image(tmp_path / "one")[1] is None


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "some.tif")
    found = np.asarray(read_image(tmp_path / "some.tif")[0])[..., 0].astype(int)
    assert found[0, :3].tolist() == [0, 255, 0]
    assert abs(found[1:] - values[1:] * 255).max() <= 1  # one infinite sample once made all others black
    for wrong in (np.nan, np.inf):
        Image.fromarray(np.full((4, 4), wrong, np.float32)).save(tmp_path / "all.tif")
        with pytest.raises(UnreadableItemError, match="no sample of the image is a finite number"):
            read_image(tmp_path / "all.tif")


def test_a_large_picture_is_scaled_as_a_small_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked on in strips, whose seams must not show."""
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65536, (37, 53), dtype=np.uint16))
    floats = Image.fromarray(rng.uniform(-0.05, 1.05, (37, 53)).astype(np.float32))
    clear = Image.fromarray(rng.integers(0, 256, (37, 53, 4), dtype=np.uint8))
    palette = clear.convert("RGB").convert("P")
    palette.info["transparency"] = 3
    whole = [images.to_rgb(picture).tobytes() for picture in (deep, floats, clear, palette)]
    expected = Image.alpha_composite(Image.new("RGBA", clear.size, (255, 255, 255, 255)), clear).convert("RGB")
    assert whole[2] == expected.tobytes()
    monkeypatch.setattr(samples, "_BLOCK", 100)
    assert [images.to_rgb(picture).tobytes() for picture in (deep, floats, clear, palette)] == whole


def test_a_picture_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "x.jpg", exif=exif)
    with Image.open(tmp_path / "x.jpg") as opened:
        once = read_image(opened)[0]
        assert opened.size == (30, 20) and once is not opened
    assert once.size == read_image(once)[0].size == read_image(once.copy())[0].size == (20, 30)


def test_a_picture_of_pillow_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    Image.effect_noise((400, 400), 90).convert("RGB").save(tmp_path / "x.jpg")
    content = (tmp_path / "x.jpg").read_bytes()
    with pytest.raises(UnreadableItemError, match="truncated"):
        read_image(Image.open(io.BytesIO(content[: len(content) // 2])))


def test_only_regular_files_are_read_as_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink("/dev/zero", tmp_path / "zero.jpg")
    os.symlink("loop.jpg", tmp_path / "loop.jpg")
    for name, reason in (
        (tmp_path / "pipe.jpg", "not a regular file"),
        (tmp_path / "zero.jpg", "not a regular file"),
        ("/dev/stdin/x.jpg", "cannot be read"),
        (tmp_path / "loop.jpg", "cannot be read"),
        ("/proc/self/mem", "the file is empty"),
        ("/proc/self/environ", "the file is empty"),
        ("nul\0byte.jpg", "cannot be read"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(UnreadableItemError, match=reason):
            read_image(name)
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableItemError, match="an image has at most 1,073,741,824"):
        read_image(tmp_path / "huge.jpg")
    with pytest.raises(UnreadableItemError, match="not a regular file"):
        picture_digest(str(tmp_path / "pipe.jpg"))
