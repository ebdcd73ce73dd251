"""A catalogue as a file: what a plugin ships as ``catalogue.json`` so that listing needs no model library.

``{"library": "timm", "version": "1.0.31", "entries": [...]}``, an entry a line, sorted by name: changes between versions of
the library stay readable in a diff.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from modelgraft.entry import Entry
from modelgraft.errors import PluginError

__all__ = ["installed_entries", "read_catalogue", "write_catalogue"]


def read_catalogue(path: Path) -> tuple[str, list[Entry]]:
    """The version a catalogue was written for, and its entries.

    Raises:
        OSError, ValueError: no such file, or not a catalogue.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return str(data["version"]), [Entry.from_dict(record) for record in data["entries"]]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a catalogue ({type(error).__name__}: {str(error)[:100]})") from None


def write_catalogue(path: Path, library: str, version: str, entries: Iterable[Entry]) -> None:
    """Write a catalogue."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    lines = [json.dumps(entry.to_dict(), ensure_ascii=False, separators=(",", ":")) for entry in ordered]
    head = f'{{"library": {json.dumps(library)}, "version": {json.dumps(version)}, "entries": [\n'
    path.write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def installed_entries(
    library: str, shipped: Path, describe: Callable[[list[Entry]], list[Entry]], name: str | None = None
) -> list[Entry]:
    """The shipped entries while the installed version of the library is the one they were written for.

    Args:
        library: the distribution that brings the models.
        describe: lists the installed library for real, given the shipped entries; called for any other version.
        name: what users call the library, if not by its distribution.

    Raises:
        PluginError: the library is not installed.
    """
    try:
        installed = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        raise PluginError(f"{name or library} is not installed; 'pip install {library}' brings it") from None
    version, known = read_catalogue(shipped)
    return known if version == installed else describe(known)
