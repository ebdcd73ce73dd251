"""The card of a saved adapter: everything needed to use it and to make it again, as JSON. Imports no torch.

Cards travel: the one that is read may be a stranger's, or damaged. Nothing in it is taken for granted, and nothing in it is run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from modelgraft.cli.render import printable
from modelgraft.entry import Entry
from modelgraft.errors import DamagedFileError, ModelgraftError, UsageError
from modelgraft.learning import Task
from modelgraft.project.files import short
from modelgraft.sealed import without_checksum
from modelgraft.specs import HEAD_TASKS

CARD_FILE: Final = "modelgraft_adapter.json"
"""Not ``modelgraft.json``: that is a project's file of aliases, and one may stand in the folder of an adapter and call it."""
HEAD_FILE: Final = "head.safetensors"
BACKBONE_FILE: Final = "backbone.safetensors"
"""What was trained of the backbone, where it was."""
README_FILE: Final = "README.md"
RUN_FOLDER: Final = "run"
"""Beside them, of an adapter that was trained in steps: its checkpoint and its log."""
FORMAT: Final = 2
"""1: heads on frozen backbones, which are still written as 1; 2: what was trained of the backbone too."""
PROVIDER: Final = "adapter"
"""The first part of the names of saved adapters."""
MOST_CLASSES: Final = 1_000_000
MOST_WIDTH: Final = 1 << 24
"""Numbers in one item's features: more is no adapter, but a card that wants memory."""
_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_REPO: Final = re.compile(r"hub:[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.A)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DTYPES: Final = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True, slots=True)
class Backbone:
    """What the card says of the backbone."""

    name: str
    """As `modelgraft.resolve` takes it."""
    revision: str | None
    """As the user asked for it; None is the newest."""
    commit: str | None
    """The exact revision of its weights, where their source has one."""
    modality: str
    weights: list[Mapping[str, Any]] | str | None
    """Of each place the files and their digests; a digest of all parameters where a loaded model was given; None for what comes
    inside a plugin."""
    sha256: str | None
    """Of weights that come inside a plugin, where they are stated."""
    distribution: str
    version: str
    licence: str | None
    repo: str | None
    """Its repository on the hub."""
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Card:
    """A card that has been checked. ``record`` is the whole of it, as plain JSON types."""

    record: Mapping[str, Any]
    backbone: Backbone
    modality: str
    """``image`` or ``text``: what the adapter reads."""
    layer: str | None
    dtype: str | None
    width: int
    """D, numbers in one item's features."""
    head: str
    head_distribution: str
    head_version: str
    head_settings: Mapping[str, Any]
    head_sha256: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    """Name -> (dtype, shape) in `HEAD_FILE`."""
    tuned: tuple[str, Mapping[str, tuple[str, tuple[int, ...]]]] | None
    """Of a backbone that was trained further: the digest of `BACKBONE_FILE`, and what is in it, by the names of the module."""
    low_rank: Mapping[str, tuple[float, bool]]
    """Weights that are stored as a change of low rank: scaling, and whether the weight is kept as (in, out)."""
    task: Task
    classes: tuple[str, ...]
    training: Mapping[str, Any]
    """Seed, folds, settings given and chosen, facts of the data: shown and kept, and not relied on."""
    scores: tuple[Mapping[str, Any], ...]
    """``name``, ``value``, ``low``, ``high``; the main one first."""
    evaluated: Mapping[str, Any] | None
    notes: tuple[str, ...]

    def summary(self) -> str:
        """One line for ``modelgraft info``."""
        shown = [printable(name[:60]) for name in self.classes[:5]]
        named = ", ".join(shown) + (", ..." if len(self.classes) > 5 else "")
        what = "columns" if self.task == "regression" else "classes"
        on = self.backbone.name + (" (fine-tuned)" if self.tuned else "")
        line = f"{self.head} on {on} ({self.task}), {len(self.classes)} {what}: {named}"
        if self.scores:
            line += f"; {shown_score(self.scores[0])}"
        return line


def shown_score(score: Mapping[str, Any]) -> str:
    """A score with its interval, where it has one."""
    if score["value"] is None:
        return f"{score['name']} unknown"
    interval = "" if score["low"] is None or score["high"] is None else f" ({score['low']:.3f} to {score['high']:.3f})"
    return f"{score['name']} {score['value']:.3f}{interval}"


def is_saved_adapter(entry: Entry) -> bool:
    """Whether an entry is a saved adapter, and no backbone."""
    return entry.name.startswith(f"{PROVIDER}/")


def resolvable(name: str) -> str:
    """The name of an entry as `modelgraft.resolve` takes it: one that no catalogue lists is known by its place."""
    place = name.partition("/")[2]
    if place.startswith("hub:"):
        return unquote(place)
    return f"file:{unquote(place[5:])}" if place.startswith("file:") else name


def plain(value: Any) -> Any:
    """Plain JSON types: tuples to lists, numbers of NumPy to numbers, what is not finite to None, anything else to text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else repr(value)


def check_folder(folder: Path) -> Path:
    """The folder that an adapter is saved to, links followed; asked before long work, not after it.

    Raises:
        UsageError: a file, or a folder that holds something else.
        ModelgraftError: it cannot be looked at.
    """
    folder = Path(os.path.realpath(folder.expanduser()))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder to save the adapter to")
    try:
        inside = os.listdir(folder) if folder.is_dir() else []
    except OSError as error:
        raise ModelgraftError(f"the folder {folder} cannot be read: {error.strerror}") from None
    if set(inside) - {RUN_FOLDER} and CARD_FILE not in inside:
        raise UsageError(f"the folder {folder} is not empty and holds no saved adapter; give another one")
    return folder


def read_card(value: Any, where: str) -> Card:
    """A card from parsed JSON.

    Args:
        where: what to call the adapter in an error.

    Raises:
        ModelgraftError: it is none, or not one that this version reads; the text says at which key.
    """
    top = _Object(value, where, "")
    version = top.value("modelgraft_adapter")
    if type(version) is not int or version < 1:
        top.refuse("modelgraft_adapter", f"{short(version)} is no format number (it reads {FORMAT})")
    if version > FORMAT:
        raise ModelgraftError(
            f"the saved adapter {where} has format {short(version)}, and this modelgraft reads {FORMAT}; upgrade modelgraft"
        )
    features, head = top.object("features"), top.object("head")
    task = top.one_of("task", HEAD_TASKS)
    evaluated = top.optional_object("evaluation")
    tuned = top.object("tuned") if version > 1 and "tuned" in top.fields else None
    card = Card(
        record=top.fields,
        backbone=_backbone(top.object("backbone")),
        modality=features.one_of("modality", ("image", "text")),
        layer=features.optional_text("layer"),
        dtype=features.one_of("dtype", _DTYPES) if features.value("dtype") is not None else None,
        width=features.whole("width", 1, MOST_WIDTH),
        head=head.text("name"),
        head_distribution=head.distribution("distribution"),
        head_version=head.text("version", empty=True),
        head_settings=head.object("settings").fields,
        head_sha256=head.digest("sha256"),
        tensors=_tensors(head.object("tensors")),
        tuned=None if tuned is None else (tuned.digest("sha256"), _tensors(tuned.object("tensors"))),
        low_rank={} if tuned is None or "low_rank" not in tuned.fields else _low_rank(tuned.object("low_rank")),
        task=task,  # type: ignore[arg-type]
        classes=_classes(top),
        training=top.object("training").fields,
        scores=_scores(evaluated) if evaluated else (),
        evaluated=evaluated.fields if evaluated else None,
        notes=tuple(top.texts("notes")),
    )
    try:  # last: what is wrong at a key is told as that; a card that somebody wrote by hand may state no checksum
        without_checksum(top.fields, f"the card of the saved adapter {where} ({CARD_FILE})", needed=False)
    except DamagedFileError as error:
        raise DamagedFileError(
            f"{error}; get a whole copy (who changed it on purpose takes its key 'checksum' out)"
        ) from None
    return card


def _backbone(found: _Object) -> Backbone:
    name = found.text("name")
    weights = found.value("weights")
    if isinstance(weights, list):
        if not all(_is_part(part) for part in weights):
            found.refuse("weights", "not a list of places, each with its files and their digests")
    elif weights is not None and not (isinstance(weights, str) and _DIGEST.fullmatch(weights)):
        found.refuse("weights", f"{short(weights)} is no digest")
    # A name of this project's own would mean what the reader's project says, so only full names and places are names here.
    if not name.startswith(("hub:", "file:")):
        try:
            Entry(name=name, modality="image", tasks=("features",)).check()
        except (ValueError, ModelgraftError):
            found.refuse("name", f"{short(name)} is no full name of a model")
        if name.startswith(f"{PROVIDER}/"):
            found.refuse("name", f"{short(name)} is a saved adapter, and no backbone")
        if name.partition("/")[2].startswith(("hub:", "file:")):  # what begins otherwise must not end as a place
            found.refuse("name", f"{short(name)} is a place and no name")
    elif name.startswith("hub:") and not _REPO.fullmatch(name):
        found.refuse("name", f"{short(name)} is no repository of the hub (or holds a revision)")
    elif name.startswith("file:") and os.path.abspath(name[5:]) != name[5:]:
        found.refuse("name", f"{short(name)} is no whole path of a folder")
    return Backbone(
        name=name,
        revision=found.revision("revision"),
        commit=found.revision("commit"),
        modality=found.one_of("modality", ("image", "text", "image-text")),
        weights=weights,
        sha256=found.digest("sha256") if found.value("sha256") is not None else None,
        distribution=found.distribution("distribution"),
        version=found.text("version", empty=True),
        licence=found.optional_text("licence"),
        repo=found.optional_text("repo"),
        preprocessing=found.object("preprocessing").fields,
    )


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("files"), dict):
        return False
    return all(isinstance(path, str) and isinstance(digest, str) for path, digest in part["files"].items())


def _classes(top: _Object) -> tuple[str, ...]:
    names = top.texts("classes")
    if not 1 <= len(names) <= MOST_CLASSES or len(set(names)) != len(names):
        top.refuse("classes", "not a list of one or more different names")
    return tuple(names)


def _tensors(found: _Object) -> dict[str, tuple[str, tuple[int, ...]]]:
    out = {}
    for name, about in found.fields.items():
        good = isinstance(about, dict) and isinstance(about.get("dtype"), str) and isinstance(about.get("shape"), list)
        if not good or not all(type(n) is int and 0 <= n < 1 << 48 for n in about["shape"]) or len(about["shape"]) > 8:
            found.refuse(name, f"{short(about)} is no dtype and shape")
        out[name] = (about["dtype"], tuple(about["shape"]))
    return out


def _scores(found: _Object) -> tuple[Mapping[str, Any], ...]:
    scores = found.value("scores")
    if not isinstance(scores, list):
        found.refuse("scores", "not a list")
    for score in scores:
        numbers = [score.get(key) for key in ("value", "low", "high")] if isinstance(score, dict) else ["none"]
        if not all(number is None or _is_number(number) for number in numbers) or not isinstance(
            score.get("name"), str
        ):
            found.refuse("scores", f"{short(score)} is no name, value, low and high")
    return tuple({"low": None, "high": None, "value": None, **score} for score in scores)


def _is_number(value: Any) -> bool:
    # An int that no float holds would fail where it is shown.
    return type(value) in (int, float) and abs(value) < 1e300


def _low_rank(found: _Object) -> dict[str, tuple[float, bool]]:
    out = {}
    for name, about in found.fields.items():
        scaling, turned = (about.get(key) for key in ("scaling", "turned")) if isinstance(about, dict) else (None, None)
        if type(scaling) is not float or not 0 < scaling < math.inf or type(turned) is not bool:
            found.refuse(name, f"{short(about)} is no scaling above 0 and whether the weight is turned")
        out[name] = (scaling, turned)
    return out


class _Object:
    """One object of the card, and where it is."""

    def __init__(self, fields: Any, where: str, at: str) -> None:
        self._where, self._at = where, at
        if not isinstance(fields, dict):
            self.refuse("", f"{short(fields)} is no JSON object")
        self.fields: dict[str, Any] = fields

    def refuse(self, key: str, why: str) -> NoReturn:
        """Say what is wrong at a key."""
        at = ".".join(filter(None, (self._at, key)))
        at = short(at)[1:-1] if at else "its top"
        raise ModelgraftError(
            f"the card of the saved adapter {self._where} ({CARD_FILE}) is wrong at {at}: {why}; save the adapter again, or get a "
            "whole copy of it"
        )

    def value(self, key: str) -> Any:
        """The value at a key, which must be there."""
        if key not in self.fields:
            self.refuse(key, "it is missing")
        return self.fields[key]

    def object(self, key: str) -> _Object:
        """The object at a key."""
        return _Object(self.value(key), self._where, ".".join(filter(None, (self._at, key))))

    def optional_object(self, key: str) -> _Object | None:
        """The object at a key, or None where that stands there."""
        return None if self.value(key) is None else self.object(key)

    def text(self, key: str, *, empty: bool = False) -> str:
        """A text of one line."""
        value = self.value(key)
        if not isinstance(value, str) or not (value or empty) or not value.isprintable() or len(value) > 5000:
            self.refuse(key, f"{short(value)} is no text of one line")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text of one line, or None."""
        return None if self.value(key) is None else self.text(key)

    def revision(self, key: str) -> str | None:
        """A revision, or None."""
        value = self.optional_text(key)
        if value is not None and (not re.fullmatch(r"[\w.][\w./-]{0,250}", value, re.A) or ".." in value):
            self.refuse(key, f"{short(value)} is no revision")
        return value

    def distribution(self, key: str) -> str:
        """The name of a distribution."""
        value = self.text(key)
        if not _DISTRIBUTION.fullmatch(value):
            self.refuse(key, f"{short(value)} is no name of a distribution")
        return value

    def digest(self, key: str) -> str:
        """A SHA-256 in hexadecimal."""
        value = self.text(key)
        if not _DIGEST.fullmatch(value):
            self.refuse(key, f"{short(value)} is no SHA-256")
        return value

    def one_of(self, key: str, words: Sequence[str]) -> str:
        """One of some words."""
        value = self.value(key)
        if not isinstance(value, str) or value not in words:
            self.refuse(key, f"{short(value)} is none of {', '.join(words)}")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number between two others, both included."""
        value = self.value(key)
        if type(value) is not int or not low <= value <= high:
            self.refuse(key, f"{short(value)} is no whole number from {low} to {high}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        value = self.value(key)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.refuse(key, f"{short(value)} is no list of texts")
        return value
