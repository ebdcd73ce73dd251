"""``modelgraft optimize``."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from modelgraft.cli import render

from modelgraft_adapters.cli.inputs import expand_paths, expand_texts
from modelgraft_adapters.cli.model_options import entry_of
from modelgraft_adapters.cli.progress import Bar, say
from modelgraft_adapters.cli.result_text import Format, check_format, check_places, show


def optimize(
    model: Annotated[str, typer.Argument(help="Any model.")],
    data: Annotated[
        list[str] | None,
        typer.Argument(help="Some of your images, or with --text texts, as for embed. Default: some are made up."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The text tower of a model of images and texts.")] = False,
    format: Format = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, whole or not at all.")
    ] = None,
) -> None:
    """Find what runs a model fastest on this machine's processor, and keep it for --engine auto.

    Each engine that is installed converts the model once, which is kept, and is measured in float32 and, where the processor
    computes in it, bfloat16; the table has what that does to the embeddings.
    """
    check_format(format)
    check_places(output, None)
    entry = entry_of(model, text)
    reads_text = text or entry.modality == "text"
    items = []
    if data:
        items = (
            [item for _, item in expand_texts(data, sys.stdin)] if reads_text else list(expand_paths(data, sys.stdin))
        )

    # torch is imported from here on.
    from modelgraft_adapters.runs.optimize import optimize as run

    with Bar() as bar:
        found = run(entry, items, "text" if reads_text else "image", bar.tell)
    if found.made_up:
        say(f"measured on {found.items} made-up items; give some of yours for the agreement on them")
    show(format, found.record(), _table(found), output)


_COLUMNS: Final = (
    "engine",
    "precision",
    "threads",
    "items/s",
    "times torch",
    "start",
    "difference",
    "cosine",
    "same nearest",
)


def _table(found: Any) -> str:
    base = found.ways[0].items_per_s  # torch, float32, all threads
    rows, notes = [], []
    for way in found.ways:
        if way.items_per_s is None:
            rows.append((way.engine, way.dtype, str(way.threads), *"------"))
            notes.append(f"{way.engine}, {way.dtype}: {way.note}")
            continue
        figures = (f"{way.items_per_s:.1f}", f"{way.items_per_s / base:.2f}", f"{way.start_s:.1f} s")
        same = (f"{way.largest_difference:.0e}", f"{way.least_cosine:.5f}", f"{100 * way.same_first:.1f} %")
        rows.append((way.engine, way.dtype, str(way.threads), *figures, *same))
    out = io.StringIO()
    print(f"{found.model}, {found.items} {found.modality}s, loaded by torch in {found.load_s:.1f} s\n", file=out)
    render.table(_COLUMNS, rows, right=_COLUMNS[2:], out=out)
    for line in notes:
        print(render.printable(line), file=out)
    return out.getvalue()
