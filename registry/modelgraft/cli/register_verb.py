"""``modelgraft register``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelgraft.cli import render
from modelgraft.project import local_names


def register(
    name: Annotated[str | None, typer.Argument(help="The alias: letters, digits, '.', '_', '-'.")] = None,
    path: Annotated[str | None, typer.Argument(help="A folder, file:PATH, hub:USER/REPO or a catalogue name.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the aliases of this project.")] = False,
    remove: Annotated[str | None, typer.Option(metavar="NAME", help="Forget an alias.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take a name that means something already.")] = False,
    format: Annotated[str, typer.Option("--format", "-f", help="table or json, for --list.")] = "table",
) -> None:
    """Give a model a name of your own in this project."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    if sum((name is not None, show, remove is not None)) != 1 or (name is None) != (path is None):
        raise typer.BadParameter("give NAME and PATH, or --list, or --remove NAME")
    where = local_names.default_path()
    if show:
        found = local_names.aliases(where)
        if format == "json":
            render.as_json([{"name": alias, "target": target} for alias, target in found.items()])
            return
        if found:
            render.table(("name", "target"), list(found.items()))
        print(f"{len(found)} alias{'es' if len(found) != 1 else ''} in {where}", file=sys.stderr)
    elif remove is not None:
        local_names.remove(remove, path=where)
        print(f"removed {remove}", file=sys.stderr)
    else:
        assert name is not None and path is not None
        kept = local_names.register(name, path, force=force, path=where)
        print(f"{name} means {kept} ({where})", file=sys.stderr)
