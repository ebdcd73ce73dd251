"""Samples of more than 8 bit to 8: by the range that the file states, by a usual range that plainly holds them, or not at all.

A range that is guessed from the largest sample makes an image black by one sample of 1.004, and white by a no-data value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelgraft.errors import UnreadableItemError
from PIL import Image

if TYPE_CHECKING:
    import numpy as np

_BLOCK: Final = 1 << 20
"""Pixels that are worked on at once."""
_MARGIN: Final = 0.1
"""How far samples may lie beyond [0, 1] or [0, 255], as a share of it: what resampling overshoots by at most (Gibbs)."""
_DARKEST: Final = 0.25
"""The brightest sample of [0, 255] and [0, 65535] is at least so bright, as a share; else the range cannot be told."""
_FAR: Final = 1e-3
"""The share of samples that may lie beyond a usual range all the same."""
_NO_DATA: Final = (-9999.0, -99999.0, -32768.0, -32767.0, -3.4028234663852886e38, 3.4028234663852886e38)
"""What stands for no value by custom, in floats."""
_BITS, _INVERTED, _LEAST, _MOST, _SIGNED_LEAST, _SIGNED_MOST, _GDAL_NO_DATA = 258, 262, 280, 281, 340, 341, 42113


@dataclass(frozen=True, slots=True)
class Stated:
    """What a file says of its samples."""

    low: float | None = None
    high: float | None = None
    no_data: float | None = None
    inverted: bool = False
    """0 is white."""


def stated_by(image: Image.Image) -> Stated:
    """Return what a file that Pillow has opened says of its samples."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        # Pillow scales what PNG, PGM and JPEG 2000 state to 16 bit.
        whole = getattr(image, "format", None) in ("PNG", "PPM", "JPEG2000") and image.mode.startswith("I")
        return Stated(0.0, 65535.0) if whole or image.mode.startswith("I;16") else Stated()
    low, high = _number(tags, _SIGNED_LEAST), _number(tags, _SIGNED_MOST)
    if low is None or high is None or not low < high:
        low, high = _number(tags, _LEAST), _number(tags, _MOST)
    if low is None or high is None or not low < high:
        low, high = None, None
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** (_number(tags, _BITS) or 16) - 1
    return Stated(low, high, _number(tags, _GDAL_NO_DATA), _number(tags, _INVERTED) == 0)


def _number(tags: Any, tag: int) -> float | None:
    import math

    try:
        value = tags.get(tag)
        value = value[0] if isinstance(value, tuple) else value
        number = float(value.strip("\0 ") if isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
        return None
    return None if math.isinf(number) else number


def is_deep(image: Image.Image) -> bool:
    """Return whether an image's samples have more than 8 bit."""
    return image.mode == "F" or image.mode.startswith("I")


def scaled(image: Image.Image, stated: Stated) -> tuple[Image.Image, str | None]:
    """Return samples as 8 bit (``convert`` would clip them), and a note on those that are not shown as they are.

    The range is the one stated; else [0, 1] for floats, [0, 255] or [0, 65535] for whole numbers and [0, 255] for floats, where
    the samples plainly lie in it. NaN and the no-data value (as stated; of floats also those in use, -9999 ...) are black.

    Raises:
        UnreadableItemError: no sample is a finite number, or the range cannot be told.
    """
    import numpy as np

    missing = _missing_values(image, stated)
    found = _Looked.at(image, missing)
    if not found.count:
        raise UnreadableItemError("no sample of the image is a finite number")
    low, high = _range(image, stated, found, missing)
    out = Image.new("L", image.size)
    beyond = 0
    for row, block in blocks(image):
        values = np.asarray(block).astype(np.float64)
        absent = _absent(values, missing)
        with np.errstate(invalid="ignore", over="ignore"):
            places = (values - low) / (high - low)
            beyond += int(((places < 0) | (places > 1))[~absent].sum())
            shown = (places.clip(0, 1) * 255).round()
        shown = 255 - shown if stated.inverted else shown
        out.paste(Image.fromarray(np.where(absent, 0, shown).astype(np.uint8)), (0, row))
    total = image.width * image.height
    notes = []
    if found.absent:
        named = "".join(f", {value:g}" for value in missing)
        notes.append(f"{found.absent:,} of {total:,} samples hold no value (NaN{named}), shown as black")
    if beyond:
        notes.append(f"{beyond:,} of {total:,} samples lie beyond {low:g} to {high:g}, clipped")
    return out, "; ".join(notes) or None


@dataclass(slots=True)
class _Looked:
    """What the samples of an image are like."""

    low: float = float("inf")
    high: float = float("-inf")
    count: int = 0
    absent: int = 0

    @classmethod
    def at(cls, image: Image.Image, missing: tuple[float, ...]) -> _Looked:
        import numpy as np

        found = cls()
        for _, block in blocks(image):
            values: np.ndarray[Any, Any] = np.asarray(block).astype(np.float64)
            absent = _absent(values, missing)
            found.absent += int(absent.sum())
            values = values[np.isfinite(values) & ~absent]
            if values.size:
                found.count += values.size
                found.low, found.high = min(found.low, float(values.min())), max(found.high, float(values.max()))
        return found


def _missing_values(image: Image.Image, stated: Stated) -> tuple[float, ...]:
    if stated.no_data is not None:
        return (stated.no_data,) if stated.no_data == stated.no_data else ()
    return _NO_DATA if image.mode == "F" else ()


def _absent(values: np.ndarray[Any, Any], missing: tuple[float, ...]) -> np.ndarray[Any, Any]:
    import numpy as np

    absent = np.isnan(values)
    for value in missing:
        absent |= values == np.float64(np.float32(value)) if abs(value) > 1e30 else values == value
    return absent


def _range(image: Image.Image, stated: Stated, found: _Looked, missing: tuple[float, ...]) -> tuple[float, float]:
    if stated.low is not None and stated.high is not None:
        return stated.low, stated.high
    usual = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    for top in usual:
        if -_MARGIN * top <= found.low and found.high <= top * (1 + _MARGIN):
            if top > usual[0] and found.high < _DARKEST * top:
                break  # floats up to 30 may be a dark image, or one of 5 bit
            return 0.0, top
        if _share_beyond(image, top, missing) <= _FAR * found.count:
            return 0.0, top
    raise UnreadableItemError(
        f"samples from {found.low:g} to {found.high:g}, and the file does not say what is black and what is white; save it "
        "with 8 bit, or state them (TIFF's SMinSampleValue, SMaxSampleValue; GDAL_NODATA for what is no value)"
    )


def _share_beyond(image: Image.Image, top: float, missing: tuple[float, ...]) -> int:
    import numpy as np

    count = 0
    for _, block in blocks(image):
        values = np.asarray(block).astype(np.float64)
        finite = values[np.isfinite(values) & ~_absent(values, missing)]
        count += int(((finite < 0) | (finite > top)).sum())
    return count


def blocks(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in strips of about a million pixels, each with its first row: what is worked on is never held whole."""
    rows = max(1, _BLOCK // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))
