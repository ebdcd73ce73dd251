"""How a verb prints its result: lines of a name and a value for people, or JSON."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.outputs import check_output, write_output

FORMATS: Final = ("table", "json")
Format = Annotated[str, typer.Option("--format", "-f", help="table or json.")]


def check_format(format: str) -> None:
    """Asked before any work.

    Raises:
        UsageError: neither a table nor JSON.
    """
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}; there are {', '.join(FORMATS)}")


def check_places(output: Path | None, report: Path | None) -> None:
    """Try before the work whether a result and a report can be written where they are wanted.

    Raises:
        UsageError, ModelgraftError: as `check_output`.
    """
    if output is not None:
        check_output(output)
    if report is not None:
        check_output(report, output)


def this_command() -> str:
    """Return the command that runs, as it can be given again."""
    return "modelgraft " + shlex.join(sys.argv[1:])


def show(format: str, record: Mapping[str, Any], table: str, output: Path | None = None) -> None:
    """Print a result, or write it to a file: JSON as standard output can take it, or the lines."""
    if output is not None:
        write_output(output, (render.json_text(record) if format == "json" else table).encode())
    elif format == "json":
        render.as_json(record)
    else:
        print(table, end="")


def aligned(lines: Sequence[tuple[str, str]]) -> str:
    """Names and values, one below the other."""
    width = max(len(render.cell(name)) for name, _ in lines)
    return "".join(f"{render.cell(name):<{width}}  {render.cell(value)}\n" for name, value in lines)


def spent(seconds: Mapping[str, float]) -> str:
    """The phases of a run that took time."""
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05)


def settings_of_training(chosen: Mapping[str, Any]) -> str:
    """What a run was trained with, but for the strategy."""
    return ", ".join(
        f"{n} = {v:g}" if isinstance(v, float) else f"{n} = {v}" for n, v in chosen.items() if n != "strategy"
    )


def data_name(place: str) -> str:
    """Return what to call data on a page: the last part of where they are, also of ``.``."""
    return Path(os.path.abspath(place)).name or place


def place(folder: Path) -> str:
    """How the folder is named as a model: a bare word would be taken for a model's name."""
    text = str(folder)
    return shlex.quote(text if text.startswith(("/", ".", "~")) else f"./{text}")
