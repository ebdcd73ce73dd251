"""Pictures as they lie in the world: every kind is read right or refused with its reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.images import read_image
from PIL import Image

rng = np.random.default_rng(0)


@pytest.fixture
def picture() -> Image.Image:
    """A smooth picture with a corner of its own, so that turning it shows."""
    y, x = np.mgrid[0:48, 0:64]
    values = np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).clip(0, 255).astype(np.uint8)
    values[:16, :16] = (255, 0, 0)
    return Image.fromarray(values)


def _pixels(path: Path) -> np.ndarray:
    image, _ = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(picture: Image.Image, tmp_path: Path, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(_pixels(tmp_path / "turned.png"), np.asarray(picture))


def test_transparent_pixels_are_white_not_what_is_hidden_under_them(tmp_path: Path) -> None:
    hidden = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    hidden.save(tmp_path / "rgba.png")
    assert (_pixels(tmp_path / "rgba.png") == 255).all()
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "la.png")
    assert (_pixels(tmp_path / "la.png") == 255).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 255, 255, 0, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    assert (_pixels(tmp_path / "p.png") == 255).all()
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    half.save(tmp_path / "half.png")
    assert abs(_pixels(tmp_path / "half.png") - 127).max() <= 1


def test_sixteen_bit_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "16.png")
    assert abs(_pixels(tmp_path / "16.png")[..., 0] - ramp / 257).max() <= 1
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "32.tif")
    assert abs(_pixels(tmp_path / "32.tif")[..., 0] - ramp / 257).max() <= 1


def test_float_samples(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(unit).save(tmp_path / "unit.tif")
    assert abs(_pixels(tmp_path / "unit.tif")[..., 0] - unit * 255).max() <= 1
    Image.fromarray(unit * 255).save(tmp_path / "bytes.tif")
    assert abs(_pixels(tmp_path / "bytes.tif")[..., 0] - unit * 255).max() <= 1


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr", "P"])
def test_other_modes_become_rgb(picture: Image.Image, tmp_path: Path, mode: str) -> None:
    name = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    picture.convert(mode).save(name)
    expected = np.asarray(Image.open(name).convert("RGB")).astype(int)
    assert np.array_equal(_pixels(name), expected)
    if mode in ("CMYK", "P"):
        assert abs(_pixels(name) - np.asarray(picture).astype(int)).mean() < 20


def test_animations_give_their_first_frame_and_say_so(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image, note = read_image(tmp_path / "a.gif")
    assert image.getpixel((5, 5)) == (255, 0, 0)
    assert note == "several frames, the first is taken"


def test_a_very_long_picture_is_noted(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 50)).save(tmp_path / "long.png")
    _, note = read_image(tmp_path / "long.png")
    assert note is not None and "40 times" in note


def _bomb(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"This is no picture at all.", "not a picture"),
        ("zeros.png", bytes(1000), "not a picture"),
        ("bomb.png", _bomb(50_000, 50_000), "bomb"),
        ("big.png", _bomb(10_000, 9_500), "over the safety limit"),
        ("cut.png", _bomb(100, 100), "damaged"),
    ],
)
def test_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableItemError, match=reason):
        read_image(tmp_path / name)


def test_a_truncated_jpeg_is_refused_not_padded_with_grey(picture: Image.Image, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture.resize((640, 480)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(UnreadableItemError, match="truncated"):
        read_image(tmp_path / "cut.jpg")


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableItemError, match="no such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(UnreadableItemError, match="folder"):
        read_image(tmp_path)


def test_damaged_exif_does_not_lose_the_picture(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "x.jpg", exif=b"Exif\x00\x00" + bytes(rng.integers(0, 256, 64, dtype=np.uint8)))
    assert _pixels(tmp_path / "x.jpg").shape == (48, 64, 3)


def test_arrays_and_pictures() -> None:
    values = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(read_image(values)[0]), values)
    assert np.array_equal(np.asarray(read_image(Image.fromarray(values))[0]), values)
    with pytest.raises(UnreadableItemError, match="float64"):
        read_image(values / 255)


def test_random_damage_is_an_error_row_or_a_picture(picture: Image.Image, tmp_path: Path) -> None:
    """Whatever bytes are flipped, nothing but UnreadableItemError comes out."""
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        buffer = io.BytesIO()
        picture.save(buffer, format)
        good = np.frombuffer(buffer.getvalue(), np.uint8)
        for n in range(40):
            bad = good.copy()
            where = rng.integers(0, len(bad), 1 + n % 7)
            bad[where] = rng.integers(0, 256, len(where))
            path = tmp_path / f"{n}.{format.lower()}"
            path.write_bytes(bad[: len(bad) - (n % 3) * 20].tobytes())
            try:
                image, _ = read_image(path)
                assert image.mode == "RGB"
            except UnreadableItemError as error:
                assert str(error) and "\n" not in str(error)


def test_a_file_in_memory_or_in_an_archive_is_read_as_on_the_disk(tmp_path: Path) -> None:
    class Member:
        def __init__(self, content: bytes | OSError) -> None:
            self.content = content

        def read_bytes(self) -> bytes:
            if isinstance(self.content, OSError):
                raise self.content
            return self.content

    path = tmp_path / "x.gif"
    frames = [Image.new("RGB", (9, 4), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    expected, note = read_image(path)
    for source in (Member(path.read_bytes()), io.BytesIO(path.read_bytes())):
        found, told = read_image(source)
        assert found.tobytes() == expected.tobytes() and found.size == (9, 4) and told == note
    whole = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(whole, "PNG")
    for content, said in (
        (b"", "the file is empty"),
        (b"no picture", "not a picture"),
        (whole.getvalue()[:60], "damaged"),
        (OSError("the tape is torn"), "cannot be read: the tape is torn"),
    ):
        with pytest.raises(UnreadableItemError, match=said):
            read_image(Member(content))
