"""``modelgraft list``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from modelgraft.cli import render
from modelgraft.cli.filter_options import (
    Benchmark,
    EmbedDim,
    InputSize,
    Licence,
    MaxParams,
    MinParams,
    MinScore,
    Provider,
    Sort,
    Task,
    parsed_count,
)
from modelgraft.entry import Entry
from modelgraft.listing.benchmarks import headline
from modelgraft.listing.installed import catalogue

COLUMNS = ("name", "modality", "tasks", "params", "embed_dim", "input_size", "licence")
CSV_COLUMNS = ("name", "provider", *COLUMNS[1:], "max_tokens", "score", "aliases", "note")
RANKED = ("benchmark_score", "benchmark")
"""Columns that are added when the list is about published figures; they can be asked for by name at any time."""


def list_models(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, or a shell pattern ('*dino*').")] = None,
    provider: Provider = None,
    modality: Annotated[str | None, typer.Option(help="image, text (both match dual encoders) or image-text.")] = None,
    task: Task = None,
    licence: Licence = None,
    min_params: MinParams = None,
    max_params: MaxParams = None,
    embed_dim: EmbedDim = None,
    input_size: InputSize = None,
    min_score: MinScore = None,
    benchmark: Benchmark = None,
    sort: Sort = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    columns: Annotated[str | None, typer.Option(help="Which columns or keys: name,params,benchmark_score,...")] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="table, json, jsonl, csv or names.")] = "table",
) -> None:
    """List pretrained models by name, size, licence, task and published score."""
    if format not in ("table", "json", "jsonl", "csv", "names"):
        raise typer.BadParameter(f"no format {format!r}; there are table, json, jsonl, csv, names")
    found = catalogue().choose(
        pattern,
        provider=provider,
        modality=modality,
        task=task,
        licence=licence,
        min_params=parsed_count("--min-params", min_params),
        max_params=parsed_count("--max-params", max_params),
        embed_dim=embed_dim,
        input_size=input_size,
        min_score=min_score,
        benchmark=benchmark,
        sort=sort,
        reverse=reverse,
    )
    ranked = benchmark is not None or min_score is not None or (sort or "").removeprefix("-") == "score"
    shown = _columns(columns, (CSV_COLUMNS if format == "csv" else COLUMNS) + (RANKED if ranked else ()))
    _print(found, shown, columns is None, format, limit)
    if ranked and len(found.counts) > 1:
        listed = ", ".join(f"{name}: {models}" for name, models in found.counts.items())
        print(
            f"figures of {len(found.counts)} benchmarks, which do not compare, so sorted by score they stay apart ({listed}); "
            "--task, --modality or --benchmark picks one",
            file=sys.stderr,
        )


def _print(found: Any, shown: tuple[str, ...], usual: bool, format: str, limit: int | None) -> None:
    """Write the models that were found; ``usual`` where no columns were asked for."""
    if format == "names":
        sys.stdout.write("".join(f"{name}\n" for name in found.names()[:limit]))
    elif format == "table":
        count = min(len(found), len(found) if limit is None else limit)
        if count:
            values = found.columns(shown, limit)
            if values is None:
                entries = found[:limit]
                values = [[_value(e, name, found.benchmarks) for e in entries] for name in shown]
            cells = [[_cell(name, value) for value in column] for name, column in zip(shown, values, strict=True)]
            render.columns(shown, cells, right=("params", "embed_dim", "max_tokens", "benchmark_score"))
        of = f" of {len(found)}" if count < len(found) else ""
        print(f"{count}{of} model{'s' if len(found) != 1 else ''}", file=sys.stderr)
    else:
        entries = found[:limit]
        whole = usual and format != "csv"  # the contract: every public field
        records = [
            e.record() if whole else {name: _value(e, name, found.benchmarks) for name in shown} for e in entries
        ]
        if format == "json":
            render.as_json(records)
        elif format == "jsonl":
            plain = not render.is_utf8(sys.stdout)
            sys.stdout.write("".join(render.json_line(record, plain=plain) for record in records))
        else:
            render.as_csv(shown, records)


def _columns(asked: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return usual
    names = tuple(name for name in (part.strip() for part in asked.split(",")) if name)
    there = (*Entry(name="a/b", modality="image", tasks=("features",)).record(), *RANKED)
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        what = f"no column {unknown[0]!r}" if unknown else "--columns is empty"
        raise typer.BadParameter(f"{what}; there are {', '.join(there)}")
    return names


def _value(entry: Entry, column: str, benchmarks: Sequence[str]) -> Any:
    """A column of an entry, in plain JSON types."""
    if column in RANKED:
        found = headline(entry.metrics, benchmarks)
        return found and (found.score if column == "benchmark_score" else found.benchmark)
    if column in ("weights", "preprocessing", "metrics"):
        return entry.record()[column]
    value = getattr(entry, column)
    return list(value) if isinstance(value, tuple) else value


def _cell(column: str, value: Any) -> str:
    """A value as text for people."""
    if column == "params":
        return render.count(value)
    if value is None or value == [] or value == {}:
        return "-"
    if column == "input_size":
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={part}" for key, part in value.items() if part is not None)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
