"""``modelgraft cache``."""

from __future__ import annotations

import re
import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from modelgraft.cli import render
from modelgraft.errors import ModelgraftError
from modelgraft.registry import resolve
from modelgraft.weights.keeping import holdings, users
from modelgraft.weights.resolving import places
from modelgraft.weights.verifying import faults

COLUMNS = ("location", "revision", "size", "last used", "models")
_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


class Action(StrEnum):
    """What is done with the cache."""

    list = "list"
    verify = "verify"
    prune = "prune"


def cache(
    action: Annotated[
        Action, typer.Argument(help="list, verify (read every file anew) or prune (delete).")
    ] = Action.list,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="prune: what was not used for so long: 12h, 30d, 8w.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="NAME", help="prune: not this model (repeatable).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="prune: say what would go, delete nothing.")] = False,
    format: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
) -> None:
    """What is stored of which models; verify it, prune it."""
    if format not in ("table", "json"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json")
    if action is not Action.prune and (older_than or keep or dry_run):
        raise typer.BadParameter("--older-than, --keep and --dry-run belong to 'modelgraft cache prune'")
    age = _seconds(older_than)
    found, broken = holdings()
    for line in broken:
        print(f"modelgraft: {render.printable(line)}", file=sys.stderr)
    if action is Action.prune:
        kept = {str(weights.place) for name in keep or () for weights in places(resolve(name))}
        found = [pair for pair in found if pair[1].part.location not in kept and _old(pair[1].last_used, age)]
    known = users()
    records: list[dict[str, Any]] = []
    for store, held in found:
        record: dict[str, Any] = {
            "location": held.part.location,
            "revision": held.part.revision,
            "size": held.size,
            "last_used": int(held.last_used),
            "models": known.get(held.part.location, []),
        }
        if action is Action.verify:
            record["damaged"] = faults(held.part, held.stored, again=True)
        elif action is Action.prune:
            record["freed"] = 0 if dry_run else store.discard(held.part)
        records.append(record)
    _show(records, action, dry_run, format)
    if damaged := sum(len(record.get("damaged", ())) for record in records):
        raise ModelgraftError(
            f"{damaged} stored file{'s are' if damaged > 1 else ' is'} damaged; 'modelgraft pull' of the model sets a damaged "
            "file aside and fetches it again"
        )
    if broken:
        raise ModelgraftError(
            f"{len(broken)} source{'s' if len(broken) > 1 else ''} of weights could not say what is stored"
        )


def _show(records: list[dict[str, Any]], action: Action, dry_run: bool, format: str) -> None:
    if format == "json":
        render.as_json(records)
        return
    if records:
        rows = [
            (
                r["location"],
                (r["revision"] or "-")[:12],
                f"{render.count(r['size'])}B",
                time.strftime("%Y-%m-%d", time.localtime(r["last_used"])),
                _names(r["models"]),
            )
            for r in records
        ]
        render.table(COLUMNS, rows, right=("size",))
    for record in records:
        for path, why in record.get("damaged", {}).items():
            print(render.printable(f"damaged: {path} of {record['location']}: {why}"))
    total = f"{render.count(sum(r['size'] for r in records))}B"
    if action is Action.prune:
        print(f"{len(records)} would be deleted, {total}" if dry_run else f"{len(records)} deleted, {total}")
    else:
        print(f"{len(records)} stored, {total}")


def _names(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "") or "-"


def _old(last_used: float, age: float | None) -> bool:
    return age is None or time.time() - last_used > age


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if match is None:
        raise typer.BadParameter(f"--older-than takes a number and h, d or w (30d), not {text!r}")
    return int(match[1]) * _UNITS[match[2]]
