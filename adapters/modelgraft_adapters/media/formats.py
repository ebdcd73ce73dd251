"""Which files are images, by name and by how they begin: those that are read, and those that must not go unseen."""

from __future__ import annotations

import os
from typing import Final

from modelgraft_adapters.media.files import open_regular

IMAGE_SUFFIXES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(
            ".ppm",
            ".pgm",
            ".pbm",
            ".pnm",
            ".pfm",
            ".jp2",
            ".j2k",
            ".j2c",
            ".jpc",
            ".jpf",
            ".jpx",
            ".avif",
            ".ico",
            ".tga",
        ),
    )
)
"""Of what `modelgraft_adapters.media.images` reads."""
OTHER_SUFFIXES: Final = frozenset(
    (
        *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".hdp", ".psd", ".psb", ".svg", ".svgz", ".eps", ".xcf"),
        *(
            ".exr",
            ".hdr",
            ".dcm",
            ".dds",
            ".qoi",
            ".pcx",
            ".sgi",
            ".icns",
            ".cur",
            ".flif",
            ".bpg",
            ".emf",
            ".wmf",
            ".fits",
        ),
        *(
            ".cr2",
            ".cr3",
            ".crw",
            ".nef",
            ".nrw",
            ".arw",
            ".srf",
            ".dng",
            ".orf",
            ".rw2",
            ".raf",
            ".pef",
            ".srw",
            ".x3f",
        ),
    )
)
"""Of images that are not read."""
_PLAIN: Final = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".md", ".yaml", ".yml", ".html", ".py", ".log")
)
"""Of texts: they are not opened to be looked at."""
_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "CR3",
}
_BEGINNINGS: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS |", "DDS"),
    (b"qoif", "QOI"),
    (b"icns", "ICNS"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"SIMPLE  =", "FITS"),
)
HEAD: Final = 132
"""Bytes that tell a format."""


def format_of(head: bytes) -> str | None:
    """Return what an image's format is called, by the first `HEAD` bytes; None where they are no image's."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "BMP"
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for begins, name in _BEGINNINGS if head.startswith(begins)), None)


def is_picture_name(name: str) -> bool:
    """Return whether a file of this name is an image that is read, by its suffix."""
    return _suffix(name) in IMAGE_SUFFIXES


def is_named_picture(name: str) -> bool:
    """Return whether a file of this name is an image, one that is read or not."""
    return _suffix(name) in IMAGE_SUFFIXES or _suffix(name) in OTHER_SUFFIXES


def begins_as_picture(path: str) -> bool:
    """Return whether a file that has no image's name begins as one. What cannot be opened does not."""
    if _suffix(path) in _PLAIN:
        return False
    try:
        with open_regular(path) as file:
            return format_of(file.read(HEAD)) is not None
    except OSError:
        return False


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
