"""``modelgraft calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.cli.completion import model_names
from modelgraft.outputs import check_output_folder

from modelgraft_adapters.cli.adapter_options import Backbone
from modelgraft_adapters.cli.data_options import ItemColumn, LabelColumns, SplitColumn, read_labelled
from modelgraft_adapters.cli.device_options import Device, Engine, TrainedDtype
from modelgraft_adapters.cli.model_options import BatchSize, Workers
from modelgraft_adapters.cli.progress import say, say_all
from modelgraft_adapters.cli.result_text import Format, aligned, check_format, check_places, place, show
from modelgraft_adapters.metrics.calibration import checked_coverage
from modelgraft_adapters.saved.card import check_folder


def calibrate(
    adapter: Annotated[
        str,
        typer.Argument(
            help="A saved adapter: its folder, hub:USER/REPO, or a registered name.", autocompletion=model_names
        ),
    ],
    data: Annotated[
        str, typer.Argument(help="Labelled items that it was not trained on: a folder per class, a table, or tars.")
    ],
    save: Annotated[Path, typer.Option(help="Write the calibrated adapter to this folder; it may be the same one.")],
    split: Annotated[
        str | None, typer.Option(help="Of data that are split: the part to calibrate on. Default: val.")
    ] = None,
    coverage: Annotated[
        float, typer.Option(help="How often the sets that are counted are to hold the true class.")
    ] = 0.9,
    item_column: ItemColumn = None,
    label_column: LabelColumns = None,
    split_column: SplitColumn = None,
    backbone: Backbone = None,
    format: Format = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    device: Device = None,
    dtype: TrainedDtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Make a saved adapter's probabilities mean what they say, and let it give sets of classes (predict --coverage).

    What is said of it is measured on parts of the items, each calibrated on the others. Exit codes: 0 success, 2 usage error.
    """
    check_format(format)
    check_places(output, None)
    check_output_folder(check_folder(save))
    checked_coverage(coverage)
    from modelgraft_adapters.saved.registry_entry import find_adapter

    entry = find_adapter(adapter)
    found = read_labelled(data, None, item_column, label_column, split_column, None)

    # torch is imported from here on.
    from modelgraft_adapters.estimators.frozen import FrozenAdapter
    from modelgraft_adapters.runs.calibrate import run_calibrate

    options: dict[str, Any] = {"device": device, "dtype": dtype, "engine": engine}
    loaded = FrozenAdapter.load(entry, backbone=backbone, batch_size=batch_size, workers=workers, **options)
    say_all([*loaded.notes_, *loaded.extractor.take_notes()])
    result = run_calibrate(loaded, found, split, coverage)
    say_all(loaded.extractor.take_notes())
    show(format, result.record(), calibration_table(result), output)
    say(
        f"saved to {loaded.save(save)}; 'modelgraft predict FILES --model {place(save)} --coverage {coverage:g}' uses it"
    )


def calibration_table(found: Any) -> str:
    """Return what calibrating found, a line each."""
    return aligned([("calibrated on", found.source), *calibration_lines(found)])


def calibration_lines(found: Any) -> list[tuple[str, str]]:
    """Return the lines that are the same wherever an adapter is calibrated."""
    worth = found.worth
    sure = "too sure" if found.temperature > 1 else "not sure enough"
    about = "" if 0.95 < found.temperature < 1.05 else f": it was {sure}"
    (loss, loss_after), (error, error_after) = worth.log_loss, worth.calibration_error
    lines = [
        ("temperature", f"{found.temperature:.2f}{about}"),
        ("log loss", f"{loss_after:.3f}, before {loss:.3f}, on {worth.items:,} items ({found.on})"),
        ("calibration error", f"{error_after:.3f}, before {error:.3f}"),
    ]
    if worth.covered is None:
        lines.append((f"sets of {worth.coverage:.0%}", "too few items to calibrate on"))
    else:
        interval = f"{100 * worth.covered_low:.1f} to {100 * worth.covered_high:.1f}"
        held = f"hold the true class of {100 * worth.covered:.1f} % ({interval}), {worth.set_size:.2f} classes each"
        lines.append((f"sets of {worth.coverage:.0%}", held))
    return lines
