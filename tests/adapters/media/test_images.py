"""Images as they lie in the world: every kind is read right or refused with its reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.media import samples
from modelgraft_adapters.media.images import read_image
from PIL import Image, ImageOps

rng = np.random.default_rng(0)


@pytest.fixture
def picture() -> Image.Image:
    """A smooth image with a corner of its own, so that turning it shows."""
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
        ("text.jpg", b"This is no picture at all.", "not an image"),
        ("zeros.png", bytes(1000), "not an image"),
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
        (b"no picture", "not an image"),
        (whole.getvalue()[:60], "damaged"),
        (OSError("the tape is torn"), "cannot be read: the tape is torn"),
    ):
        with pytest.raises(UnreadableItemError, match=said):
            read_image(Member(content))


def _tiff(path: Path, values: np.ndarray, tags: dict[int, object] | None = None) -> Path:
    Image.fromarray(values).save(path, tiffinfo=tags or {})
    return path


def test_a_few_odd_floats_do_not_change_the_range_of_the_others(tmp_path: Path) -> None:
    """One sample of 1.004 once made the image black, one of -9999 white."""
    unit = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    rest = np.rint(unit * 255)
    for odd, shown, said in (
        (1.004, 255, "1 of 4,096 samples lie beyond 0 to 1, clipped"),
        (np.inf, 255, "1 of 4,096 samples lie beyond 0 to 1, clipped"),
        (50.0, 255, "clipped"),
        (-0.04, 0, "clipped"),
        (np.nan, 0, "1 of 4,096 samples hold no value"),
        (-9999.0, 0, "1 of 4,096 samples hold no value"),
        (-3.4028235e38, 0, "hold no value"),
    ):
        values = unit.copy()
        values[0, 0] = odd
        image, note = read_image(_tiff(tmp_path / "x.tif", values))
        found = np.asarray(image)[..., 0].astype(int)
        assert found[0, 0] == shown and note is not None and said in note, (odd, note)
        assert abs(found.ravel()[1:] - rest.ravel()[1:]).max() <= 1, odd
    assert read_image(_tiff(tmp_path / "x.tif", unit))[1] is None


def test_a_range_that_nothing_tells_is_refused_and_one_that_is_stated_is_taken(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for low, high in ((0, 4095), (0, 12), (-40, 40), (250, 310), (0, 1e6)):
        values = unit * np.float32(high - low) + np.float32(low)
        with pytest.raises(UnreadableItemError, match="does not say what is black"):
            read_image(_tiff(tmp_path / "x.tif", values))
        found = np.asarray(read_image(_tiff(tmp_path / "x.tif", values, {340: float(low), 341: float(high)}))[0])
        assert abs(found[..., 0].astype(int) - unit * 255).max() <= 1
    values = unit.copy()
    values[:8] = 0.5
    values[2] = -1.0
    image, note = read_image(_tiff(tmp_path / "x.tif", values, {42113: "-1"}))
    assert note == "16 of 256 samples hold no value (NaN, -1), shown as black"
    assert (np.asarray(image)[2] == 0).all() and abs(np.asarray(image)[8:, :, 0] - unit[8:] * 255).max() <= 1
    whole = (np.arange(4096, dtype=np.int32) // 16).reshape(64, 64)
    whole[0, 0] = 300  # by the largest sample all others were black
    found = np.asarray(read_image(_tiff(tmp_path / "x.tif", whole))[0])[..., 0].astype(int)
    assert (found.ravel()[1:] == whole.ravel()[1:]).all()
    with pytest.raises(UnreadableItemError, match="samples from 0 to 4080"):
        read_image(_tiff(tmp_path / "x.tif", whole.clip(max=255) * 16))


def test_the_range_guessed_from_the_largest_sample_gives_a_black_picture(tmp_path: Path, monkeypatch) -> None:
    """What the rule guards against comes out without it."""
    values = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    values[0, 0] = 1.004
    path = _tiff(tmp_path / "x.tif", values)
    assert np.asarray(read_image(path)[0]).mean() > 100
    monkeypatch.setattr(
        samples, "_range", lambda image, stated, found, missing: (0.0, 1.0 if found.high <= 1 else 255.0)
    )
    assert np.asarray(read_image(path)[0]).mean() < 2


def _raw_tiff(values: np.ndarray, photometric: int, bits: int) -> bytes:
    """A grey TIFF written by hand: what Pillow does not write."""
    data = values.tobytes()
    entries = [(256, 3, 16), (257, 3, 16), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 3, 16), (279, 4, len(data))]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


def test_sixteen_bit_where_white_is_zero_and_twelve_bit(tmp_path: Path) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    (tmp_path / "x.tif").write_bytes(_raw_tiff(ramp, 0, 16))
    assert (_pixels(tmp_path / "x.tif")[..., 0].ravel() == 255 - np.arange(256)).all()
    (tmp_path / "x.tif").write_bytes(_raw_tiff(ramp, 1, 16))
    assert (_pixels(tmp_path / "x.tif")[..., 0].ravel() == np.arange(256)).all()
    dense = np.arange(256) * 16
    packed = np.stack([dense[::2] >> 4, (dense[::2] & 15) << 4 | dense[1::2] >> 8, dense[1::2] & 255], axis=1)
    (tmp_path / "x.tif").write_bytes(_raw_tiff(packed.astype(np.uint8), 1, 12))
    assert abs(_pixels(tmp_path / "x.tif")[..., 0].ravel() - np.arange(256)).max() <= 1


def test_a_tiff_whose_next_picture_is_nowhere_is_read(picture: Image.Image, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF")
    good = buffer.getvalue()
    start = struct.unpack("<I", good[4:8])[0]
    place = start + 2 + 12 * struct.unpack("<H", good[start : start + 2])[0]
    for wrong in (1, 11, 10**6, 0xFFFFFFFF):
        (tmp_path / "x.tif").write_bytes(good[:place] + struct.pack("<I", wrong) + good[place + 4 :])
        assert np.array_equal(_pixels(tmp_path / "x.tif"), np.asarray(picture)), wrong


@pytest.mark.parametrize("kind", ["x.jpg", "x.png", "x.webp", "x.tif"])
def test_every_orientation_in_every_format_is_pillows_own(picture: Image.Image, tmp_path: Path, kind: str) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / kind, exif=exif)
        with Image.open(tmp_path / kind) as stored:
            expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
        assert np.array_equal(_pixels(tmp_path / kind), expected), orientation


def test_pictures_without_pixels_are_refused() -> None:
    for nothing in (np.zeros((0, 5, 3), np.uint8), np.zeros((4, 0), np.uint8), Image.new("RGB", (0, 3))):
        with pytest.raises(UnreadableItemError):
            read_image(nothing)
    crop = Image.new("RGB", (9, 9)).crop((4, 4, 4, 9))
    with pytest.raises(UnreadableItemError):
        read_image(crop)


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    for head, named in (
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"v/1\x01", "OpenEXR"),
    ):
        (tmp_path / "x.jpg").write_bytes(head + bytes(200))
        with pytest.raises(UnreadableItemError, match=f"a {named} image that is not read"):
            read_image(tmp_path / "x.jpg")
