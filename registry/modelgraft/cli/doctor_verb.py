"""``modelgraft doctor``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelgraft import doctor as doctors
from modelgraft.cli import render


def doctor(
    format: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
) -> None:
    """Find what is wrong with this installation, and how to mend it; exits with 1 if something fails."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    rows = doctors.examine()
    if format == "json":
        render.as_json([row.to_dict() for row in rows])
    else:
        wide = max(render.width(row.check) for row in rows)
        for row in rows:
            check = render.printable(row.check)
            print(f"{row.status:4}  {check}{' ' * (wide - render.width(check))}  {render.printable(row.detail)}")
            if row.cure:
                print(f"{'':4}  {'':{wide}}  cure: {render.printable(row.cure)}")
    count = {status: sum(row.status == status for row in rows) for status in ("fail", "warn")}
    if format == "table":
        print(f"{len(rows)} checks, {count['fail']} failed, {count['warn']} with a warning", file=sys.stderr)
    if count["fail"]:
        raise typer.Exit(1)
