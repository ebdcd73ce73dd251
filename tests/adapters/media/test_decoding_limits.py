"""A small file takes no more memory and time than an image may."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.media.images import read_image
from PIL import Image


def _png(
    width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes], row: bytes | None = None
) -> bytes:
    """A PNG of one colour, written row by row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + width * depth // 8 * {0: 1, 2: 3, 4: 2, 6: 4}[colour]) if row is None else row
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


MEASURE = """
import resource, sys, warnings
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.media.images import read_image
import numpy
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
warnings.simplefilter("ignore")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    said = read_image(sys.argv[1])[0].size
except UnreadableItemError as error:
    said = error
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, said)
"""


def _memory(path: Path) -> tuple[int, str]:
    """MiB that reading an image took at most, and its size or the reason why it was refused."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    most, _, said = done.stdout.strip().partition(" ")
    return int(most), said


@pytest.mark.full
def test_a_small_file_takes_no_gigabytes(tmp_path: Path) -> None:
    """The largest that are let in: 88 million pixels. It was 3.4 GB for 16 bit, 1.8 GB for transparency."""
    for name, content in (("16", _png(9400, 9400, 16, 0)), ("la", _png(9400, 9400, 8, 4))):
        (tmp_path / f"{name}.png").write_bytes(content)
        most, said = _memory(tmp_path / f"{name}.png")
        assert said == "(9400, 9400)" and most < 900, (name, most, said)
    Image.new("F", (9400, 9400), 0.5).save(tmp_path / "f.tif", compression="tiff_adobe_deflate")
    most, said = _memory(tmp_path / "f.tif")
    assert said == "(9400, 9400)" and most < 1000, (most, said)


@pytest.mark.full
def test_what_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    inside = _png(13000, 13000, 8, 6)
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inside), 22) + inside
    (tmp_path / "x.ico").write_bytes(icon)
    bitmap = struct.pack("<IiiHHIIiiII", 40, 12000, 2 * 12000, 1, 32, 0, 0, 0, 0, 0, 0)
    (tmp_path / "bmp.ico").write_bytes(icon[:6] + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 99, 22) + bitmap)
    Image.new("L", (7000, 6500)).save(tmp_path / "x.jp2")
    for name, reason in (
        ("x.ico", "13000x13000 pixels is over the safety limit of 89,478,485"),
        ("bmp.ico", "12000x12000 pixels is over the safety limit of 89,478,485"),
        ("x.jp2", "7000x6500 pixels is over the safety limit of a JPEG2000 of 44,739,242"),
    ):
        most, said = _memory(tmp_path / name)
        assert reason in said and most < 100, (name, most, said)


def test_texts_and_profiles_that_unpack_without_end_are_refused_or_left(tmp_path: Path) -> None:
    """Pillow's own limits, a megabyte a text and 64 in all, are what holds; they must stay."""
    bomb = zlib.compress(bytes(50 << 20))
    for kind, data in (
        (b"zTXt", b"Comment\0\0" + bomb),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        (b"iCCP", b"profile\0\0" + bomb),
    ):
        path = tmp_path / f"{kind.decode()}.png"
        path.write_bytes(_png(8, 8, 8, 2, *[(kind, data)] * 20))
        most, _ = _memory(path)
        assert most < 100, (kind, most)


def test_entities_in_xmp_are_not_expanded(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    xmp = f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&l11;&f;</x>'
    data = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()
    (tmp_path / "x.png").write_bytes(_png(8, 8, 8, 2, (b"iTXt", data)))
    most, said = _memory(tmp_path / "x.png")
    assert said == "(8, 8)" and most < 50


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    """Thirty bytes each, and each walks over all pixels: 33,000 in a megabyte are half an hour."""
    out = io.BytesIO()
    Image.new("L", (6000, 6000), 128).save(out, "JPEG", progressive=True)
    whole = out.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    for times, refused in ((3, False), (30_000, True)):
        (tmp_path / "x.jpg").write_bytes(whole[:-2] + last * times + whole[-2:])
        if refused:
            with pytest.raises(UnreadableItemError, match="a JPEG of 30,006 scans"):
                read_image(tmp_path / "x.jpg")
        else:
            assert read_image(tmp_path / "x.jpg")[0].size == (6000, 6000)


def test_tiles_larger_than_their_picture_take_no_memory(tmp_path: Path) -> None:
    """A TIFF of 16 x 16 pixels that says its one tile has 60,000 x 60,000."""
    packed = zlib.compress(bytes(1000))
    tags = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, 60000),
        (323, 60000),
        (324, 8),
        (325, len(packed)),
    ]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    packed += bytes(len(packed) % 2)
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + body + bytes(4))
    most, said = _memory(tmp_path / "x.tif")
    assert most < 400, (most, said)


def _many_pages(count: int) -> bytes:
    """A TIFF whose pages share the samples of one pixel."""
    pixel, tags = (
        8,
        [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 1), (279, 4, 1)],
    )
    size = 2 + 12 * len(tags) + 4
    body = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    start = pixel + 2
    pages = [body + struct.pack("<I", start + (n + 1) * size if n < count - 1 else 0) for n in range(count)]
    return b"II*\0" + struct.pack("<I", start) + b"\x77\0" + b"".join(pages)


def test_frames_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import GifImagePlugin, TiffImagePlugin

    def counted(self: Any) -> int:
        raise AssertionError("the frames are counted")

    for kind in (GifImagePlugin.GifImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(kind, "n_frames", property(counted))
    (tmp_path / "x.tif").write_bytes(_many_pages(200_000))
    image, note = read_image(tmp_path / "x.tif")
    assert image.getpixel((0, 0)) == (0x77, 0x77, 0x77) and note == "several frames, the first is taken"
    (tmp_path / "one.tif").write_bytes(_many_pages(1))
    assert read_image(tmp_path / "one.tif")[1] is None
    loop = bytearray(_many_pages(2))
    loop[-4:] = struct.pack("<I", 10)  # the second page's next is the first
    (tmp_path / "loop.tif").write_bytes(loop)
    assert read_image(tmp_path / "loop.tif")[1] == "several frames, the first is taken"
