"""The cells of a column of paths to paths: relative to the table or to the working folder, with either kind of separator."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Final

from modelgraft.errors import UsageError

from modelgraft_adapters.data.cells import in_text_file, is_missing, no_items
from modelgraft_adapters.data.names import some

_TRIED: Final = 200
"""Paths that are tried to tell how they are meant."""
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def paths_of(values: Sequence[Any], folder: str | None, column: str, table: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the path of each cell, an empty one where none stands, and notes.

    Paths are relative to the table's folder; if more are found from the working folder, or with ``\\\\`` for ``/``, they are
    meant so, and a note says it.

    Raises:
        UsageError: addresses instead of paths, or no path leads to a file.
    """
    cells = ["" if is_missing(in_text_file(value)) else os.fspath(_plain(value)).strip() for value in values]
    given = [cell for cell in cells if cell]
    if urls := [cell for cell in given if _ADDRESS.match(cell)]:
        raise UsageError(f"column {column!r} of {table} holds addresses ({urls[0]}); download the images first")
    home = folder or "."
    tried = given[:_TRIED]
    readings = [(base, slash) for slash in ("", "\\") for base in dict.fromkeys((home, "."))]
    found = [sum(os.path.lexists(_path(cell, *reading)) for cell in tried) for reading in readings]
    best = readings[found.index(max(found))]
    paths = [_path(cell, *best) if cell else "" for cell in cells]
    if not any(map(os.path.lexists, filter(None, paths))):
        raise UsageError(
            f"none of the {len(paths):,} images of {table} exists, the first is {some(paths[:1])}; "
            "paths are relative to the table's folder"
        )
    notes = []
    if best[0] != home:
        notes.append(f"the paths of column {column!r} are read from the working folder, not from the table's")
    if best[1]:
        notes.append(f"the paths of column {column!r} are read with / for \\")
    return paths, (*notes, *no_items(len(cells) - len(given), "a path"))


def _path(cell: str, base: str, slash: str) -> str:
    return os.path.join(base, cell.replace(slash, "/") if slash else cell)


def _plain(value: Any) -> str | os.PathLike[str]:
    return value if isinstance(value, (str, os.PathLike)) else str(value)
