"""What is taken where nothing is named, and numbers of things as they are given. Imports no torch: the command line reads it."""

from __future__ import annotations

import json
import os
from numbers import Integral
from typing import Any, Final

from modelgraft.entry import Entry
from modelgraft.errors import UsageError

IMAGE_MODEL: Final = "embedded/sprig"
"""Comes inside the wheel: the first command needs no network."""
TEXT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
AUTO: Final = "auto"
"""A precision and an engine: what a sample of the items allows, and what was found fastest."""


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, Python's or numpy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_count(name: str, value: Any, least: int = 1) -> int | None:
    """Return a number of items, threads or such as an int; None where it is None, which chooses.

    Raises:
        UsageError: no whole number of ``least`` or more.
    """
    if value is None:
        return None
    if not is_whole(value) or value < least:
        raise UsageError(f"{name}={value!r}: a whole number, {least} or more; None chooses")
    return int(value)


def checked_model(model: Any) -> Any:
    """Return a model as it was given; a path as the name of a folder.

    Raises:
        UsageError: neither a name, a path, an entry nor a loaded backbone.
    """
    if isinstance(model, os.PathLike):
        return f"file:{os.path.abspath(os.path.expanduser(os.fspath(model)))}"
    if not isinstance(model, (str, Entry)) and not isinstance(getattr(model, "entry", None), Entry):
        raise UsageError(f"model={model!r:.100}: the name of a model, a folder, an entry, or a loaded backbone")
    return model


def parse_settings(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words; values are JSON where they read so, else text.

    Raises:
        UsageError: a word that reads otherwise.
    """
    found: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set {word!r} does not read NAME=VALUE, such as C=0.1")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
