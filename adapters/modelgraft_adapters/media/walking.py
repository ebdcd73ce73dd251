"""What lies below a folder, links followed: but links that lead to each other make more paths than could ever be walked."""

from __future__ import annotations

import fnmatch
import glob
import os
from dataclasses import dataclass
from typing import Final

from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.media.files import Unread
from modelgraft_adapters.media.formats import is_picture_name

MOST_REPEATED: Final = 20_000
"""Files and folders that are met again by other links; so many, and more than there are, and links lead round in circles."""
Parts = tuple[str, ...]
"""A path below the root, folder by folder."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What lies below a folder, hidden files and folders left out, each sorted."""

    root: str
    files: list[Parts]
    folders: list[Parts]
    closed: list[tuple[Parts, str]]
    """Folders that could not be looked into, and why: whatever lies in them is missing."""
    loose: list[tuple[Parts, str]]
    """Links that lead nowhere or to themselves and are not named as images (those are files, which cannot be read)."""

    @property
    def unread(self) -> list[Unread]:
        """Every path behind which something may lie that is missing."""
        return sorted(Unread(os.path.join(self.root, *parts), reason) for parts, reason in (*self.closed, *self.loose))

    def check_open(self) -> None:
        """Check that every folder could be looked into.

        Raises:
            ModelgraftError: one could not.
        """
        if self.closed:
            parts, reason = min(self.closed)
            raise ModelgraftError(
                f"{os.path.join(self.root, *parts)!r} is {reason}; what lies in it would be missing without a trace"
            )


def walk(folder: str) -> Walked:
    """Return what lies below a folder.

    Links to folders are followed, but for those that lead to a folder they lie in: what is there is met anyway.

    Raises:
        UsageError: links that lead to the same folders over and over.
    """
    files: list[Parts] = []
    directories: list[Parts] = []
    closed: list[tuple[Parts, str]] = []
    loose: list[tuple[Parts, str]] = []
    seen: set[tuple[int, int]] = set()
    entries = repeated = 0
    waiting: list[tuple[Parts, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while waiting:
        parts, above = waiting.pop()
        here = os.path.join(folder, *parts)
        try:
            state = os.stat(here)
            me = (state.st_dev, state.st_ino)
            if me in above:
                continue
            with os.scandir(here) as listing:
                found = list(listing)
        except OSError as error:
            closed.append((parts, _closed(error)))
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
            where = (*parts, entry.name)
            is_folder, reason = _kind(entry)
            if is_folder:
                waiting.append((where, below))
            elif reason and not is_picture_name(entry.name):
                loose.append((where, reason))
            else:
                files.append(where)
    return Walked(folder, sorted(files), sorted(directories), closed, loose)


def matching(pattern: str, unread: list[Unread] | None = None) -> list[str]:
    """Return the paths that a pattern with ``*``, ``?``, ``[...]`` and ``**`` (any depth) names, sorted.

    Args:
        unread: takes what could not be looked into on the way; Python's own glob passes over it.

    Raises:
        UsageError: as `walk`.
    """
    unread = [] if unread is None else unread
    if pattern == "**" or pattern.endswith("/**"):
        pattern += "/*"
    first, mark, rest = pattern.partition("**/")
    if not mark or (first and not first.endswith("/")):
        return sorted(_named(pattern, unread))
    found: dict[str, None] = {}
    for base in sorted(_named(first, unread)) if glob.has_magic(first) else [first]:
        walked = walk(base or ".")
        unread += [Unread(os.path.join(base, *parts), reason) for parts, reason in walked.closed]
        for parts in [(), *walked.folders]:
            found.update(dict.fromkeys(matching(os.path.join(glob.escape(os.path.join(base, *parts)), rest), unread)))
    return sorted(found)


def _named(pattern: str, unread: list[Unread]) -> list[str]:
    """What a pattern without ``**`` names."""
    if not glob.has_magic(pattern):
        return [pattern] if os.path.lexists(pattern) else []
    folder, name = os.path.split(pattern)
    found: list[str] = []
    for base in _named(folder, unread) if glob.has_magic(folder) else [folder]:
        if not glob.has_magic(name):  # nothing after the last slash: a folder
            path = os.path.join(base, name)
            found += [path] if (os.path.lexists(path) if name else os.path.isdir(base)) else []
            continue
        try:
            names = os.listdir(base or ".")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unread.append(Unread(base, _closed(error)))
            continue
        shown = name.startswith(".")
        found += [os.path.join(base, one) for one in fnmatch.filter(names, name) if shown or not one.startswith(".")]
    return found


def is_hidden(name: str) -> bool:
    """Files and folders that systems leave behind: ``.DS_Store``, ``._1.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def _kind(entry: os.DirEntry[str]) -> tuple[bool, str | None]:
    """Whether it is a folder, and of a link that leads to nothing why not."""
    try:
        if entry.is_dir():
            return True, None
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError as error:  # a link to itself
        return False, f"a link that cannot be followed: {error.strerror or error}"
    return False, "a link that leads nowhere" if broken else None


def _closed(error: OSError) -> str:
    return f"a folder that cannot be read: {error.strerror or error}"
