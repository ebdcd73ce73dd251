"""The text of a lock file: written with a line per file of a model, and read so strictly that nothing wrong gets through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from typing import Any, Final

from modelgraft.errors import BadNameError, LockError, UnsafeWeightsError
from modelgraft.names import Name
from modelgraft.project.files import short
from modelgraft.resolution import Resolution

FORMAT: Final = 1

Refuse = Callable[[str], LockError]
"""Makes the error for what is wrong in the file at hand."""

_HEX: Final = {"sha256": re.compile(r"[0-9a-f]{8,64}"), "blob": re.compile(r"[0-9a-f]{40}")}
_LOCATION: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_SECRET: Final = re.compile(r"//[^/@]*@|hf_[A-Za-z0-9]{16,}", re.I)


def dumps(models: dict[str, Any]) -> str:
    """The whole file, for records in their order."""
    return _dumps({"modelgraft-lock": FORMAT, "models": models}) + "\n"


def loads(found: Any, refuse: Refuse) -> dict[str, Resolution]:
    """The models in what JSON gave, each field checked: what is wrong here would be wrong weights later.

    Raises:
        LockError: made by ``refuse``, with the place.
    """
    top = _object(found, refuse, "", {"modelgraft-lock", "models"})
    version = top["modelgraft-lock"]
    if type(version) is not int or version < 1:
        raise refuse(f"at modelgraft-lock: {short(version)} is no format number")
    if version > FORMAT:
        raise refuse(f"has format {short(version)}, and this modelgraft reads {FORMAT}; upgrade modelgraft")
    models = _object(top["models"], refuse, "models")
    return {name: resolution(name, models[name], refuse) for name in sorted(models)}


def unrevised(name: str) -> str:
    """The name without its revision."""
    try:
        return Name.parse(name).unrevised
    except BadNameError:
        return name  # a path with blanks is a name too, and has no revision


def _object(value: Any, refuse: Refuse, place: str, keys: set[str] | None = None, more: Set[str] = frozenset()) -> Any:
    """The dict itself, if it is one with ``keys`` and none but ``more`` beside them; None as ``keys`` lets any in."""
    at = f"at {place}: " if place else ""
    if not isinstance(value, dict):
        raise refuse(f"{at or 'is wrong: '}{short(value)} is no JSON object")
    if keys is not None:
        if missing := sorted(keys - value.keys()):
            raise refuse(f"{at or 'is wrong: '}{missing[0]!r} is missing")
        if unknown := sorted(value.keys() - keys - more):
            raise refuse(f"{at or 'is wrong: '}{short(unknown[0])} is not known here")
    return value


def _word(value: Any, refuse: Refuse, place: str, empty: bool = False) -> str:
    if not isinstance(value, str) or not value.isprintable() or not (value or empty):
        raise refuse(f"at {place}: {short(value)} is no text of one line")
    return value


def resolution(name: str, record: Any, refuse: Refuse) -> Resolution:
    """One record as a resolution; raises what ``refuse`` makes."""
    place = short(name)
    _word(name, refuse, "models")
    _object(record, refuse, place, {"licence", "plugin", "weights"})
    if record["licence"] is not None:
        _word(record["licence"], refuse, f"{place}, licence", empty=True)
    plugin = _object(record["plugin"], refuse, f"{place}, plugin", {"distribution", "version"})
    for key in ("distribution", "version"):
        _word(plugin[key], refuse, f"{place}, plugin, {key}", empty=True)
    if not isinstance(record["weights"], list):
        raise refuse(f"at {place}, weights: {short(record['weights'])} is no JSON array")
    for n, part in enumerate(record["weights"]):
        at = f"{place}, weights[{n}]"
        _object(part, refuse, at, {"location", "files"}, {"revision"})
        location = _word(part["location"], refuse, f"{at}, location")
        if not _LOCATION.fullmatch(location):
            raise refuse(f"at {at}, location: {short(location)} is not of the form scheme:place")
        if _SECRET.search(location):  # not quoted: it is what must not be seen
            raise refuse(f"at {at}, location: the address holds a password or token, which a lock file must not")
        if "revision" in part:
            _word(part["revision"], refuse, f"{at}, revision")
        for path, file in _object(part["files"], refuse, f"{at}, files").items():
            _file(file, refuse, f"{at}, file {short(path)}")
    try:
        return Resolution.from_dict(unrevised(name), record)
    except UnsafeWeightsError as error:
        raise refuse(f"at {place}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise refuse(f"at {place}: {' '.join(str(error).split())[:200]}") from None


def _file(record: Any, refuse: Refuse, place: str) -> None:
    _object(record, refuse, place, set(), {"size", *_HEX})
    if "size" in record and (type(record["size"]) is not int or record["size"] < 0):
        raise refuse(f"at {place}: size {short(record['size'])} is no number of bytes")
    for key, form in _HEX.items():
        if key in record and not (isinstance(record[key], str) and form.fullmatch(record[key])):
            raise refuse(f"at {place}: {key} {short(record[key])} is no such digest in hexadecimal")


def _dumps(value: Any, indent: int = 0, inline: bool = False) -> str:
    """JSON with one space per level; the innermost objects (a file, the plugin) on one line each."""
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    if not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=False)
    if inline and isinstance(value, dict) and not any(isinstance(v, (dict, list)) for v in value.values()):
        return json.dumps(value, ensure_ascii=False)
    items = value.items() if isinstance(value, dict) else [(None, item) for item in value]
    pad = " " * (indent + 1)
    lines = [
        pad
        + (json.dumps(key, ensure_ascii=False) + ": " if key is not None else "")
        + _dumps(item, indent + 1, inline=key is not None and indent >= 2)
        for key, item in items
    ]
    return f"{opening}\n" + ",\n".join(lines) + f"\n{' ' * indent}{closing}"
