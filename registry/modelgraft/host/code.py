"""Which code is installed: what must be known before anything that code has computed is taken from a cache.

A version does not say it: a plugin is reinstalled at the same version, edited where it lies, or installed editable. So the files
are looked at. Code that cannot be known has no digest, and nothing computed by it is to be kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distribution
from importlib.util import find_spec
from typing import Final

from modelgraft.host.discovery import GROUP, OWN_DISTRIBUTION

__all__ = ["class_code_digest", "library_digest", "plugin_code_digest"]

_READ: Final = 2**25
"""A file of more bytes (weights within a package) is known by its size and times, the one of change among them."""
_first: dict[tuple[str, ...], str | None] = {}
"""What was found first in this process: the code that runs, whatever is in the files later."""


def plugin_code_digest(name: str, plugin: str = "") -> str | None:
    """Return a digest of every file of the packages that an installed distribution brings; None where it cannot be known.

    None too once the files change under the running process: which of them it runs nobody can tell.

    Args:
        name: the distribution. Of modelgraft itself, only the package of ``plugin`` counts.
        plugin: the plugin's key (`discovery.Found.key`).
    """
    try:
        tops = _tops(distribution(name), plugin)
    except Exception:  # not installed, or metadata that cannot be read
        return None
    return _settled(("distribution", name, plugin), tops)


def class_code_digest(kind: type) -> str | None:
    """Return a digest of the files that a class and its bases are from; None where one is from no file.

    A class that is written in a notebook or at a prompt is from no file: it can be another at any time. Of a module in a package
    the whole package counts, of a script what lies beside it; of the standard library, torch and modelgraft's contract nothing.
    """
    paths: dict[str, list[str]] = {}
    for name in sorted({base.__module__ for base in kind.__mro__}):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("torch", OWN_DISTRIBUTION):
            continue
        file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str) or not os.path.isfile(file):
            return None
        folders = getattr(sys.modules.get(top), "__path__", None)
        if folders is not None:
            paths[top] = sorted(map(str, folders))
        else:  # what a script imports lies beside it; what it reads may be anything
            folder = os.path.dirname(file)
            paths[file] = [os.path.join(folder, found) for found in sorted(os.listdir(folder)) if found.endswith(".py")]
    found = [_settled(("class", name), inside) for name, inside in paths.items()]
    return None if None in found else hashlib.sha256(repr(found).encode()).hexdigest()[:32]


@cache
def library_digest(name: str) -> str | None:
    """Return what tells one build of an installed library from another of the same version; None if it is not installed.

    That is its RECORD, which holds the digests of its files; of an editable one, the files.
    """
    try:
        dist = distribution(name)
        record = dist.read_text("RECORD")
        if record and not is_editable(dist):
            return hashlib.sha256(record.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        # A torch that is built by hand states its commit as its version.
        return None if name == "torch" else _digest(_tops(dist, ""))
    except Exception:
        return None


def _settled(key: tuple[str, ...], paths: list[str]) -> str | None:
    found = _digest(paths, key[0] == "class")
    if _first.setdefault(key, found) != found:
        return None
    return found


def _tops(dist: Distribution, plugin: str) -> list[str]:
    """Files and folders of the top-level modules that a distribution brings, as an import finds them."""
    points = [point for point in dist.entry_points if point.group == GROUP]
    if dist.metadata["Name"] == OWN_DISTRIBUTION:
        points = [point for point in points if f"{OWN_DISTRIBUTION}:{point.name}" == plugin] or points
        names = {_top(point) for point in points}
    else:
        names = {_top(point) for point in points} | {*(dist.read_text("top_level.txt") or "").split()}
        for path in dist.files or ():
            first = path.parts[0] if path.parts else ""
            if len(path.parts) > 1 and first.isidentifier() and first != "__pycache__":
                names.add(first)
            elif len(path.parts) == 1 and path.suffix in (".py", ".so", ".pyd"):
                names.add(first.partition(".")[0])
    paths: list[str | None] = []
    for name in sorted(names):
        spec = find_spec(name)
        if spec is None:
            continue
        paths += [*spec.submodule_search_locations] if spec.submodule_search_locations is not None else [spec.origin]
    found = [path for path in paths if isinstance(path, str) and os.path.exists(path)]
    if not found:
        raise ModuleNotFoundError(f"no module of {dist.metadata['Name']} is found")
    return found


def _top(point: EntryPoint) -> str:
    return point.module.partition(".")[0]


def is_editable(dist: Distribution) -> bool:
    """Tell whether a distribution is installed editable: its RECORD then says nothing of its files."""
    stated = json.loads(dist.read_text("direct_url.json") or "{}")
    return bool(stated.get("dir_info", {}).get("editable"))


def _digest(paths: Iterable[str], by_times: bool = False) -> str | None:
    """Over names and contents of files, and of all files in folders; where they lie is no part of it.

    Args:
        by_times: take the times of installed files for their contents (a class may come from a library of thousands).
    """
    whole = hashlib.sha256()
    for path in paths:
        for name, file in _files(path):
            try:
                found = os.stat(file)
                whole.update(f"\0{name}\0{found.st_size}\0".encode("utf-8", "surrogateescape"))
                if found.st_size > _READ or (by_times and "site-packages" in file):
                    whole.update(f"{found.st_mtime_ns} {found.st_ctime_ns}".encode())
                    continue
                with open(file, "rb") as content:
                    whole.update(content.read())
            except OSError:
                return None
    return whole.hexdigest()[:32]


def _files(path: str) -> Iterator[tuple[str, str]]:
    base = os.path.dirname(path)
    if os.path.isfile(path):
        yield os.path.relpath(path, base), path
        return
    for folder, inside, names in os.walk(path):
        inside[:] = sorted(name for name in inside if name != "__pycache__")
        for name in sorted(names):
            file = os.path.join(folder, name)
            if not name.endswith((".pyc", ".pyo")) and os.path.isfile(file):
                yield os.path.relpath(file, base), file
