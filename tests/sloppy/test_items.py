"""Sloppy images, texts and labels, each with the right answer or with what must be said."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts, read_labels
from modelgraft_adapters.estimators.class_names import check_labels
from modelgraft_adapters.estimators.prompt_templates import templates_for
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.media.texts import decoded, lines, reason_against
from PIL import Image

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _saved(values: Any, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(out, format, **options)
    return out.getvalue()


def _grey(image: Image.Image) -> list[int]:
    return [int(value) for value in np.asarray(image)[..., 0].ravel()]


def _own(image: Image.Image) -> Image.Image:
    """On white by Pillow."""
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, (255, 255, 255, 255)), clear).convert("RGB")


TWO = Image.fromarray((RAMP > 127).astype(np.uint8) * 255).convert("1")
CLEAR = Image.merge("LA", (Image.fromarray(RAMP), Image.fromarray(RAMP.T.copy())))
PALETTE = Image.fromarray(RAMP).convert("P")
CMYK = Image.fromarray(np.stack([RAMP, RAMP.T, RAMP // 2, RAMP // 3], -1), "CMYK")
PGM = b"P5 16 16 65535\n" + (RAMP // 2).astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("one bit", _saved(TWO, "PNG"), TWO.convert("RGB")),
        ("one bit, fax", _saved(TWO, "TIFF", compression="group4"), TWO.convert("RGB")),
        ("grey with alpha", _saved(CLEAR, "PNG"), _own(CLEAR)),
        ("CMYK in a TIFF", _saved(CMYK, "TIFF"), CMYK.convert("RGB")),
        ("a profile of colours", _saved(RAMP, "PNG", icc_profile=b"no profile"), Image.fromarray(RAMP).convert("RGB")),
        ("a dark PGM of 16 bit is not made bright", PGM, Image.new("RGB", (16, 16))),
        ("the suffix lies", _saved(RAMP, "BMP"), Image.fromarray(RAMP).convert("RGB")),
        ("bytes behind the end", _saved(RAMP, "PNG") + b"trailing", Image.fromarray(RAMP).convert("RGB")),
    ],
)
def test_images_that_are_read(tmp_path: Path, name: str, content: bytes, expected: Image.Image) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    found, _ = read_image(tmp_path / "x.jpg")
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 1, name


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (np.full((4, 4), np.nan, np.float32), "dtype float32"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((3, 8, 8), np.uint8), "shape"),
        (np.zeros((4, 4), bool), "dtype bool"),
        (Image.fromarray(np.full((4, 4), -np.inf, np.float32)), "no sample of the image is a finite number"),
        (Image.fromarray(np.array([[0, 5000]], np.int32)), "does not say what is black"),
        (Image.fromarray(np.array([[-5, 200]], np.float32) * 100), "does not say what is black"),
        ("", "no such file"),
        ("x\0.jpg", "cannot be read"),
        (" photo.jpg", "no such file"),
    ],
)
def test_images_that_are_refused(item: Any, said: str) -> None:
    with pytest.raises(UnreadableItemError, match=said):
        read_image(item)


def test_a_tiff_that_states_nonsense_of_its_range_is_not_misled(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for tags in ({340: 5.0, 341: 5.0}, {340: 3.0, 341: 1.0}, {42113: "none"}, {42113: "nan"}):
        Image.fromarray(unit).save(tmp_path / "x.tif", tiffinfo=tags)
        assert abs(np.array(_grey(read_image(tmp_path / "x.tif")[0])) - unit.ravel() * 255).max() <= 1, tags


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"\xef\xbb\xbf", []),
        (b"one", ["one"]),
        (b"one\n\ttwo  \n", ["one", "two"]),
        (b"a\r\rb", ["a", "b"]),
        ("a\u2029b\x1d\n".encode(), ["a\u2029b"]),
        ("\ufeffa\nb".encode("utf-16-be"), ["a", "b"]),
        (b"x" * 300_000 + b"\ny", ["x" * 300_000, "y"]),
        (b'"quoted, text"\n', ['"quoted, text"']),
        (b"- \n#x\n", ["-", "#x"]),
    ],
)
def test_files_of_texts(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    (tmp_path / "x").write_bytes(content)
    given = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    assert [text for _, text in expand_texts([str(tmp_path / "x")], given)] == expected
    assert [text for _, text in expand_texts(["-"], given)] == expected


def test_standard_input_in_the_terminals_own_encoding_is_text() -> None:
    given = io.TextIOWrapper(io.BytesIO("caf\u00e9\n".encode("latin-1")), encoding="latin-1")
    assert list(expand_texts(["-"], given)) == [("-:1", "caf\u00e9")]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "a "], None),
        (["caf\u00e9", "cafe\u0301"], None),  # two texts; where a model reads them alike, it is told
        ([0, 1], None),
        ([0, "0"], "labels given twice: '0'"),
        (["a", None], "label 2 .*not a text but NoneType"),
        (["a", float("nan")], "label 2 .*not a text but float"),
        (["a", "\t"], "label 2 is blank"),
        (("a", "b", "a", "a", "a", "a"), r"'a' \(labels 1, 3, 4 \.\.\.\)"),
        ([], "no labels"),
    ],
)
def test_labels(labels: Any, said: str | None) -> None:
    if said is None:
        assert check_labels(labels) == [str(label) for label in labels]
        return
    with pytest.raises(UsageError, match=said):
        check_labels(labels)


@pytest.mark.parametrize("template", ["", "a photo", "{} and {}", "{}\0", "\udce9 {}"])
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(UsageError):
        templates_for([template])


def test_labels_in_a_file_that_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<I", 7) * 9)
    with pytest.raises(UsageError, match="NUL bytes"):
        read_labels([f"@{tmp_path / 'x'}"])


def test_a_list_of_paths_with_all_kinds_of_ends_and_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("d")
    Image.new("RGB", (4, 4)).save("d/1.png")
    Image.new("RGB", (4, 4)).save("a b.png")
    given = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa b.png\r\nd\r\n\r\n"), encoding="utf-8")
    assert list(expand_paths(["-"], given)) == ["a b.png", "d/1.png"]


def test_text_that_is_cut_within_a_character_costs_no_run() -> None:
    for coding in ("utf-8-sig", "utf-16", "utf-32"):
        whole = "caf\u00e9\n\U0001f408".encode(coding)
        for cut in range(len(whole)):
            assert all(isinstance(reason_against(line), (str, type(None))) for line in lines(decoded(whole[:cut])))
