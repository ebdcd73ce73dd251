"""The parts that tables of what may be said are made of: each gives a value back, cleaned, or refuses it by its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from modelgraft.errors import UnsafeWeightsError, WeightsUnavailableError
from modelgraft.project.files import read_json, short
from modelgraft.trust import OWN_CODE

__all__ = [
    "Rule",
    "all_of",
    "as_file",
    "between",
    "channels",
    "either",
    "flag",
    "mapping",
    "number",
    "one_of",
    "plain",
    "record",
    "text",
    "word",
]

LARGEST: Final = 16 << 20
"""Bytes of the largest configuration that is read."""
MOST: Final = 1 << 31
"""Numbers above it, and below its negative, are no sizes of a model but memory that somebody wants."""
DEEPEST: Final = 1000
"""Layers of one kind; a model of a million takes for ever to be built, however small each is."""
_WORD: Final = re.compile(r"(?!.*\.[A-Za-z_.])[A-Za-z0-9_+. -]{0,100}", re.A)
"""Dots stand in versions and numbers, not in the path of something that could be imported."""
_DEPTH: Final = re.compile(r"(^|_)(layers?|depths?|blocks?|stages?|repeats?|experts)$")
_NESTED: Final = 12
_ITEMS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class At:
    """A place in a file: whose file, and the keys down to the value."""

    file: str
    """For the error: "sentence_bert_config.json of hub:user/repo"."""
    keys: tuple[str, ...] = ()

    def inside(self, key: object) -> At:
        """Go one key down."""
        return replace(self, keys=(*self.keys, str(key)))

    def refuse(self, why: str) -> NoReturn:
        """Say what is wrong here.

        Raises:
            UnsafeWeightsError: always.
        """
        raise UnsafeWeightsError(
            f"{self._named()} {why}; it is refused, since a configuration may name neither code nor places"
        )

    def asks_for_code(self) -> NoReturn:
        """Say that the model asks for code of its own.

        Raises:
            WeightsUnavailableError: always; the text says how to allow it.
        """
        raise WeightsUnavailableError(f"{self._named()}: {OWN_CODE}")

    def _named(self) -> str:
        at = ".".join(self.keys)
        return f"{self.file}: {short(at)[1:-1]}" if at else self.file


Rule = Callable[[At, Any], Any]
"""Takes a value at a place, gives what a library may see of it. Raises what `At.refuse` does."""


def config_of(path: Path, at: At) -> Any:
    """Read a stranger's configuration as plain JSON types, strictly: UTF-8, no key twice, no NaN, not too large.

    Raises:
        UnsafeWeightsError: it is no such file.
    """
    if path.stat().st_size > LARGEST:
        at.refuse(f"has {path.stat().st_size:,} bytes, more than any configuration")
    return read_json(path, lambda what: UnsafeWeightsError(f"{at.file} {what}"))


def as_file(value: Any) -> bytes:
    """Return plain JSON types as the content of a file."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def flag(at: At, value: Any) -> Any:
    """Pass true, false and null."""
    return value if value is None or isinstance(value, bool) else at.refuse(f"{short(value)} is neither true nor false")


def number(at: At, value: Any) -> Any:
    """Pass null and a finite number that could be a size of a model; layers are counted in hundreds."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > MOST:
        at.refuse(f"{short(value)} is no number that a model has there")
    if at.keys and _DEPTH.search(at.keys[-1]) and not 0 <= value <= DEEPEST:
        at.refuse(f"{short(value)} layers are no model")
    return value


def between(low: float, high: float) -> Rule:
    """Make a rule that passes null and the numbers from ``low`` to ``high``."""

    def rule(at: At, value: Any) -> Any:
        if number(at, value) is not None and (isinstance(value, bool) or not low <= value <= high):
            at.refuse(f"{short(value)} is not between {low:g} and {high:g}")
        return value

    return rule


def channels(rule: Rule) -> Rule:
    """Make a rule that passes null, and a number or a list of 1, 3 or 4 that pass ``rule``: one for each channel of an image."""

    def each(at: At, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) not in (1, 3, 4):
                at.refuse(f"{short(value)} are not as many as an image has channels")
            return all_of(rule)(at, value)
        return rule(at, value)

    return each


def word(at: At, value: Any) -> Any:
    """Pass null and a short text that is no path, no address and no repository with an owner."""
    if value is None:
        return None
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        at.refuse(f"{short(value)} is no plain word")
    return value


def text(at: At, value: Any) -> Any:
    """Pass null and any text: for what is only ever put before, or found in, the user's own texts."""
    return value if value is None or isinstance(value, str) else at.refuse(f"{short(value)} is no text")


def one_of(*values: Any) -> Rule:
    """Make a rule that passes these values and no other."""

    def rule(at: At, value: Any) -> Any:
        if not any(value is known or (type(value) is type(known) and value == known) for known in values):
            at.refuse(f"{short(value)} is none of {', '.join(str(known) for known in values if known is not None)}")
        return value

    return rule


def all_of(rule: Rule) -> Rule:
    """Make a rule that passes null and lists whose members pass ``rule``."""

    def each(at: At, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > _ITEMS:
            at.refuse(f"{short(value)} is no list")
        return [rule(at, inner) for inner in value]

    return each


def either(*rules: Rule) -> Rule:
    """Make a rule that passes what any of ``rules`` does; the last one says what is wrong."""

    def rule(at: At, value: Any) -> Any:
        for first in rules[:-1]:
            try:
                return first(at, value)
            except UnsafeWeightsError:
                continue
        return rules[-1](at, value)

    return rule


def mapping(rule: Rule, most: int = _ITEMS) -> Rule:
    """Make a rule that passes null and objects whose values pass ``rule``, whatever their keys are."""

    def each(at: At, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict) or len(value) > most:
            at.refuse(f"{short(value)} is no object")
        return {key: rule(at.inside(key), inner) for key, inner in value.items()}

    return each


def record(rules: Mapping[str, Rule | None], rest: Rule | None = None) -> Rule:
    """Make a rule for an object.

    Args:
        rules: key -> what may stand there; None leaves the key out.
        rest: for every other key; None refuses them.
    """

    def rule(at: At, value: Any) -> Any:
        if not isinstance(value, dict):
            at.refuse(f"{short(value)} is no object")
        out = {}
        for key, inner in value.items():
            known = rules.get(key, rest) if key in rules or rest is not None else None
            if key not in rules and rest is None:
                at.inside(key).refuse("is none of the keys that are taken from a stranger")
            if known is not None and (left := known(at.inside(key), inner)) is not LEFT_OUT:
                out[key] = left
        return out

    return rule


LEFT_OUT: Final = object()
"""Given back by a rule whose value is bookkeeping."""


def plain(at: At, value: Any) -> Any:
    """Pass flags, numbers, plain words, and lists of them."""
    if isinstance(value, list):
        return all_of(plain)(at.inside("[]"), value) if len(at.keys) < _NESTED else at.refuse("is nested too deeply")
    return word(at, value) if isinstance(value, str) else number(at, value)
