"""One image, as it lies in the world, to the upright 8-bit RGB image that preprocessing expects.

Done here once for all providers, because the libraries' own transforms start from an RGB image and what comes before is
where results silently differ: EXIF orientation, transparency, 16-bit and float samples, CMYK, animation. It is also the one
place where Pillow meets bytes that a stranger made: which of its decoders may, and how much memory they may take, stands here.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from modelgraft.errors import UnreadableItemError
from PIL import Image, UnidentifiedImageError

from modelgraft_adapters.media.files import MOST_PICTURE_BYTES, Given, open_regular, read_regular, told
from modelgraft_adapters.media.formats import HEAD, format_of
from modelgraft_adapters.media.samples import Stated, blocks, is_deep, scaled, stated_by

if TYPE_CHECKING:
    import numpy as np

FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF", "ICO", "TGA")
"""The decoders of Pillow that read what `formats.IMAGE_SUFFIXES` names (MPO comes by JPEG). Of the others one starts Ghostscript on
any file that begins like PostScript, and hardly any is ever met; TGA, which has no mark of its own, comes last."""
LONG_SIDE_RATIO = 5.0
"""From this aspect ratio on a note is made: a centre crop sees a fifth of the image or less."""
SEVERAL_FRAMES: Final = "several frames, the first is taken"
_LARGE: Final = 1 << 25
"""Images of more pixels are decoded one at a time, so that threads do not multiply the memory of the largest."""
_SHARES: Final = {"JPEG2000": 0.5, "WEBP": 0.75}
"""Of Pillow's limit of pixels, for decoders that take 24 and 16 bytes a pixel while they work where others take 12 or fewer."""
_MOST_WORK: Final = 1 << 32
"""Scans times pixels that are decoded: 48 scans at Pillow's limit, where encoders write 10."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes the image upright."""
_in_turn = threading.Lock()


def read_image(source: str | os.PathLike[str] | Image.Image | Any) -> tuple[Image.Image, str | None]:
    """Read an image from a path, a file in memory (`io.BytesIO`), an object with ``read_bytes()`` (a file in an archive), a
    PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8.

    Orientation from EXIF is applied; transparency is laid on white; 16-bit and float samples are scaled to 8 bit by the range
    that the file states or that plainly holds them (`samples`); of an animation or a multi-page file the first image is
    taken. Files are decoded by `FORMATS` alone; none starts a program or opens another file. At Pillow's limit of 89 million
    pixels about 1 GB of memory is taken.

    Returns:
        the RGB image, and a note on what a user should know of it (None mostly).

    Raises:
        UnreadableItemError: not a regular file, not an image, damaged, or larger than Pillow's limit of pixels or
            `files.MOST_PICTURE_BYTES`.
    """
    if isinstance(source, Image.Image):
        notes: list[str] = []
        return _guarded(lambda: _of_pillow(source, notes)), "; ".join(notes) or None
    if isinstance(source, Given) and not os.path.isfile(source):
        content = told(lambda: read_regular(source, MOST_PICTURE_BYTES, pipe=True))
        return _from_file(io.BytesIO(content))
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        with told(lambda: open_regular(path)) as file:
            return _from_file(file)
    if isinstance(source, io.BytesIO):
        return _from_file(source)
    if hasattr(source, "read_bytes"):
        return _from_file(io.BytesIO(_content(source)))
    return _guarded(lambda: to_rgb(_from_array(source))), None


def kept(items: Iterable[Any]) -> Iterable[Any]:
    """Return items that may be read ahead: what an iterator gives is copied, as it may fill the same array again and again
    (frames of a video, crops)."""
    return map(_copied, items) if isinstance(items, Iterator) else items


def _copied(item: Any) -> Any:
    return item.copy() if isinstance(item, Image.Image) or type(item).__module__ == "numpy" else item


def open_picture(file: BinaryIO) -> Image.Image:
    """Open an image's file with the decoders of `FORMATS`, before anything of it is decoded.

    Every image file is opened here: a bare `PIL.Image.open` takes whichever decoder the bytes ask for.

    Raises:
        UnreadableItemError: the file is empty, larger than is read, or not an image of these formats; it has too many pixels.
        Exception: whatever else a decoder of Pillow raises for a damaged file.
    """
    size = _size(file)
    if size == 0:
        raise UnreadableItemError("the file is empty")
    if size > MOST_PICTURE_BYTES:
        raise UnreadableItemError(f"a file of {size:,} bytes; an image has at most {MOST_PICTURE_BYTES:,}")
    file.seek(0)
    for width, height in _stated_in_icon(file):
        _check_pixels((width, height))
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        if named := format_of(file.read(HEAD)):
            raise UnreadableItemError(f"a {named} image that is not read; save it as JPEG or PNG") from None
        raise UnreadableItemError("not an image of a format that is read") from None
    _check_pixels(image.size, image.format)
    if image.format in ("JPEG", "MPO"):
        _check_scans(file, size, image.width * image.height)
    return image


def _size(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size  # files of the system state 0, and may wait for ever when they are read
    except OSError:  # a file in memory
        return file.seek(0, os.SEEK_END)


def to_rgb(image: Image.Image, stated: Stated | None = None, notes: list[str] | None = None) -> Image.Image:
    """Return the upright 8-bit RGB of a PIL image of any mode. The image given is not changed.

    Args:
        stated: what its file says of its samples; None asks the image.
        notes: takes what a user should know of it.
    """
    if 0 in image.size:
        raise UnreadableItemError(f"an image of {image.width} x {image.height} pixels, of which there is none")
    stated = stated_by(image) if stated is None else stated
    image = _upright(image)
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if is_deep(image):
        grey, note = scaled(image, stated)
        if note and notes is not None:
            notes.append(note)
        return grey.convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _of_pillow(image: Image.Image, notes: list[str]) -> Image.Image:
    """The same, and never the very image that was given."""
    _check_pixels(image.size)
    image.load()
    found = to_rgb(image, notes=notes)
    return found.copy() if found is image else found


def _plain(image: Image.Image, stated: Stated, notes: list[str]) -> Image.Image:
    """RGB that no longer holds the decoder it came from; the largest are not copied for that."""
    found = to_rgb(image, stated, notes)
    return found.copy() if found is image and image.width * image.height <= _LARGE else found


def _from_file(file: BinaryIO) -> tuple[Image.Image, str | None]:
    notes: list[str] = []
    return _guarded(lambda: _plain(*_decoded(file, notes), notes)), "; ".join(notes) or None


def _decoded(file: BinaryIO, notes: list[str]) -> tuple[Image.Image, Stated]:
    with open_picture(file) as image:
        stated = stated_by(image)  # before it is loaded: a TIFF is turned then, and says no more
        if int(getattr(image, "tag_v2", {}).get(254, 0) or 0) & 1:
            notes.append("its first image is a small preview of another (a camera's raw file?), and is what is read")
        # Frames are never counted: that reads the whole file, and one of a few megabytes may have a million of them.
        if getattr(image, "is_animated", False):
            notes.append(SEVERAL_FRAMES)
        with _in_turn if image.width * image.height > _LARGE else nullcontext():
            image.load()
        _check_pixels(image.size)
        ratio = max(image.size) / min(image.size)
        if ratio >= LONG_SIDE_RATIO:
            notes.append(f"{ratio:.0f} times longer than wide; a model that crops the centre sees 1/{ratio:.0f} of it")
        return _upright(image), stated


def _guarded(read: Any) -> Image.Image:
    """What ``read`` returns; whatever a decoder raises becomes an item that cannot be read."""
    try:
        return read()
    except UnreadableItemError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableItemError(f"over Pillow's safety limit, maybe a decompression bomb: {_line(error)}") from None
    except MemoryError:
        raise UnreadableItemError("does not fit into memory") from None
    except Exception as error:
        # Pillow's decoders raise a dozen kinds of error for damaged files (OSError, SyntaxError, struct.error, ValueError ...).
        raise UnreadableItemError(f"damaged or unsupported image: {_line(error)}") from None


def _check_pixels(size: tuple[int, int], format: str | None = None) -> None:
    if (limit := Image.MAX_IMAGE_PIXELS) is None:
        return
    pixels = size[0] * size[1]
    if pixels > 2 * limit:
        raise Image.DecompressionBombError(f"{size[0]}x{size[1]} pixels where {limit:,} are the most")
    limit = int(limit * _SHARES.get(format or "", 1))
    if pixels > limit:
        kind = f" of a {format}" if format in _SHARES else ""
        raise UnreadableItemError(
            f"{size[0]}x{size[1]} pixels is over the safety limit{kind} of {limit:,}; resize it first"
        )


def _check_scans(file: BinaryIO, size: int, pixels: int) -> None:
    """Refuse a JPEG of a great many scans: each of thirty bytes is a walk over the whole image, thousands are minutes."""
    most = _MOST_WORK // max(1, pixels)
    if size // 8 <= most:  # so many would not fit
        return
    file.seek(0)
    scans, before = 0, b""
    while chunk := file.read(1 << 20):
        scans += (before + chunk).count(b"\xff\xda")  # within a scan no other byte than 0 follows 255
        before = chunk[-1:]
    file.seek(0)
    if scans > most:
        raise UnreadableItemError(f"a JPEG of {scans:,} scans, which would take minutes to decode; save it anew")


def _stated_in_icon(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Width and height of each image in an icon: Pillow decodes the largest while it opens the file, before it can be asked."""
    if file.read(4) == b"\0\0\1\0":
        count = int.from_bytes(file.read(2), "little")
        table = file.read(16 * count)
        for place in {table[at + 12 : at + 16] for at in range(0, len(table) - 15, 16)}:
            file.seek(int.from_bytes(place, "little"))
            head = file.read(24)
            if head.startswith(b"\x89PNG"):
                yield int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
            else:  # a bitmap with its mask below it
                width, height = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (4, 8))
                yield abs(width), abs(height) // 2
    file.seek(0)


def _content(source: Any) -> bytes:
    try:
        return bytes(source.read_bytes())
    except UnreadableItemError:
        raise
    except Exception as error:  # whatever archive it lies in
        raise UnreadableItemError(f"cannot be read: {_line(error)}") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:
        turn = None  # a damaged EXIF block says nothing about orientation; the pixels are good
    if turn is None:
        return image
    upright = image.transpose(turn)
    for said in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        upright.info.pop(said, None)  # it must not be turned a second time
    return upright


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size)
    for top, block in blocks(image):
        block = block.convert("RGBA")
        white = Image.new("RGBA", block.size, (255, 255, 255, 255))
        flat.paste(Image.alpha_composite(white, block).convert("RGB"), (0, top))
    return flat


def _from_array(array: Any) -> Image.Image:
    import numpy as np

    values: np.ndarray[Any, Any] = np.asarray(array)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise UnreadableItemError(
            f"an array of shape {values.shape} and dtype {values.dtype}; an image is (H, W), (H, W, 3) or (H, W, 4) of uint8"
        )
    return Image.fromarray(values)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
