"""The card of a saved adapter: everything needed to use it and to make it again, as JSON. Imports no torch.

Cards travel: the one that is read may be a stranger's, or damaged. Nothing in it is taken for granted, and nothing in it is run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from modelgraft.cli.render import printable
from modelgraft.entry import Entry
from modelgraft.errors import DamagedFileError, ModelgraftError, UsageError
from modelgraft.fields import check_entry
from modelgraft.learning import Task
from modelgraft.project.files import short
from modelgraft.sealed import without_checksum
from modelgraft.specs import HEAD_TASKS

from modelgraft_adapters.saved.card_fields import CARD_FILE as CARD_FILE
from modelgraft_adapters.saved.card_fields import DIGEST, Fields

HEAD_FILE: Final = "head.safetensors"
BACKBONE_FILE: Final = "backbone.safetensors"
"""What was trained of the backbone, where it was."""
REFERENCE_FILE: Final = "reference.safetensors"
"""A small sketch of the training features, where one was made: earlier versions made none, and read cards that state one."""
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
_REPO: Final = re.compile(r"hub:[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.A)
_OF_DTYPE: Final[dict[str, tuple[type, float, float]]] = {
    "str": (str, 0, 0),
    "bool": (bool, 0, 1),
    **{f"int{bits}": (int, -(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (int, 0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
    **{name: (float, -most, most) for name, most in (("float16", 65504.0), ("float32", 3.4e38), ("float64", 1.7e308))},
}
"""Of values of classes: their type in JSON, the least and the most."""
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
    beside: str | None = None
    """Of one in a folder: where that lies, as seen from the adapter's folder."""
    code: str | None = None
    """A digest of the plugin's files; None in cards of before, and where it could not be known."""


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
    reference: tuple[int, str, Mapping[str, tuple[str, tuple[int, ...]]]] | None
    """Training items that the reference is of, the digest of `REFERENCE_FILE`, and what is in it; None where there is none."""
    calibration: tuple[float, tuple[float, ...], str] | None
    """As `metrics.calibration.Calibration` has it: temperature, strangeness, source."""
    task: Task
    classes: tuple[str, ...]
    class_values: tuple[str, tuple[Any, ...]] | None
    """The classes as the labels that were trained on are: a dtype of NumPy, and C values of it. None where they are the names."""
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
    top = Fields(value, where, "")
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
    reference = top.object("reference") if top.fields.get("reference") is not None else None
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
        reference=None if reference is None else _reference(reference),
        calibration=_calibration(top.object("calibration")) if top.fields.get("calibration") is not None else None,
        task=task,  # type: ignore[arg-type]
        classes=_classes(top),
        class_values=_class_values(top) if top.fields.get("class_values") is not None else None,
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


def _backbone(found: Fields) -> Backbone:
    name = found.text("name")
    weights = found.value("weights")
    if isinstance(weights, list):
        if not all(_is_part(part) for part in weights):
            found.refuse("weights", "not a list of places, each with its files and their digests")
    elif weights is not None and not (isinstance(weights, str) and DIGEST.fullmatch(weights)):
        found.refuse("weights", f"{short(weights)} is no digest")
    # A name of this project's own would mean what the reader's project says, so only full names and places are names here.
    if not name.startswith(("hub:", "file:")):
        try:
            check_entry(Entry(name=name, modality="image", tasks=("features",)))
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
        beside=_beside(found, name),
        code=found.text("code") if found.fields.get("code") else None,
    )


def _beside(found: Fields, name: str) -> str | None:
    if found.fields.get("beside") is None:
        return None
    place = found.text("beside")
    if (
        not name.startswith("file:")
        or os.path.isabs(place)
        or os.path.normpath(place) != place
        or place.startswith("~")
    ):
        found.refuse("beside", f"{short(place)} is no path from the adapter's folder to that of its backbone")
    return place


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("files"), dict):
        return False
    return all(isinstance(path, str) and isinstance(digest, str) for path, digest in part["files"].items())


def _classes(top: Fields) -> tuple[str, ...]:
    names = top.texts("classes")
    if not 1 <= len(names) <= MOST_CLASSES or len(set(names)) != len(names):
        top.refuse("classes", "not a list of one or more different names")
    return tuple(names)


def _class_values(top: Fields) -> tuple[str, tuple[Any, ...]]:
    found, count = top.object("class_values"), len(_classes(top))
    dtype, values = found.one_of("dtype", tuple(_OF_DTYPE)), found.value("values")
    kind, least, most = _OF_DTYPE[dtype]
    good = isinstance(values, list) and len(values) == count and all(type(one) is kind for one in values)
    if not good or (kind in (int, float) and not all(least <= one <= most for one in values)):
        found.refuse("values", f"{short(values)} are no {count} values of {dtype}, one for each class")
    if len(set(values)) != count:
        found.refuse("values", "two classes have one value")
    return dtype, tuple(values)


def _tensors(found: Fields) -> dict[str, tuple[str, tuple[int, ...]]]:
    out = {}
    for name, about in found.fields.items():
        good = isinstance(about, dict) and isinstance(about.get("dtype"), str) and isinstance(about.get("shape"), list)
        if not good or not all(type(n) is int and 0 <= n < 1 << 48 for n in about["shape"]) or len(about["shape"]) > 8:
            found.refuse(name, f"{short(about)} is no dtype and shape")
        out[name] = (about["dtype"], tuple(about["shape"]))
    return out


def _calibration(found: Fields) -> tuple[float, tuple[float, ...], str]:
    temperature, strangeness = found.value("temperature"), found.value("strangeness")
    if not _is_number(temperature) or temperature <= 0:
        found.refuse("temperature", f"{short(temperature)} is no number above 0")
    if not isinstance(strangeness, list) or not strangeness or not all(map(_is_number, strangeness)):
        found.refuse("strangeness", f"{short(strangeness)} is no list of numbers")
    return float(temperature), tuple(map(float, strangeness)), found.text("source")


def _reference(found: Fields) -> tuple[int, str, Mapping[str, tuple[str, tuple[int, ...]]]]:
    return found.whole("items", 1, 1 << 48), found.digest("sha256"), _tensors(found.object("tensors"))


def _scores(found: Fields) -> tuple[Mapping[str, Any], ...]:
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


def _low_rank(found: Fields) -> dict[str, tuple[float, bool]]:
    out = {}
    for name, about in found.fields.items():
        scaling, turned = (about.get(key) for key in ("scaling", "turned")) if isinstance(about, dict) else (None, None)
        if type(scaling) is not float or not 0 < scaling < math.inf or type(turned) is not bool:
            found.refuse(name, f"{short(about)} is no scaling above 0 and whether the weight is turned")
        out[name] = (scaling, turned)
    return out
