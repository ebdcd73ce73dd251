"""``modelgraft info``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from modelgraft.cli import render
from modelgraft.cli.completion import model_names
from modelgraft.listing.licences import known
from modelgraft.registry import model_info


def info(
    name: Annotated[str, typer.Argument(help="A model's name, alias or hub id.", autocompletion=model_names)],
    format: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
) -> None:
    """Everything known about one model, without loading it."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    record = model_info(name)
    if format == "json":
        render.as_json(record)
        return
    for key, value in record.items():
        if key == "licence":
            print(f"{key:14} {_licence(value)}")
        elif value not in (None, [], (), {}, False):
            print(f"{key:14} {_shown(key, value)}")


def _licence(stated: str | None) -> str:
    """A licence and what the table says of it; it is no legal advice, so the reason is given."""
    about = known(stated)
    if about is None:
        return f"{render.printable(stated) if stated else 'not stated'} (commercial use: unknown)"
    permits = {True: "permitted", False: "not permitted", None: "not settled by its text"}[about.commercial]
    return f"{stated} (commercial use: {permits}; {about.reason})"


def _shown(key: str, value: Any) -> str:
    if key == "params":
        return f"{value:,}"
    if key == "input_size":
        return "x".join(map(str, value))
    if isinstance(value, dict):
        pairs = ((k, v) for k, v in value.items() if v not in (None, [], ""))
        return ", ".join(f"{k}={json.dumps(v) if isinstance(v, (list, tuple, bool)) else v}" for k, v in pairs)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return render.printable(str(value))
