"""A record: what the trial of one plugin found, in plain JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelgraft.cli.render import printable
from modelgraft.host.discovery import Found

__all__ = ["key_of"]

MOST_ENTRIES: Final = 200_000
"""Models of one plugin: a hundred times what the largest library has."""
MOST_SPECS: Final = 1000
"""Heads, verbs or sources of one plugin."""
MOST_NAME: Final = 300
"""Characters of the name of a model in a catalogue."""
MOST_BYTES: Final = 256 * 2**20
"""Bytes of the answer about one distribution."""


def new_record(found: Found) -> dict[str, Any]:
    """The record of a plugin that brings nothing (yet)."""
    brings_nothing: dict[str, Any] = {
        "entries": [],
        "heads": [],
        "verbs": [],
        "sources": [],
        "engines": [],
        "watched": [],
    }
    # ``late``: the seconds it was given, where these were not enough.
    # ``recognises``: whether it has a `modelgraft_recognise`.
    about = {"status": "ok", "error": None, "traceback": None, "late": None, "recognises": False}
    return {**found.to_dict(), **about, **brings_nothing}


def failed_record(found: Found, error: str, traceback: str | None = None) -> dict[str, Any]:
    """The record of a plugin that is left out."""
    return {**new_record(found), "status": "failed", "error": error, "traceback": traceback}


def key_of(record: Mapping[str, Any]) -> str:
    """`Found.key` of the plugin that a record is about."""
    return f"{record['distribution']}:{record['name']}"


def one_line(text: str, most: int = 1000) -> str:
    """A stranger's text for a line on a terminal: no line breaks, control or invisible characters, and an end."""
    text = printable(" ".join(text.split())[: most + 1])
    return text if len(text) <= most else text[:most] + "..."


def lines(text: str, most: int = 20_000) -> str:
    """As `one_line` for a text of several lines, of which the last are kept."""
    return "\n".join(printable(line[:1000]) for line in text[-most:].splitlines())
