"""One picture, as it lies in the world, to the upright 8-bit RGB picture that preprocessing expects.

Done here once for all providers, because the libraries' own transforms start from an RGB picture and what comes before is
where results silently differ: EXIF orientation, transparency, 16-bit and float samples, CMYK, animation.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelgraft.errors import UnreadableItemError
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    import numpy as np

LONG_SIDE_RATIO = 5.0
"""From this aspect ratio on a note is made: a centre crop sees a fifth of the picture or less."""


def read_image(source: str | os.PathLike[str] | Image.Image | Any) -> tuple[Image.Image, str | None]:
    """Read a picture from a path, a file in memory (`io.BytesIO`), an object with ``read_bytes()`` (a file in an archive), a
    PIL picture, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8.

    Orientation from EXIF is applied; transparency is laid on white; 16-bit and float samples are scaled to 8 bit by the range
    of their kind, not clipped; of an animation or a multi-page file the first picture is taken.

    Returns:
        the RGB picture, and a note on what a user should know of it (None mostly).

    Raises:
        UnreadableItemError: not a file, not a picture, damaged, or larger than Pillow's safety limit.
    """
    if isinstance(source, Image.Image):
        return to_rgb(source), None
    if not isinstance(source, (str, os.PathLike)) and hasattr(source, "read_bytes"):
        source = io.BytesIO(_content(source))
    if not isinstance(source, (str, os.PathLike, io.BytesIO)):
        return to_rgb(_from_array(source)), None
    try:
        with _open(source) as image:
            notes = []
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                notes.append(f"{frames} frames, the first is taken")
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise UnreadableItemError(
                    f"{image.width}x{image.height} pixels is over the safety limit of {limit:,}; resize it first"
                )
            image.load()
            ratio = max(image.size) / min(image.size)
            if ratio >= LONG_SIDE_RATIO:
                notes.append(
                    f"{ratio:.0f} times longer than wide; a model that crops the centre sees 1/{ratio:.0f} of it"
                )
            return to_rgb(image), "; ".join(notes) or None
    except UnreadableItemError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableItemError(f"over Pillow's safety limit, maybe a decompression bomb: {_line(error)}") from None
    except MemoryError:
        raise UnreadableItemError("does not fit into memory") from None
    except Exception as error:
        # Pillow's decoders raise a dozen kinds of error for damaged files (OSError, SyntaxError, struct.error, ValueError ...).
        raise UnreadableItemError(f"damaged or unsupported picture: {_line(error)}") from None


def _content(source: Any) -> bytes:
    try:
        return bytes(source.read_bytes())
    except UnreadableItemError:
        raise
    except Exception as error:  # whatever archive it lies in
        raise UnreadableItemError(f"cannot be read: {_line(error)}") from None


def _open(source: str | os.PathLike[str] | io.BytesIO) -> Image.Image:
    try:
        return Image.open(source)
    except FileNotFoundError:
        raise UnreadableItemError("no such file") from None
    except IsADirectoryError:
        raise UnreadableItemError("a folder, not a file") from None
    except PermissionError:
        raise UnreadableItemError("no permission to read it") from None
    except UnidentifiedImageError:
        empty = not source.getbuffer() if isinstance(source, io.BytesIO) else Path(source).stat().st_size == 0
        raise UnreadableItemError("the file is empty" if empty else "not a picture of a format Pillow reads") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB of a PIL picture of any mode. The picture given is not changed."""
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:
        pass  # a damaged EXIF block says nothing about orientation; the pixels are good
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode == "F" or mode.startswith("I"):
        return _scaled(image).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Samples of 16 or 32 bit or floats to 8 bit (``convert`` would clip them).

    ``I;16``: 65535 -> 255. ``I`` and ``F``: by the smallest usual range that holds the values, [0, 1] (floats), [0, 255],
    [0, 65535], else their own minimum and maximum.
    """
    import numpy as np

    values = np.asarray(image).astype(np.float64)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if image.mode.startswith("I;16"):
        top = 65535.0
    elif low < 0 or high > 65535:
        values, top = values - low, max(high - low, 1e-12)
    else:
        top = 1.0 if image.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0
    scaled = np.nan_to_num(values * (255.0 / top)).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(scaled)


def _from_array(array: Any) -> Image.Image:
    import numpy as np

    values: np.ndarray[Any, Any] = np.asarray(array)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise UnreadableItemError(
            f"an array of shape {values.shape} and dtype {values.dtype}; a picture is (H, W), (H, W, 3) or (H, W, 4) of uint8"
        )
    return Image.fromarray(values)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
