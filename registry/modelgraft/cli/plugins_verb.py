"""``modelgraft plugins``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from modelgraft.cli import render
from modelgraft.registry import plugins as reports


def plugins(
    format: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of each failure.")] = False,
) -> None:
    """Installed plugins, what they bring, and why one does not work."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    found = reports()
    if format == "json":
        records = [asdict(report) for report in found]
        if not verbose:
            for record in records:
                del record["traceback"]
        render.as_json(records)
        return
    brought = ("models", "heads", "verbs", "sources", "engines")
    rows = [
        (r.name, r.distribution, r.version, r.entry_point, r.status, *(str(getattr(r, kind)) for kind in brought))
        for r in found
    ]
    render.table(("name", "distribution", "version", "entry point", "status", *brought), rows, right=brought)
    for report in found:
        if report.error:
            who = f"{report.name} ({report.distribution} {report.version}) {report.status}"
            print(f"\n{render.printable(f'{who}: {report.error}')}")
            if verbose and report.traceback:
                lines = map(render.printable, report.traceback.splitlines())
                sys.stdout.write("".join(f"    {line}\n" for line in lines))
