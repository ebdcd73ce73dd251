"""What each field of everything a plugin announces must be: one table, read once, where the plugin is tried.

A field without a rule cannot be checked, so `check` fails on it and a test finds it. Types are meant exactly: what only looks like
a text or a number (a subclass, a bool, a numpy scalar) would come back from the snapshot as something else.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from modelgraft.entry import MODALITIES, TASKS, Entry, Weights
from modelgraft.errors import BadNameError
from modelgraft.names import Name
from modelgraft.specs import HEAD_NEEDS, HEAD_TASKS, HEAD_USES, EngineSpec, HeadSpec, SourceSpec, VerbSpec

__all__ = ["check_entry"]

Rule = Callable[[Any, str], None]
"""Called with a value and where it stands; raises ValueError with what it must be."""

MOST_JSON: Final = 64 * 1024
"""Characters that ``loader`` or ``preprocessing`` of one entry may take as JSON."""
_MOST_NAME: Final = 16 * 1024  # a saved adapter's name holds the path of its folder
_LOOKS_EMPTY: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters by their category, and nothing to see
_NAME_OF: Final = type.__dict__["__name__"]  # a metaclass could run code of its own
_TARGET: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check(spec: Any, where: str = "") -> None:
    """Refuse an `Entry`, `Weights`, `HeadSpec`, `VerbSpec`, `SourceSpec` or `EngineSpec` with a field that is not what it must be.

    Args:
        where: what is said before the name of the field.

    Raises:
        ValueError: which field, what it must be, and what it is.
    """
    rules = RULES[type(spec)]
    for field in fields(spec):
        rules[field.name](getattr(spec, field.name), where + field.name)


def check_entry(entry: Entry) -> None:
    """Refuse an entry with any field that is not what it must be; run once per plugin version, not at every start.

    Raises:
        ValueError: the name of the entry, the field, and what is wrong with it.
    """
    check(entry, f"the model {shown(entry.name)}: ")


def shown(value: Any, depth: int = 2) -> str:
    """Any object, in a few printable words; no code of its own runs."""
    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= 80 else f"{value[:60]!r}... ({len(value)} characters)"
    if kind is int and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    if kind in (bool, int, float, type(None)):
        return repr(value)
    if kind in (list, tuple) and depth:
        inner = ", ".join(shown(item, depth - 1) for item in value[:3]) + (", ..." if len(value) > 3 else "")
        return f"[{inner}]" if kind is list else f"({inner}{',' if len(value) == 1 else ''})"
    if kind is dict and depth:
        inner = ", ".join(f"{shown(k, 0)}: {shown(v, depth - 1)}" for k, v in [*value.items()][:3])
        return "{" + inner + (", ..." if len(value) > 3 else "") + "}"
    return f"an object of type {_NAME_OF.__get__(kind)[:60]!r}"


def _refuse(where: str, must: str, value: Any) -> None:
    raise ValueError(f"{where} must be {must}, not {shown(value)}")


def _text(must: str, most: int, least: int = 1, form: str | None = None) -> Rule:
    """A text of one line with nothing in it that a terminal would obey or hide."""
    pattern = re.compile(form) if form else None

    def rule(value: Any, where: str) -> None:
        if type(value) is not str or not least <= len(value) <= most or (pattern and not pattern.fullmatch(value)):
            _refuse(where, must, value)
        if not value.isprintable() or not _LOOKS_EMPTY.isdisjoint(value) or (value and not value.strip()):
            _refuse(where, f"{must}, without control, invisible or line-breaking characters", value)

    return rule


def _or_none(inner: Rule) -> Rule:
    def rule(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return rule


def _whole(most: int, least: int = 1) -> Rule:
    def rule(value: Any, where: str) -> None:
        if type(value) is not int or not least <= value <= most:
            _refuse(where, "a positive whole number" if least else "a whole number", value)

    return rule


def _figure(value: Any, where: str) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e15:
        _refuse(where, "a finite number", value)


def _yes_or_no(value: Any, where: str) -> None:
    if type(value) is not bool:
        _refuse(where, "True or False", value)


def _one_of(*known: str) -> Rule:
    def rule(value: Any, where: str) -> None:
        if type(value) is not str or value not in known:
            _refuse(where, f"one of {', '.join(known)}", value)

    return rule


def _each(inner: Rule, most: int, least: int = 0) -> Rule:
    """A tuple (or list) of different things."""

    def rule(value: Any, where: str) -> None:
        if type(value) not in (tuple, list):
            _refuse(where, "a tuple", value)
        if not least <= len(value) <= most:
            raise ValueError(f"{where} must hold {least} to {most} values, not {len(value)}")
        for n, item in enumerate(value):
            inner(item, f"{where}[{n}]")
        if len(set(value)) < len(value):
            twice = next(item for n, item in enumerate(value) if item in value[:n])
            raise ValueError(f"{where} must hold each value once, and holds {shown(twice)} twice")

    return rule


def _size(value: Any, where: str) -> None:
    if type(value) not in (tuple, list) or len(value) != 3:
        _refuse(where, "(channels, height, width)", value)
    for n, item in enumerate(value):
        _whole(2**20)(item, f"{where}[{n}]")


def _figures(value: Any, where: str) -> None:
    if type(value) is not dict:
        _refuse(where, "a dict of benchmark to number", value)
    if len(value) > 1000:
        raise ValueError(f"{where} must hold at most 1000 figures, not {len(value)}")
    for name, figure in value.items():
        _text("the name of a benchmark", 200)(name, f"{where}: a key")
        _figure(figure, f"{where}[{name!r}]")


def _json(printable: bool) -> Rule:
    """A dict of plain JSON types; tuples count as lists."""

    def rule(value: Any, where: str) -> None:
        if type(value) is not dict:
            _refuse(where, "a dict", value)
        _plain(value, where, printable, 20)
        if (long := len(json.dumps(value))) > MOST_JSON:
            raise ValueError(f"{where} must take at most {MOST_JSON:,} characters as JSON, not {long:,}")

    return rule


def _plain(value: Any, where: str, printable: bool, depth: int) -> None:
    kind = type(value)
    if depth == 0:
        raise ValueError(f"{where} is nested too deeply")
    if kind is dict:
        for key, inner in value.items():
            if type(key) is not str or not key.isprintable():
                _refuse(f"{where}: a key", "a printable text", key)
            _plain(inner, f"{where}[{shown(key)}]", printable, depth - 1)
    elif kind in (list, tuple):
        for n, inner in enumerate(value):
            _plain(inner, f"{where}[{n}]", printable, depth - 1)
    else:
        _plain_value(value, where, printable)


def _plain_value(value: Any, where: str, printable: bool) -> None:
    kind = type(value)
    if kind is str:
        if printable and not value.isprintable():
            _refuse(where, "a text without control characters", value)
        if any("\ud800" <= c <= "\udfff" for c in value):
            _refuse(where, "a text of whole characters (no surrogates)", value)
    elif kind is float:
        if not math.isfinite(value):
            _refuse(where, "a finite number", value)
    elif kind is int:
        if value.bit_length() > 63:
            _refuse(where, "a number of at most 63 bits", value)
    elif kind is not bool and value is not None:
        _refuse(where, "of a type that JSON has", value)


def _model(value: Any, where: str) -> None:
    _text("a model name", _MOST_NAME)(value, where)
    try:
        name = Name.parse(value)
    except BadNameError:
        name = None
    parts = value.replace(":", "/").split("/")
    if name is None or name.provider is None or name.revision is not None or str(name) != value:
        raise ValueError(f"{where}: {shown(value)} is not a full name of the form provider/model[:tag]")
    if "." in parts or ".." in parts or unicodedata.normalize("NFC", value) != value:
        raise ValueError(
            f"{where}: {shown(value)} is not a full name: parts '.' and '..' and split accents are not taken"
        )


def _repo(value: Any, where: str) -> None:
    _text("a repository of the hub (user/name)", 200, form=r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")(value, where)
    if {".", ".."} & set(value.split("/")):
        _refuse(where, "a repository of the hub (user/name)", value)


def _path(value: Any, where: str) -> None:
    _text("a path inside the repository", 1000)(value, where)
    if value.startswith("/") or "\\" in value or ".." in value.split("/"):
        _refuse(where, "a path inside the repository", value)


def _location(value: Any, where: str) -> None:
    if type(value) is str and value.startswith("file:") and len(value) < _MOST_NAME:
        return  # a path is what the disk says it is
    _text("a location scheme:rest", _MOST_NAME, form=r"[a-z][a-z0-9+.-]*:.+")(value, where)


def _target(value: Any, where: str) -> None:
    _text("package.module:name", 400)(value, where)
    if not _TARGET.fullmatch(value):
        _refuse(where, "package.module:name", value)


def _weights(value: Any, where: str) -> None:
    if type(value) is not Weights:
        _refuse(where, "a Weights object", value)
    check(value, f"{where}.")


_HELP = _text("a line of text", 1000)
_REVISION = _text("a revision", 300, form=r"[^\s@:]+")
_MODELS = _each(_model, 1000)
_PATTERNS = _each(_path, 200)

_NAMED: Final[Mapping[str, Rule]] = {
    "name": _text("a word of small letters, digits, '_' and '-'", 64, form=r"[a-z][a-z0-9_-]*"),
    "target": _target,
    "help": _HELP,
}
RULES: Final[Mapping[type, Mapping[str, Rule]]] = {
    Entry: {
        "name": _model,
        "modality": _one_of(*MODALITIES),
        "tasks": _each(_one_of(*TASKS), len(TASKS), least=1),
        "params": _or_none(_whole(10**15)),
        "embed_dim": _or_none(_whole(10**9)),
        "input_size": _or_none(_size),
        "max_tokens": _or_none(_whole(10**12)),
        "licence": _or_none(_text("a licence by its name", 500)),
        "preprocessing": _json(printable=True),
        "weights": _or_none(_weights),
        "aliases": _MODELS,
        "retired": _MODELS,
        "default": _yes_or_no,
        "score": _or_none(_one_of("softmax", "sigmoid")),
        "templates": _each(_text("a template", 2000), 1000),
        "metrics": _figures,
        "note": _or_none(_text("a line of text", 2000)),
        "loader": _json(printable=False),
        "plugin": _text("a text", 500, least=0),
        "distribution": _text("a text", 500, least=0),
        "revision": _or_none(_REVISION),
    },
    Weights: {
        "repo": _or_none(_repo),
        "filename": _or_none(_path),
        "url": _or_none(_text("an http or https address", 2000, form=r"https?://\S+")),
        "revision": _or_none(_REVISION),
        "sha256": _or_none(_text("64 hexadecimal digits", 64, form=r"[0-9a-f]{64}")),
        "size": _or_none(_whole(2**60, least=0)),
        "location": _or_none(_location),
        "files": _PATTERNS,
        "without": _PATTERNS,
        "configs": _PATTERNS,
    },
    HeadSpec: {
        "name": _text("a name of letters, digits, '.', '_' and '-'", 64, form=r"[A-Za-z0-9][A-Za-z0-9._-]*"),
        "target": _target,
        "help": _HELP,
        "tasks": _each(_one_of(*HEAD_TASKS), len(HEAD_TASKS), least=1),
        "needs": _each(_one_of(*HEAD_NEEDS), len(HEAD_NEEDS)),
        "uses": _each(_one_of(*HEAD_USES), len(HEAD_USES)),
    },
    VerbSpec: _NAMED,
    EngineSpec: _NAMED,
    SourceSpec: {
        "scheme": _text("a scheme of small letters, digits, '+', '.' and '-'", 64, form=r"[a-z][a-z0-9+.-]*"),
        "target": _target,
        "help": _HELP,
    },
}
"""Kind -> field -> what it must be."""
