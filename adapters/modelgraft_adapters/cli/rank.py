"""``modelgraft rank``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

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
from modelgraft.errors import UsageError
from modelgraft.outputs import write_output

from modelgraft_adapters.cli.data_options import (
    Data,
    GroupColumn,
    ItemColumn,
    LabelColumns,
    SplitColumn,
    read_labelled,
)
from modelgraft_adapters.cli.device_options import Device
from modelgraft_adapters.cli.model_options import BatchSize, Workers
from modelgraft_adapters.cli.progress import say, say_all
from modelgraft_adapters.cli.rank_table import table
from modelgraft_adapters.cli.result_text import check_places, data_name, show, this_command

FORMATS: Final = ("table", "json", "csv")


def rank(
    data: Data,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Names, folders or patterns ('timm/*mobilenet*'), separated by commas. Can be repeated.",
        ),
    ] = None,
    provider: Provider = None,
    task: Task = None,
    licence: Licence = None,
    min_params: MinParams = None,
    max_params: MaxParams = None,
    embed_dim: EmbedDim = None,
    input_size: InputSize = None,
    min_score: MinScore = None,
    benchmark: Benchmark = None,
    sort: Sort = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many models of each pattern.")] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Where to take the features; 'default' is the model's embedding. Repeated, each is ranked."),
    ] = None,
    by: Annotated[str, typer.Option(help="What to rank by: knn, probe, logme, h-score or gbc.")] = "knn",
    scores: Annotated[
        str,
        typer.Option(help="Scores to show, separated by commas: also leep and nce, which take a second pass."),
    ] = "knn,probe,logme",
    sample: Annotated[
        int | None, typer.Option(min=10, help="Items of the largest sample. Default: 1000, or 10 of each class.")
    ] = None,
    halving: Annotated[
        bool, typer.Option("--halving/--no-halving", help="Drop the worse half after each of growing samples.")
    ] = True,
    control: Annotated[
        bool,
        typer.Option(
            "--control/--no-control", help="Compare the last ones with random weights of the same architecture."
        ),
    ] = True,
    max_download: Annotated[str, typer.Option(help="Download at most this much; more is an error.")] = "2GB",
    item_column: ItemColumn = None,
    label_column: LabelColumns = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Candidates at a time, a process each.")] = 1,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="table, json or csv. Default: by the output's name.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report, one file.")] = None,
    device: Device = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Rank pretrained models by how well their features suit data of yours: images or texts, one class an item.

    The training part alone is looked at. Exit codes: 0 success, 1 if a candidate failed, 2 usage error.
    """
    kind = _format(format, output)
    check_places(output, report)
    most, words = parse_bytes(max_download), _words(models or [])
    conditions: dict[str, Any] = {
        "provider": provider,
        "task": task,
        "licence": licence,
        "min_params": parsed_count("--min-params", min_params),
        "max_params": parsed_count("--max-params", max_params),
        "embed_dim": embed_dim,
        "input_size": input_size,
        "min_score": min_score,
        "benchmark": benchmark,
        "sort": sort,
    }
    found = read_labelled(data, None, item_column, label_column, split_column, None, group_column)

    # torch is imported from here on.
    from modelgraft_adapters.ranking.runner import rank_models

    layers = [None if name == "default" else name for name in layer or ["default"]]
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "workers": workers, "jobs": jobs}
    options |= {"sample": sample, "halving": halving, "control": control, "max_download": most, "limit": limit}
    with _resumable():
        result = rank_models(
            found, words, by=by, scores=_words([scores]), layers=layers, seed=seed, tell=say, **options, **conditions
        )
    say_all(result.notes)
    _write(result, kind, data, output)
    if report is not None:
        _write_report(result, report, data)
    if result.failed or not result.ranked:
        say_all(f"failed: {row.name}: {row.reason}" for row in result.failed)
        raise typer.Exit(1)


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("what was embedded so far is in the feature store; the same command goes on from there")
        raise


def _format(format: str | None, output: Path | None) -> str:
    suffix = "" if output is None else output.suffix.removeprefix(".").lower()
    kind = format or (suffix if suffix in ("json", "csv") else "table")
    if kind not in FORMATS:
        raise UsageError(f"no format {kind!r}; there are {', '.join(FORMATS)}")
    return kind


def parse_bytes(text: str) -> float:
    """``2GB`` is 2e9; ``500MB``, ``1.5G`` and plain numbers of bytes too.

    Raises:
        UsageError: no number of bytes of 0 or more.
    """
    try:
        count = render.parse_count(text.strip().lower().removesuffix("b") or "none")
    except ValueError:
        count = -1.0
    if not 0 <= count < float("inf"):
        raise UsageError(f"--max-download takes a size such as 2GB or 500MB, not {text!r}")
    return count


def _words(given: list[str]) -> list[str]:
    return list(dict.fromkeys(word.strip() for text in given for word in text.split(",") if word.strip()))


def _write(result: Any, kind: str, data: str, output: Path | None) -> None:
    if kind != "csv":
        show(kind, result.record() if kind == "json" else {}, table(result, data) if kind == "table" else "", output)
        return
    from modelgraft_adapters.ranking.results import COLUMNS

    if output is None:
        render.as_csv(COLUMNS, result.table())
        return
    out = io.StringIO()
    render.as_csv(COLUMNS, result.table(), out)
    write_output(output, out.getvalue().encode())


def _write_report(result: Any, path: Path, data: str) -> None:
    from modelgraft_adapters.report.rank_page import build_ranking

    write_output(path, build_ranking(result, data_name(data), this_command()).encode())
    say(f"report in {path}")
