"""``modelgraft list``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelgraft.cli import render
from modelgraft.registry import list_models as select

COLUMNS = ("name", "modality", "tasks", "params", "embed_dim", "input_size", "licence")
CSV_COLUMNS = ("name", "provider", *COLUMNS[1:], "max_tokens", "score", "aliases", "note")


def list_models(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, or a shell pattern ('*dino*').")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider: timm, open_clip, ...")] = None,
    modality: Annotated[str | None, typer.Option(help="image, text (both match dual encoders) or image-text.")] = None,
    task: Annotated[str | None, typer.Option(help="features, zero-shot or classification.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", "--license", help="As stated; 'apache*' works.")] = None,
    min_params: Annotated[str | None, typer.Option(help="At least this many parameters: 30M, 1.5B.")] = None,
    max_params: Annotated[str | None, typer.Option(help="At most this many parameters.")] = None,
    embed_dim: Annotated[int | None, typer.Option(help="Exact embedding size.")] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="table, json, jsonl, csv or names.")] = "table",
) -> None:
    """List pretrained models by name, size, licence and task."""
    if format not in ("table", "json", "jsonl", "csv", "names"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json, jsonl, csv, names")
    entries = select(
        pattern,
        provider=provider,
        modality=modality,
        task=task,
        licence=licence,
        min_params=_count("--min-params", min_params),
        max_params=_count("--max-params", max_params),
        embed_dim=embed_dim,
    )
    if format == "names":
        sys.stdout.write("".join(f"{entry.name}\n" for entry in entries))
    elif format == "table":
        if entries:
            rows = [
                (
                    e.name,
                    e.modality,
                    ", ".join(e.tasks),
                    render.count(e.params),
                    str(e.embed_dim or "-"),
                    "x".join(map(str, e.input_size)) if e.input_size else "-",
                    e.licence or "-",
                )
                for e in entries
            ]
            render.table(COLUMNS, rows, right=("params", "embed_dim"))
        print(f"{len(entries)} model{'s' if len(entries) != 1 else ''}", file=sys.stderr)
    else:
        records = [entry.record() for entry in entries]
        if format == "json":
            render.as_json(records)
        elif format == "jsonl":
            sys.stdout.write("".join(map(render.json_line, records)))
        else:
            render.as_csv(CSV_COLUMNS, records)


def _count(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return render.parse_count(text)
    except ValueError:
        raise typer.BadParameter(f"{option} takes a number such as 30M or 1.5B, not {text!r}") from None
