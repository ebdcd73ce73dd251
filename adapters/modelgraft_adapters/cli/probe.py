"""``modelgraft probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.outputs import check_output_folder, write_output

from modelgraft_adapters.cli.calibrate import calibration_lines
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
from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.model_options import BatchSize, Layer, Model, Workers, entry_of, templates_of
from modelgraft_adapters.cli.precision import settled
from modelgraft_adapters.cli.progress import Bar, end_with, say, say_all
from modelgraft_adapters.cli.result_text import (
    Format,
    aligned,
    check_format,
    check_places,
    data_name,
    place,
    show,
    spent,
    this_command,
)
from modelgraft_adapters.defaults import parse_settings
from modelgraft_adapters.metrics.wording import interval
from modelgraft_adapters.saved.card import check_folder

RENAMED = {"--repeats": "--check-duplicates", "--no-repeats": "--no-check-duplicates"}
"""Options as they were called, and as they are."""


def probe(
    data: Data,
    model: Model = None,
    head: Annotated[
        str, typer.Option("--head", help="What is trained; a wrong name lists those there are.")
    ] = "linear",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the head, NAME=VALUE (C=0.1, k=5). Can be repeated.")
    ] = None,
    item_column: ItemColumn = None,
    label_column: LabelColumns = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    label_separator: LabelSeparator = None,
    task: TaskName = None,
    test_fraction: TestFraction = 0.2,
    shots: Annotated[int | None, typer.Option(min=1, help="Train on this many labels of each class only.")] = None,
    unlabelled: Annotated[
        str | None, typer.Option(help="Items without labels, for the heads that train on them too.")
    ] = None,
    balanced: Balanced = False,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the training items that settings are chosen by.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    layer: Layer = None,
    template: Annotated[
        list[str] | None, typer.Option("--template", "-t", help="Prompts, for heads that start from class names.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the result to this folder: a model by its path from then on.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report, one file.")] = None,
    format: Format = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    check_duplicates: Annotated[
        bool,
        typer.Option(
            "--check-duplicates/--no-check-duplicates",
            help="Look for test items that are duplicates of a training item.",
        ),
    ] = True,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Make probabilities mean what they say, by the folds; for predict --coverage."
        ),
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Train a head on the features of a frozen model, and test it: images or texts.

    Everything is chosen on parts of the training items; the test items are looked at once. Exit codes: 0 success, 1 if some
    item could not be read, 2 usage error.
    """
    check_format(format)
    _check_places(output, report, save)
    settings = parse_settings(set_ or [])
    found = read_labelled(data, task, item_column, label_column, split_column, label_separator, group_column)
    entry = entry_of(model, found.modality == "text")

    # torch is imported from here on.
    from modelgraft_adapters.estimators.frozen import FrozenAdapter
    from modelgraft_adapters.runs.probe import run_probe

    options: dict[str, Any] = {"layer": layer, "device": device, "batch_size": batch_size, "workers": workers}
    options |= settled(entry, found.items, found.modality, dtype, engine, **options)
    options |= {"n_folds": folds, "class_weight": "balanced" if balanced else None, "seed": seed}
    adapter = FrozenAdapter(entry, head, templates=templates_of(template), **options, **settings)
    with Bar() as bar:
        run = run_probe(
            adapter,
            found,
            test_fraction=test_fraction,
            shots=shots,
            unlabelled=unlabelled,
            find_repeated=check_duplicates,
            calibrate=calibrate,
            progress=bar.tell,
        )
    say_all(run.notes)
    show(format, run.record(), _table(run, data), output)
    if save is not None:
        say(f"saved to {adapter.save(save)}; 'modelgraft predict FILES --model {place(save)}' uses it")
    if report is not None:
        _write_report(run, report, data)
    broken = int((~run.train_features.good).sum() + (~run.test_features.good).sum())
    end_with(broken, len(run.train) + len(run.test))


def _check_places(output: Path | None, report: Path | None, save: Path | None) -> None:
    """Try before the work whether what it makes can be written."""
    check_places(output, report)
    if save is not None:
        check_output_folder(check_folder(save))


def _table(run: Any, data: str) -> str:
    adapter, evaluation = run.adapter, run.evaluation
    chosen = ", ".join(f"{name} = {_number(value)}" for name, value in adapter.report_.get("chosen", {}).items())
    ties = [value for value in adapter.report_.get("ties", []) if isinstance(value, (int, float))]
    if len(ties) > 1:
        chosen += f" ({_number(min(ties))} to {_number(max(ties))} do as well)"
    certificate = adapter.report_.get("certificate")
    lines = [
        ("data", f"{data}: {len(run.train)} to train on, {len(run.test)} to test on, {_what(adapter)}"),
        (
            "model",
            f"{adapter.entry.name}, features of {run.train_features.features.shape[-1]} numbers{_run_by(adapter)}",
        ),
        ("head", f"{adapter.head_name}{'; ' + chosen if chosen else ''}"),
    ]
    if certificate:
        lines.append(("optimum", _certified(adapter)))
    lines += [(score.name, interval(score)) for score in evaluation.scores]
    if run.calibrated is not None:
        lines += calibration_lines(run.calibrated)
    if run.zero_shot is not None:
        lines.append(
            (
                "zero-shot",
                f"{interval(run.zero_shot.score)} {run.zero_shot.score.name}, by the names of the classes alone",
            )
        )
    if run.chance.value == run.chance.value:
        lines.append(("chance", f"{run.chance.value:.3f}, {run.chance.name}"))
    lines.append(("cost", f"{spent(run.seconds)}; {run.encoded} items through the model, {run.peak_mib:.0f} MiB"))
    return aligned(lines)


def _run_by(adapter: Any) -> str:
    """Precision and engine, where they are not the usual ones."""
    card = adapter.extractor.card
    dtype, engine = card["precision"]["dtype"], card.get("engine")
    return (f", {dtype}" if dtype in ("bfloat16", "float16") else "") + (f", by {engine}" if engine else "")


def _certified(adapter: Any) -> str:
    unit = "of the targets' squares" if adapter.task == "regression" else "nats"
    certificate = adapter.report_["certificate"]
    if not adapter.report_.get("converged", True):
        return f"not converged: at most {certificate:.1e} {unit} above it"
    return f"certified to {certificate:.1e} {unit}"


def _what(adapter: Any) -> str:
    return f"{len(adapter.classes)} {'numbers' if adapter.task == 'regression' else 'classes'}"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write_report(run: Any, path: Path, data: str) -> None:
    from modelgraft_adapters.report import build_report, collect

    with Bar() as bar:
        page = collect(run, data_name=data_name(data), command=this_command(), progress=bar.tell)
    write_output(path, build_report(page).encode())
    say(f"report in {path}")
