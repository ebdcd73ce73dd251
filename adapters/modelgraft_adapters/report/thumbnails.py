"""Items as a page shows them: small JPEGs as ``data:`` URIs, and quotes of texts."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np
from modelgraft.errors import UnreadableItemError
from PIL import Image

from modelgraft_adapters.media.images import read_image

SIDE: Final = 128
"""Pixels of a thumbnail's longer side, at most."""
LONGEST_QUOTE: Final = 280


def thumbnail(item: Any) -> str | None:
    """An image as a JPEG ``data:`` URI of at most 128 x 128 pixels; None where it cannot be read."""
    try:
        image, _ = read_image(item)
    except UnreadableItemError:
        return None
    image = image.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82, optimize=True)  # of the pixels alone: no EXIF, no place, no camera
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def quote(item: Any) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(str(item).split())
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def heat_map(values: np.ndarray) -> str:
    """Numbers (H, W) in [0, 1] as a PNG ``data:`` URI, a pixel each: opacity is the value, so it suits light and dark pages."""
    shape = values.shape
    pixels = np.empty((*shape, 4), np.uint8)
    pixels[..., :3] = (46, 111, 208)
    pixels[..., 3] = np.round(
        255 * np.sqrt(values.clip(0, 1))
    )  # a square root, so that rare confusions are seen at all
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
