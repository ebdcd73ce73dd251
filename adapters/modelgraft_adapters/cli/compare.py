"""``modelgraft compare``."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.outputs import check_output_folder, write_output

from modelgraft_adapters.cli.data_options import (
    Balanced,
    Data,
    GroupColumn,
    ItemColumn,
    LabelColumns,
    LabelSeparator,
    SplitColumn,
    TaskName,
    TestFraction,
    read_labelled,
)
from modelgraft_adapters.cli.device_options import Device
from modelgraft_adapters.cli.progress import say, say_all
from modelgraft_adapters.cli.result_text import Format, check_format, check_places, data_name, show, this_command
from modelgraft_adapters.defaults import parse_settings
from modelgraft_adapters.metrics.wording import figure

RENAMED = {"--reach": "--target-score", "-o": "--folder", "--output": "--folder"}
"""Options as they were called, and as they are."""
WIDE = 120
_METRICS = {"mean average precision": "mAP"}


def compare(
    data: Data,
    models: Annotated[list[str], typer.Option("--models", "-m", help="Models, separated by commas. Can be repeated.")],
    strategies: Annotated[
        list[str],
        typer.Option(
            "--strategies",
            "-s",
            help="zero-shot, probe, a head, or a strategy of finetune, separated by commas; settings: knn:k=5. Can be repeated.",
        ),
    ] = ["zero-shot", "probe"],  # noqa: B006  read, never written
    seeds: Annotated[
        int, typer.Option(min=1, help="How many random seeds: each draws its labels and trains anew.")
    ] = 3,
    shots: Annotated[
        str, typer.Option(help="Labels of each class to train on, separated by commas; all is every one.")
    ] = "4,16,all",
    target_score: Annotated[
        float | None, typer.Option(help="Say how many labels of each class it takes to get to this score, such as 0.8.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every fine-tuning, NAME=VALUE (steps=200, lr=1e-5). Can be repeated."),
    ] = None,
    item_column: ItemColumn = None,
    label_column: LabelColumns = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    label_separator: LabelSeparator = None,
    task: TaskName = None,
    test_fraction: TestFraction = 0.2,
    balanced: Balanced = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report, one file.")] = None,
    format: Format = "table",
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep what is trained in this folder: what is there is not trained again."),
    ] = None,
    device: Device = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Decoding threads, and processes that read ahead.")] = None,
) -> None:
    """Say which model, trained in which way, is right for data of yours: images or texts.

    Every model is trained in every way, with several seeds, and tested on the same items. Exit codes: 0 success, 1 if a
    row failed, 2 usage error.
    """
    check_format(format)
    _check_places(report, folder)
    if target_score is not None and not math.isfinite(target_score):
        raise UsageError(f"--target-score takes a score such as 0.8, not {target_score}")
    counts, settings = parse_shots(shots), parse_settings(set_ or [])
    names, ways = _words(models), _words(strategies)
    _check_words(names, ways, settings)
    found = read_labelled(data, task, item_column, label_column, split_column, label_separator, group_column)

    # torch is imported from here on.
    from modelgraft_adapters.compare import runner

    with _resumable(folder):
        result = runner.compare(
            found,
            names,
            ways,
            seeds=seeds,
            shots=counts,
            wanted=target_score,
            test_fraction=test_fraction,
            class_weight="balanced" if balanced else None,
            settings=settings,
            folder=folder,
            device=device,
            workers=workers,
            tell=say,
        )
    say_all(result.notes)
    if folder is not None:
        write_output(folder / "comparison.json", render.json_text(result.record()).encode())
    show(format, result.record(), table(result, data))
    if report is not None:
        _write_report(result, report, data)
    if result.failed or not result.done:
        say_all(f"failed: {row.model} {row.strategy}: {row.reason}" for row in result.failed)
        raise typer.Exit(1)


@contextmanager
def _resumable(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None:
            say(f"what was trained so far is in {folder}; the same command goes on from there")
        raise


def _check_places(report: Path | None, folder: Path | None) -> None:
    """Try before the work whether what it makes can be written."""
    check_places(None, report)
    if folder is not None:
        check_output_folder(folder)


def _check_words(models: list[str], strategies: list[str], settings: dict[str, Any]) -> None:
    """Look whether all that is named is there, before any data are read."""
    from modelgraft import resolve

    from modelgraft_adapters.compare.strategies import parse_way

    for name in models:
        resolve(name)
    for strategy in strategies:
        parse_way(strategy, settings)


def _write_report(result: Any, path: Path, data: str) -> None:
    from modelgraft_adapters.report.compare_page import build_comparison

    page = build_comparison(result, data_name(data), this_command())
    write_output(path, page.encode())
    say(f"report in {path}")


def parse_shots(text: str) -> list[int | None]:
    """``4,16,all`` is [4, 16, None].

    Raises:
        UsageError: a word that is neither a number above 0 nor ``all``.
    """
    found: list[int | None] = []
    for word in _words([text]):
        if word != "all" and not (word.isdecimal() and int(word) > 0):
            raise UsageError(f"--shots {text!r}: {word!r} is no number of labels, and not 'all'; such as 4,16,all")
        found.append(None if word == "all" else int(word))
    return found


def table(result: Any, data: str) -> str:
    """The comparison for a terminal of `WIDE` columns."""
    from modelgraft_adapters.compare.results import short_names

    most = "all" if result.shots[-1] is None else result.shots[-1]
    what = "numbers" if result.task == "regression" else "classes"
    each = " of each class" if most != "all" and result.task != "regression" else ""
    head = (
        f"{render.printable(data)}: {result.train} to train on, {result.test} to test on, {len(result.classes)} {what}; "
        f"{most} labels{each}, {len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}\n\n"
    )
    models = [row.model for row in result.rows]
    for room in range(40, 11, -1):  # names give way first
        short = short_names(models, room)
        body = _main(result, short)
        if all(len(line) <= WIDE for line in body.splitlines()):
            break
    lines = _below(result, short)
    missing = [
        f"{short[row.model]}  {row.strategy}  {'-' if row.status == 'cannot' else 'failed'}: {row.reason}"
        for row in result.rows
        if row.status != "done"
    ]
    parts = [body, "".join(f"{render.printable(line)}\n" for line in missing), "\n", _curve(result, short)]
    return head + "".join(parts) + "".join(f"{render.printable(line)}\n" for line in lines)


def _below(result: Any, short: dict[str, str]) -> list[str]:
    """The lines below a comparison's table: chance, tests, corrections, names in full."""
    lines = [f"chance {result.chance:.3f}, always the most frequent class"] if result.chance is not None else []
    for row in result.done:
        if row.difference is not None and row.difference.p is not None:
            corrected = row.difference.corrected
            many = (
                f", {corrected.p:.2g} corrected for {corrected.rows} rows" if corrected and corrected.rows > 2 else ""
            )
            lines.append(
                f"{short[row.model]} {row.strategy} against the best: p = {row.difference.p:.2g} (McNemar, exact){many}"
            )
    together = max(
        (row.difference.corrected.rows for row in result.done if row.difference and row.difference.corrected), default=0
    )
    if together > 2:
        lines.append(f"intervals of 'vs best' are corrected for {together} rows: they hold together, 95 times in 100")
    for note in dict.fromkeys(row.score.note for row in result.done if row.score.note):
        lines.append(f"{result.metric}: {note}")
    lines += [f"{name} is {full}" for full, name in short.items() if name != full]
    return lines + ([result.energy] if all(row.joules is None for row in result.rows) else [])


def _main(result: Any, short: dict[str, str]) -> str:
    from modelgraft_adapters.compare.results import seconds

    if not result.done:
        return ""
    energy = any(row.joules is not None for row in result.done)
    card = any(row.gpu_peak_mib is not None for row in result.done)
    columns = ["model", "strategy", _METRICS.get(result.metric, result.metric), "95 %", "vs best", "95 %"]
    columns += ["train", "test", "MiB", *(["GPU MiB"] if card else []), *(["joules"] if energy else [])]
    rows = []
    for row in result.done:
        apart = row.difference
        cells = [short[row.model], row.strategy, figure(row.score.value), _span(row.score, ".3f")]
        cells += ["best", ""] if apart is None else [_change(apart.value), _span(apart.corrected or apart, "+.3f")]
        cells += [seconds(row.learning), seconds(row.testing), f"{row.peak_mib:.0f}"]
        cells += ["-" if row.gpu_peak_mib is None else f"{row.gpu_peak_mib:.0f}"] if card else []
        cells += ["-" if row.joules is None else f"{row.joules:.0f}"] if energy else []
        rows.append(cells)
    out = io.StringIO()
    render.table(columns, rows, [name for name in columns if name not in ("model", "strategy", "95 %")], out)
    return out.getvalue()


def _curve(result: Any, short: dict[str, str]) -> str:
    """A second table, where there is more than one number of labels, or one to get to."""
    rows = [row for row in result.rows if row.points]
    if not rows or (len(result.shots) < 2 and result.wanted is None):
        return ""
    counts = [*([0] if any(row.points[0].shots == 0 for row in rows) else []), *result.shots]
    columns = ["model", "strategy", *("all labels" if n is None else f"{n} labels" for n in counts)]
    columns += [f"labels to {result.wanted:g}"] if result.wanted is not None else []
    cells = []
    for row in rows:
        means = {point.shots: figure(point.mean) for point in row.points}
        reached = [str(row.reach or "")] if result.wanted is not None else []
        cells.append([short[row.model], row.strategy, *(means.get(n, "") for n in counts), *reached])
    out = io.StringIO()
    render.table(columns, cells, columns[2:], out)
    return out.getvalue() + "\n"


def _words(given: list[str]) -> list[str]:
    """Of a list of words with commas, each once."""
    words = list(dict.fromkeys(word.strip() for text in given for word in text.split(",") if word.strip()))
    if not words:
        raise UsageError(f"{', '.join(map(repr, given))} names nothing; give names, separated by commas")
    return words


def _change(value: float) -> str:
    return f"{value:+.3f}" if value == value else "-"


def _span(score: Any, format: str) -> str:
    return "" if score.low != score.low else f"{score.low:{format}}, {score.high:{format}}"
