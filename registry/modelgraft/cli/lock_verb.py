"""``modelgraft lock``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from modelgraft.cli import render
from modelgraft.cli.completion import model_names
from modelgraft.errors import LockError, UsageError
from modelgraft.project import comparing, lockfile
from modelgraft.resolution import Resolution

COLUMNS = ("name", "revision", "files", "size", "licence", "plugin")


def lock(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to lock.", autocompletion=model_names)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a name means something else now.")] = False,
    upgrade: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Lock anew what is locked.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Take out of the lock file.")] = None,
    file: Annotated[Path | None, typer.Option(help="The lock file, if not the project's modelgraft.lock.")] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="table or json, of what is printed.")] = "table",
) -> None:
    """Write down which exact weights names stand for; with no name, print what is locked."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    if check and (upgrade or remove):
        raise typer.BadParameter("--check changes nothing; leave out --upgrade and --remove")
    path = file or lockfile.default_path()
    with lockfile.unlocked():
        if check:
            _check(path, names or [], format)
        elif names or upgrade or remove:
            _change(path, names or [], upgrade or [], remove or [])
        elif file is None and not path.exists():
            print(f"there is no {path.name} here; 'modelgraft lock NAME' makes it", file=sys.stderr)
            if format == "json":
                render.as_json({})
        else:
            _print(lockfile.read(path), format)


def _print(models: Mapping[str, Resolution], format: str) -> None:
    if format == "json":
        render.as_json({name: resolution.to_dict() for name, resolution in models.items()})
        return
    if models:
        rows = [
            (
                name,
                _revision(found),
                str(sum(len(part.files) for part in found.parts)),
                f"{render.count(found.size)}B" if found.size is not None else "-",
                found.licence or "-",
                f"{found.distribution} {found.version}".strip() or "-",
            )
            for name, found in models.items()
        ]
        render.table(COLUMNS, rows, right=("files", "size"))
    print(f"{len(models)} model{'s' if len(models) != 1 else ''} locked", file=sys.stderr)


def _revision(found: Resolution) -> str:
    return (found.parts[0].revision or "-")[:12] if found.parts else "(in its plugin)"


def _check(path: Path, names: Sequence[str], format: str) -> None:
    models = lockfile.read(path)
    chosen = {key: models[key] for key in (_locked_key(name, models, path) for name in names)} if names else models
    differing = comparing.check(chosen)
    if format == "json":
        render.as_json(differing)
    else:
        sys.stdout.write("".join(f"{render.printable(line)}\n" for lines in differing.values() for line in lines))
    if differing:
        some = " ".join(f"--upgrade {name}" for name in list(differing)[:3]) + (" ..." if len(differing) > 3 else "")
        raise LockError(
            f"{len(differing)} of {len(chosen)} locked models resolve to something else now; "
            f"accept it with 'modelgraft lock {some}', or keep to the lock with --locked"
        )
    print(f"{len(chosen)} locked model{'s' if len(chosen) != 1 else ''} unchanged", file=sys.stderr)


def _change(path: Path, names: Iterable[str], upgrade: Iterable[str], remove: Iterable[str]) -> None:
    """All or nothing: what cannot be resolved leaves the file as it is."""
    before = lockfile.read(path) if path.exists() else {}
    fresh: dict[str, Resolution] = {}
    for key in dict.fromkeys(_key(name) for name in names):
        if key in before:
            print(f"{key} stays as it is: {_revision(before[key])} ('--upgrade {key}' moves it)", file=sys.stderr)
        else:
            fresh[key] = comparing.resolve_now(key)
    moved = {key: comparing.resolve_now(key) for key in (_locked_key(name, before, path) for name in upgrade)}
    gone = [_locked_key(name, before, path) for name in remove]
    # Resolving takes its time on the network; only now is anybody else kept from writing, and what they wrote is kept.
    with lockfile.changing(path) as models:
        for key, found in fresh.items():
            models.setdefault(key, found)
        models.update(moved)
        for key in gone:
            models.pop(key, None)
    for key, found in fresh.items():
        print(f"locked {key}: {_revision(found)}", file=sys.stderr)
    for key, found in moved.items():
        lines = comparing.compare(before[key], found)
        print(f"{key}: unchanged" if not lines else "\n".join(map(render.printable, lines)), file=sys.stderr)
    for key in gone:
        print(f"removed {key}", file=sys.stderr)


def _key(name: str) -> str:
    """What a model is locked under: its canonical name, with the revision the user asked for."""
    import modelgraft

    entry = modelgraft.resolve(name)
    return f"{entry.name}@{entry.revision}" if entry.revision else entry.name


def _locked_key(name: str, models: Mapping[str, Resolution], path: Path) -> str:
    """The key of a locked model, by any of its names; one that no plugin brings any more by the name it was locked under."""
    if name in models:
        return name
    try:
        key = _key(name)
    except UsageError:
        key = name
    if key not in models:
        raise UsageError(f"{name} is not in the lock file {path}; 'modelgraft lock' shows what is")
    return key
