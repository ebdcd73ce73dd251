"""The names that folders, columns and fields go by in the world, and what each is taken for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from modelgraft_adapters.media.formats import is_picture_name

UNLABELLED: Final = "unlabelled"
_SPLITS: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("unlabelled", "unlabeled", "unsup", "unsupervised"), UNLABELLED),
}
"""What a split is called in folders, tables and shards, without signs, years and endings -> its name here."""
_HELD_OUT: Final = ("eval", "evaluation", "holdout", "heldout")
"""What is tested on where nothing is called ``test``, and else another ``val``."""

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
SPLIT_COLUMNS: Final = (
    *("split", "splits", "subset", "set", "partition", "fold", "dataset", "phase", "usage", "datasplit", "splitname"),
    *("datasetsplit", "traintest", "traintestsplit", "splittype", "setname", "datasettype"),
)
"""Compared without case and signs: ``Data_Split`` is ``datasplit``."""
GROUP_COLUMNS: Final = (
    *("group", "groups", "groupid", "patient", "patientid", "subjectid", "participant", "participantid", "caseid"),
    *("speaker", "speakerid", "author", "authorid", "userid", "video", "videoid", "sessionid", "authorname"),
)
"""Compared in the same way."""


def plain(name: str) -> str:
    """A name without case, blanks and signs: ``Data_Split`` and ``data split`` are one."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


@lru_cache(4096)
def _role(name: str) -> str | None:
    word = re.sub(r"(?:19|20)\d\d$", "", plain(name))
    word = re.sub(r"(?:set|split|data|images|imgs)$", "", word) or word
    return "held-out" if word in _HELD_OUT else _SPLITS.get(word)


def is_split(name: str) -> bool:
    """Whether a folder or value of this name is a split and no class: ``Train``, ``val2017``, ``test_set``, ``held-out``."""
    return _role(name) is not None


def is_like_split(name: str) -> bool:
    """Whether a word of a name is a split's: ``seg_train``."""
    return any(_role(word) is not None for word in re.split(r"[\W_\d]+", name) if word)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """What the splits of one source are called here: ``validation`` and ``dev`` are ``val``, ``eval`` and ``holdout`` are ``test``
    where nothing else is, and names that are not known stay as written."""
    roles = {name: _role(name) or name.strip() for name in dict.fromkeys(names)}
    held = "val" if "test" in roles.values() else "test"
    return {name: held if role == "held-out" else role for name, role in roles.items()}


def renamed(roles: Mapping[str, str]) -> tuple[str, ...]:
    """A note on splits that go by another name here."""
    found = [f"{name!r} is {role!r}" for name, role in roles.items() if name != role]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return (f"splits: {', '.join(found[:4])}{more}",) if found else ()


def looks_like_picture(value: Any) -> bool:
    """Whether a string reads as the path of an image: an image's suffix, one line, no longer than a path may be."""
    return isinstance(value, str) and len(value) < 4096 and "\n" not in value and is_picture_name(value.strip())


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
