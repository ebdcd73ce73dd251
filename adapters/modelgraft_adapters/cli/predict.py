"""``modelgraft predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from modelgraft.cli.completion import model_names
from modelgraft.errors import UsageError

from modelgraft_adapters.cli.adapter_options import Backbone
from modelgraft_adapters.cli.device_options import Device, Engine, TrainedDtype
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts
from modelgraft_adapters.cli.model_options import BatchSize, Workers
from modelgraft_adapters.cli.precision import precision_told
from modelgraft_adapters.cli.prediction_rows import write_rows
from modelgraft_adapters.cli.prediction_writers import FORMATS, make_writer
from modelgraft_adapters.cli.progress import say_all
from modelgraft_adapters.metrics.calibration import checked_coverage

TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns; '-' reads paths from standard input. For texts: texts, files of one a line. Or a table."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A saved adapter: its folder, hub:USER/REPO, or a registered name.",
            autocompletion=model_names,
        ),
    ],
    backbone: Backbone = None,
    text: Annotated[
        bool, typer.Option("--text", help="The items are texts. Need not be said: the adapter knows.")
    ] = False,
    column: Annotated[str | None, typer.Option(help="Of a table: the column with the paths or texts.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Report only the best K classes.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Give no label where the best score is lower. Several labels: least score of one."
        ),
    ] = None,
    ood: Annotated[
        bool,
        typer.Option(
            "--ood",
            help="Say of each item how strange it is: the share of training items, held out, that are at least as strange.",
        ),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Give each item a set of classes that holds the true one so often (0.9). Of a calibrated adapter."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}. Default: by the output's name, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, whole or not at all.")
    ] = None,
    device: Device = None,
    dtype: TrainedDtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep features for the next time, and use kept ones.")
    ] = True,
) -> None:
    """Predict with a saved adapter: images or texts.

    Exit codes: 0 success, 1 if some item could not be read (it is a row with its reason), 2 usage error.
    """
    from modelgraft_adapters.saved.registry_entry import find_adapter

    writer = make_writer(format, output, None)  # what is wrong with it is told before anything is read
    entry = find_adapter(model)
    is_text = entry.modality == "text"
    if text and not is_text:
        raise UsageError(f"{model} reads images; leave out --text")
    _check_options(model, entry, threshold, coverage)
    identified = _items(paths, is_text, column)
    if not identified:
        raise UsageError("nothing to predict: no " + ("texts" if is_text else "paths on standard input"))

    # torch is imported from here on, when all that can be wrong with the call has been said.
    from modelgraft_adapters.estimators.frozen import FrozenAdapter

    adapter = FrozenAdapter.load(
        entry,
        backbone=backbone,
        device=device,
        dtype=dtype,
        engine=engine,
        batch_size=batch_size,
        workers=workers,
        store=None if keep else False,
    )
    _check_able(adapter, ood, coverage)
    say_all([*adapter.notes_, *adapter.extractor.take_notes()])
    writer.labels = list(adapter.classes) if top_k is None else None
    unlike: list[str] = []
    predictions = adapter.classify(
        (item for _, item in identified), threshold=threshold, coverage=coverage, tell=unlike.append
    )
    writer.ask(text=is_text, ood=ood, sets=coverage is not None, precision=precision_told(dtype, dtype, device))
    try:
        write_rows(writer, identified, predictions, top_k, "predicting")
    finally:
        say_all([*adapter.extractor.take_notes(), *unlike])


def _check_options(model: str, entry: Any, threshold: float | None, coverage: float | None) -> None:
    if threshold is not None and "regression" in entry.tasks:
        raise UsageError(f"{model} predicts numbers, and a threshold is for classes; leave out --threshold")
    if coverage is not None:
        checked_coverage(coverage)


def _check_able(adapter: Any, ood: bool, coverage: float | None) -> None:
    """What the adapter has not is told before the first item."""
    if ood:
        adapter.check_reference()
    if coverage is not None:
        adapter.set_limit(coverage)


def _items(paths: list[str], text: bool, column: str | None) -> list[tuple[str, Any]]:
    """(what to call it, item) for everything that is pointed at."""
    if len(paths) == 1 and paths[0].lower().endswith(TABLES) and Path(paths[0]).is_file():
        from modelgraft_adapters.data.reading import read_data

        found = read_data(paths[0], modality="text" if text else "image", item_column=column)
        return [(found.identity(number), item) for number, item in enumerate(found.items)]
    if column is not None:
        raise UsageError(f"--column goes with one table ({', '.join(TABLES)})")
    if text:
        return list(expand_texts(paths, sys.stdin))
    return [(path, path) for path in expand_paths(paths, sys.stdin)]
