"""The names that folders, columns and fields go by in the world, and what each is taken for."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from modelgraft_adapters.formats import is_picture_name as is_picture

SPLITS: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("unlabelled", "unlabeled", "unsup", "unsupervised"), "unlabelled"),
}
"""What a split is called in folders, tables and shards -> its name here."""
UNLABELLED: Final = "unlabelled"

TEXT_COLUMNS: Final = (
    *("text", "texts", "sentence", "sentences", "review", "content", "question", "query", "utterance", "document"),
    *("comment", "message", "tweet", "body", "article", "title", "headline", "description", "abstract"),
)
IMAGE_COLUMNS: Final = (
    *("image", "images", "img", "picture", "photo", "path", "file", "filename", "file_name", "filepath", "file_path"),
    *("image_path", "img_path", "image_file", "image_name", "pixel_values"),
)
LABEL_COLUMNS: Final = (
    *("label", "labels", "class", "classes", "category", "categories", "target", "targets", "y", "class_name"),
    *("label_name", "label_text", "intent", "topic", "sentiment", "tags", "coarse_label", "fine_label", "cls"),
)
SPLIT_COLUMNS: Final = ("split", "subset", "set", "partition")


def split_name(name: str) -> str:
    """A split's name here: ``validation`` and ``dev`` are ``val``; names that are not known stay as written."""
    return SPLITS.get(name.strip().lower(), name.strip())


def is_split(name: str) -> bool:
    """Whether a folder or value of this name is a split and no class."""
    return name.strip().lower() in SPLITS


def looks_like_picture(value: Any) -> bool:
    """Whether a string reads as the path of a picture: a picture's suffix, one line, no longer than a path may be."""
    return isinstance(value, str) and len(value) < 4096 and "\n" not in value and is_picture(value.strip())


def clean(name: str) -> str:
    """A class name without blanks around it, in Unicode's composed form (macOS writes folder names decomposed)."""
    return unicodedata.normalize("NFC", name.strip())


def some(names: Any, most: int = 3) -> str:
    """The first of some names for a message: ``'a', 'b', 'c' and 4 more``."""
    listed = list(names)
    shown = ", ".join(repr(_short(str(name))) for name in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _short(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:197]}..."


def counted(count: int, what: str) -> str:
    """``1 item``, ``2 items``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
