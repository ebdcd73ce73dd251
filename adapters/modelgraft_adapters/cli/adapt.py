"""``modelgraft adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from modelgraft.errors import UsageError
from modelgraft.outputs import check_output_folder

from modelgraft_adapters.alignment.naming import AUTO, HEAD_SETTINGS, METHODS, NETWORK, NETWORK_SETTINGS, SETTINGS
from modelgraft_adapters.cli.data_options import GroupColumn, ItemColumn, SplitColumn, TestFraction
from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.model_options import BatchSize, Layer, Model, Workers, entry_of
from modelgraft_adapters.cli.precision import settled
from modelgraft_adapters.cli.progress import Bar, end_with, say, say_all
from modelgraft_adapters.cli.result_text import Format, aligned, check_format, check_places, place, show, spent
from modelgraft_adapters.defaults import parse_settings
from modelgraft_adapters.metrics.wording import interval
from modelgraft_adapters.saved.card import check_folder

if TYPE_CHECKING:
    from modelgraft_adapters.data.dataset import Dataset

_SCORED = {
    "test split": "the target's test split, which nothing was adapted to",
    "labelled target": "the labelled target, which nothing was adapted to",
    "adapted items": "the items that were adapted to; their labels were looked at now, for the first time",
}


def adapt(
    source: Annotated[str, typer.Argument(help="Labelled data: as probe's, a folder, a table, or tars.")],
    target: Annotated[
        str,
        typer.Argument(help="Items of the other domain, in the same forms. Labels are not needed, and choose nothing."),
    ],
    model: Model = None,
    method: Annotated[
        str,
        typer.Option(
            help="auto (chosen without labels of the target), source-only, mean-shift, coral, subspace, importance, "
            "self-training; of images' models with batch normalisation adabn, tent; of images, trained on both domains, "
            "deep-coral, dann."
        ),
    ] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting, NAME=VALUE (C, Cs, shrinkage, dimension, clip; of deep-coral and dann those of finetune, such as "
            "steps, lr, strategy, semi_weight). Can be repeated.",
        ),
    ] = None,
    labelled_target: Annotated[
        str | None,
        typer.Option(help="Items of the target with labels, to score on when all is done; never adapted to."),
    ] = None,
    item_column: ItemColumn = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: the column with the labels.")] = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    test_fraction: TestFraction = 0.2,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the source that settings are chosen by.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    layer: Layer = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the result to this folder: a model by its path from then on.")
    ] = None,
    format: Format = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Train a head on labelled data for other data without labels: another camera, another kind of text.

    The table sets the method beside source-only, which does nothing for the target. Labels that the target happens to have are
    looked at once, at the end, and choose nothing. Exit codes: 0 success, 1 if some item could not be read, 2 usage error.
    """
    check_format(format)
    check_places(output, None)
    if save is not None:
        check_output_folder(check_folder(save))
    settings = _checked(method, parse_settings(set_ or []))
    columns = {"item_column": item_column, "split_column": split_column, "group_column": group_column}
    found = _read(source, label_column, **columns)
    others = [_read(other, label_column, **columns) for other in (target, labelled_target) if other is not None]
    entry = entry_of(model, found.modality == "text")

    # torch is imported from here on.
    from modelgraft_adapters.estimators.adaptation import DomainAdapter
    from modelgraft_adapters.runs.adapt import run_adapt

    options: dict[str, Any] = {"layer": layer, "device": device, "batch_size": batch_size, "workers": workers}
    options |= settled(entry, found.items, found.modality, dtype, engine, **options)
    network = method if method in NETWORK else None
    more = {name: settings.pop(name) for name in [*settings] if network and name not in HEAD_SETTINGS}
    feature_method = "source-only" if network else method
    adapter = DomainAdapter(entry, feature_method, n_folds=folds, seed=seed, **options, **settings)
    with Bar() as bar:
        run = run_adapt(
            adapter,
            found,
            others[0],
            labelled_target=others[1] if len(others) > 1 else None,
            test_fraction=test_fraction,
            network=network,
            settings=more,
            progress=bar.tell,
        )
    say_all(run.notes)
    show(format, run.record(), _table(run, source, target), output)
    if save is not None:
        say(f"saved to {run.adapter.save(save)}; 'modelgraft predict FILES --model {place(save)}' uses it")
    end_with(run.broken, run.items)


def _checked(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, before torch is imported and anything is read.

    Raises:
        UsageError: a method or a setting that there is not.
    """
    if method not in (AUTO, *METHODS, *NETWORK):
        raise UsageError(f"no way of adapting {method!r}; there are {', '.join((AUTO, *METHODS, *NETWORK))}")
    known = NETWORK_SETTINGS[method] if method in NETWORK else SETTINGS
    for name in settings:
        if name not in known:
            raise UsageError(f"--set {name}: {method} has no such setting; there are {', '.join(known)}")
    return settings


def _read(path: str, label_column: str | None, **columns: Any) -> Dataset:
    """Data of one class an item. A table without the column of the labels is read without labels: a target need not have it."""
    from modelgraft_adapters.data import table_files
    from modelgraft_adapters.data.reading import read_data

    if label_column is not None and Path(path).is_file() and table_files.is_table(path):
        there = table_files.read_table(path).columns
        label_column = label_column if label_column in there else None
        columns = {name: value if value in there or name == "item_column" else None for name, value in columns.items()}
    return read_data(path, task="single-label", label_column=label_column, **columns)


def _table(run: Any, source: str, target: str) -> str:
    adapter = run.adapter
    done = adapter.report_["adaptation"]
    lines = [
        ("source", f"{source}: {len(run.train)} to train on, {_tested(run)} held out, {len(adapter.classes)} classes"),
        ("target", f"{target}: {len(run.target)} items, adapted to without labels"),
        ("model", f"{adapter.entry.name}"),
        ("method", run.method + (f"; {done['chosen_by']['why']}" if "chosen_by" in done else "")),
    ]
    for result in run.results:
        lines.append((result.name, f"source {interval(result.source.score)}"))
        if result.target is not None:
            lines.append(("", f"target {interval(result.target.score)}{_gain(result.gain)}"))
    lines.append(
        ("scored on", _SCORED[run.scored_on] if run.scored_on else "the source alone: the target has no labels")
    )
    lines.append(("cost", f"{spent(run.seconds)}; {run.encoded} items through the model, {run.peak_mib:.0f} MiB"))
    return aligned(lines)


def _tested(run: Any) -> int:
    return len(run.results[0].source.targets)


def _gain(gain: Any) -> str:
    """The difference to source-only, and whether it is one."""
    if gain is None:
        return ""
    word = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no clear difference"
    return f", {gain.value:+.3f} to source-only (95 %: {gain.low:+.3f} to {gain.high:+.3f}): {word}"
