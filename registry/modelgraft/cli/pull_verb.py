"""``modelgraft pull``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from modelgraft.cli import render
from modelgraft.cli.completion import model_names
from modelgraft.contract import LocalWeights, Progress
from modelgraft.errors import ModelgraftError
from modelgraft.registry import resolve
from modelgraft.weights import local_weights

COLUMNS = ("name", "revision", "files", "size", "fetched", "folder")


def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models.", autocompletion=model_names)],
    format: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
) -> None:
    """Fetch and verify the weights of models, so that they load without a network."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    entries = [resolve(name) for name in names]  # a misspelt name is told before the first gigabyte
    records = []
    for entry in entries:
        fetched = 0

        def count(more: int) -> None:
            nonlocal fetched
            fetched += more

        try:
            with ExitStack() as stack:
                weights = local_weights(entry, _bar(entry.name, count, stack))
            records.append(_record(entry.name, weights, fetched, None))
        except ModelgraftError as error:
            print(f"modelgraft: error: {render.printable(str(error))}", file=sys.stderr)
            records.append(_record(entry.name, None, fetched, str(error)))
    if format == "json":
        render.as_json(records)
    elif rows := [_row(record) for record in records if record["error"] is None]:
        render.table(COLUMNS, rows, right=("files", "size", "fetched"))
    if any(record["error"] for record in records):
        raise typer.Exit(1)


def _record(name: str, weights: LocalWeights | None, fetched: int, error: str | None) -> dict[str, Any]:
    parts = weights.parts if weights else ()
    return {
        "name": name,
        "revision": parts[0].revision if parts else None,
        "files": sum(len(part.files) for part in parts),
        "size": sum(path.stat().st_size for part in parts for path in part.files.values()),
        "fetched": fetched,
        "folder": str(parts[0].folder) if parts else None,
        "error": error,
    }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    where = record["folder"] or "inside its plugin"
    sizes = (f"{render.count(record[key])}B" for key in ("size", "fetched"))
    return (record["name"], (record["revision"] or "-")[:12], str(record["files"]), *sizes, where)


def _bar(name: str, count: Callable[[int], None], stack: ExitStack) -> Progress:
    """Show the bytes that come in, on a terminal; count them everywhere."""
    if not sys.stderr.isatty():
        return count
    from rich.console import Console
    from rich.progress import DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn())
    bar = stack.enter_context(
        Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    )
    task = bar.add_task(render.printable(name), total=None)

    def tell(more: int) -> None:
        count(more)
        bar.advance(task, more)

    return tell
