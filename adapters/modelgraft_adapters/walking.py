"""What lies below a folder, links followed: but links that lead to each other make more paths than could ever be walked."""

from __future__ import annotations

import glob
import os
from typing import Final

from modelgraft.errors import UsageError

MOST_REPEATED: Final = 20_000
"""Files and folders that are met again by other links; so many, and more than there are, and links lead round in circles."""
Parts = tuple[str, ...]
"""A path below the root, folder by folder."""


def walk(folder: str) -> tuple[list[Parts], list[Parts]]:
    """Return all files and all folders below one, hidden ones left out, sorted.

    Links to folders are followed, but for those that lead to a folder they lie in.

    Raises:
        UsageError: links that lead to the same folders over and over.
    """
    files: list[Parts] = []
    directories: list[Parts] = []
    seen: set[tuple[int, int]] = set()
    entries = repeated = 0
    waiting: list[tuple[Parts, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while waiting:
        parts, above = waiting.pop()
        here = os.path.join(folder, *parts)
        try:
            state = os.stat(here)
            with os.scandir(here) as listing:
                found = list(listing)
        except OSError:  # gone meanwhile, or not ours to read
            found, state = [], None
        me = (state.st_dev, state.st_ino) if state is not None else (-1, -1)
        if me in above:
            continue
        if parts:
            directories.append(parts)
        entries += len(found)
        repeated += len(found) + 1 if me in seen else 0
        seen.add(me)
        # Two splits may well share a folder; what is met again must not outgrow what there is.
        if repeated > max(MOST_REPEATED, entries - repeated):
            raise UsageError(f"links in {folder!r} lead to the same folders over and over ({here!r}); remove some")
        below = above | {me}
        for entry in found:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                waiting.append(((*parts, entry.name), below))
            else:
                files.append((*parts, entry.name))
    return sorted(files), sorted(directories)


def matching(pattern: str) -> list[str]:
    """Return the paths that a pattern with ``*``, ``?``, ``[...]`` and ``**`` (any depth) names, sorted.

    Raises:
        UsageError: as `walk`.
    """
    if pattern == "**" or pattern.endswith("/**"):
        pattern += "/*"
    first, mark, rest = pattern.partition("**/")
    if not mark or (first and not first.endswith("/")):
        return sorted(glob.glob(pattern, recursive=False))
    found: dict[str, None] = {}
    for base in sorted(glob.glob(first)) if glob.has_magic(first) else [first]:
        for parts in [(), *walk(base or ".")[1]]:
            found.update(dict.fromkeys(matching(os.path.join(glob.escape(os.path.join(base, *parts)), rest))))
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Files and folders that systems leave behind: ``.DS_Store``, ``._1.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
