"""Aliases of a project: short names that people gave to models, in ``modelgraft.json`` beside their code.

    {
     "modelgraft": 1,
     "aliases": {
      "birds": "./models/birds",
      "tower": "open_clip/ViT-B-32:laion2b_s34b_b79k@1a25a446712ba5ee05982a381eed697ef9b435cf"
     }
    }

A target is anything that names a model: a folder (``./...`` from the file's own folder, or absolute), ``file:PATH``,
``hub:USER/REPO[@REVISION]``, or a catalogue name. An alias never leads to another alias. The file is found as
`modelgraft.project.files.project_file` says, is safe under concurrent writers, and may be kept in version control.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from modelgraft.errors import (
    AmbiguousNameError,
    BadNameError,
    HiddenNameWarning,
    LocalNamesError,
    UnknownModelError,
    UsageError,
)
from modelgraft.outputs import write_through
from modelgraft.project.files import exclusive, project_file, read_json, short

FILE: Final = "modelgraft.json"
FORMAT: Final = 1

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HUB: Final = re.compile(r"hub:[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[^\s@:]+)?", re.A)


def default_path() -> Path:
    """The project's file of aliases (`modelgraft.project.files.project_file`), whether it is there or not."""
    return project_file(FILE)


def aliases(path: Path | None = None) -> dict[str, str]:
    """Alias -> what it stands for, sorted; folders and ``file:`` paths made absolute. Empty if there is no file.

    Raises:
        LocalNamesError: the file cannot be read, or is none of this format.
    """
    path = path or default_path()
    found = _read(path)["aliases"]
    return {name: _absolute(found[name], path.absolute().parent) for name in sorted(found)}


def meaning(name: str) -> str | None:
    """What an alias of the project stands for, or None for a name that is none.

    An alias may lie in a checkout that somebody else made. One that hides a name of the catalogue, or leads out of the project, is
    told (`HiddenNameWarning`) each time that it is used. It is not refused: a mark of consent would lie in the same file, and
    whoever wrote the alias could have written the mark.

    Raises:
        LocalNamesError: as `aliases`.
    """
    path = default_path()
    target = aliases(path).get(name)
    if target is None:
        return None
    hidden = _in_catalogue(name)
    outside = _leads_out(target, path.absolute().parent)
    if hidden or outside:
        told = f"{name!r} means {target} here, by {short(str(path.absolute()), 5000)[1:-1]}"
        told += f", and not {hidden}" if hidden else ", which lies outside that project"
        warnings.warn(told, HiddenNameWarning, stacklevel=3)
    return target


def register(name: str, target: str, *, force: bool = False, path: Path | None = None) -> str:
    """Give a model a name in this project, and return the target as it was written down.

    Args:
        name: letters, digits, ``.``, ``_``, ``-``.
        target: a folder, ``file:PATH``, ``hub:USER/REPO`` or a catalogue name, each of the last two with ``@revision`` if wanted.
            Relative paths start at the current folder.
        force: allow a name that a catalogue entry answers to, and change what a registered name stands for.

    Raises:
        BadNameError: not such a name.
        UsageError: the name is taken, or the target is not there.
        LocalNamesError: the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise BadNameError(
            f"{short(name)} cannot be an alias; use letters, digits, '.', '_' and '-', and no '/' or ':'"
        )
    path = path or default_path()
    if not force and (taken := _in_catalogue(name)):
        raise UsageError(f"{name!r} already means {taken}; choose another alias, or hide that name with --force")
    kept = _kept(target, path.absolute().parent)
    with _changing(path) as found:
        before = found.get(name, kept)
        if before != kept and not force:
            raise UsageError(
                f"{name!r} is registered already, for {before}; choose another alias, or change it with --force"
            )
        found[name] = kept
    return kept


def remove(name: str, *, path: Path | None = None) -> None:
    """Forget an alias; what it stood for stays.

    Raises:
        UsageError: there is no such alias.
        LocalNamesError: the file cannot be read or written.
    """
    path = path or default_path()
    with _changing(path) as found:
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise UsageError(f"no alias {short(name)} in {path}; there are: {known}")
        del found[name]


# The file


def _refused(path: Path, what: str) -> LocalNamesError:
    return LocalNamesError(f"the file of aliases {short(str(path), 5000)[1:-1]} {what}")


def _read(path: Path) -> dict[str, Any]:
    """The whole file. What other keys it has is kept as it is: they belong to somebody else."""
    refuse = partial(_refused, path)
    if not path.exists():
        return {"modelgraft": FORMAT, "aliases": {}}
    record = read_json(path, refuse)
    if not isinstance(record, dict):
        raise refuse(f"is wrong: {short(record)} is no JSON object")
    version = record.get("modelgraft")
    if type(version) is not int or version < 1:
        raise refuse(f'at modelgraft: {short(version)} is no format number (it reads "modelgraft": {FORMAT})')
    if version > FORMAT:
        raise refuse(f"has format {short(version)}, and this modelgraft reads {FORMAT}; upgrade modelgraft")
    found = record.setdefault("aliases", {})
    if not isinstance(found, dict):
        raise refuse(f"at aliases: {short(found)} is no JSON object")
    for name, target in found.items():
        if not _NAME.fullmatch(name):
            raise refuse(f"at aliases: {short(name)} cannot be an alias (letters, digits, '.', '_', '-')")
        if not isinstance(target, str) or not target or not target.isprintable():
            raise refuse(f"at aliases, {name}: {short(target)} names no model")
    return record


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, str]]:
    """Read, let the caller change the aliases, write; other writers wait meanwhile. An exception writes nothing."""
    with exclusive(path, partial(_refused, path)):
        record = _read(path)
        found: dict[str, str] = record["aliases"]
        before = dict(found)
        yield found
        if found == before:
            return
        record["aliases"] = {name: found[name] for name in sorted(found)}
        try:
            write_through(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
        except (OSError, UnicodeEncodeError) as error:
            raise _refused(path, f"cannot be written ({getattr(error, 'strerror', None) or error})") from None


# Targets


def _kept(target: str, project: Path) -> str:
    """A target as the file holds it: checked, and relative to the project where it lies inside."""
    if not target or not target.isprintable():
        raise UsageError(f"{short(target)} names no model; give a folder, file:PATH, hub:USER/REPO or a catalogue name")
    if target.startswith("hub:"):
        if not _HUB.fullmatch(target):
            raise UsageError(f"{target!r} is not of the form hub:USER/REPO[@REVISION]")
        return target
    if target.startswith("file:"):
        file = Path(target.removeprefix("file:")).expanduser()
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        return f"file:{_portable(file, project)}"
    path = Path(target).expanduser()
    if not target.startswith((".", "/", "~")) and not path.is_absolute():
        from modelgraft.listing.installed import catalogue

        try:
            entry = catalogue().find(target)
            return f"{entry.name}@{entry.revision}" if entry.revision else entry.name
        except (UnknownModelError, BadNameError):
            if not path.exists():
                raise
    if path.is_dir():
        return _portable(path, project)
    if path.is_file():
        return f"file:{_portable(path, project)}"
    raise UsageError(f"there is no folder or file {target}")


def _portable(path: Path, project: Path) -> str:
    full = path.resolve()
    inside = project.resolve()
    return f"./{full.relative_to(inside).as_posix()}" if full.is_relative_to(inside) else full.as_posix()


def _absolute(target: str, project: Path) -> str:
    scheme, path = ("file:", target[5:]) if target.startswith("file:") else ("", target)
    if scheme or path.startswith((".", "/", "~")):
        return f"{scheme}{(project / Path(path).expanduser()).resolve().as_posix()}"
    return target


def _leads_out(target: str, project: Path) -> bool:
    path = target.removeprefix("file:")
    return path.startswith("/") and not Path(path).is_relative_to(project.resolve())


def _in_catalogue(name: str) -> str | None:
    from modelgraft.listing.installed import catalogue

    try:
        return catalogue().find(name).name
    except AmbiguousNameError as error:
        return f"{len(error.candidates)} models ({', '.join(error.candidates[:2])} ...)"
    except UnknownModelError:
        return None
