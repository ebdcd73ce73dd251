"""``modelgraft gap``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.outputs import write_output

from modelgraft_adapters.cli.data_options import ItemColumn
from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.model_options import BatchSize, Layer, Model, Workers, entry_of
from modelgraft_adapters.cli.precision import settled
from modelgraft_adapters.cli.progress import Bar, end_with, say, say_all
from modelgraft_adapters.cli.result_text import aligned, check_format, check_places, data_name, show

if TYPE_CHECKING:
    from modelgraft_adapters.data.dataset import Dataset
    from modelgraft_adapters.runs.gap_result import Gap

_MOST_CLASSES = 20
"""Rows of a table of classes; JSON and the report have all."""


def gap(
    source: Annotated[
        str,
        typer.Argument(
            help="What is trained on: a folder (of images, or of a folder per class), a table, tars, or a pattern."
        ),
    ],
    target: Annotated[str, typer.Argument(help="What is to be predicted, likewise.")],
    model: Model = None,
    item_column: ItemColumn = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: the column with the labels.")] = None,
    target_item_column: Annotated[
        str | None, typer.Option(help="The same of the target. Default: a column of a usual name.")
    ] = None,
    target_label_column: Annotated[
        str | None, typer.Option(help="The same of the target. Default: a column of a usual name, if there is one.")
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Compare classes, or estimate how frequent they are in a target without labels. Default: where there are labels.",
        ),
    ] = None,
    strangest: Annotated[int, typer.Option(min=0, help="How many strange target items are named.")] = 10,
    permutations: Annotated[int, typer.Option(min=19, help="Permutations of the tests.")] = 999,
    layer: Layer = None,
    seed: Annotated[int, typer.Option(min=0, help="Of permutations, folds and the items that are drawn.")] = 0,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="table or json. Default: by the output's name.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with the strangest items, one file.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Say how far a target is from a source: whether there is a shift, how large, of which classes. Labels are optional.

    Exit codes: 0 success, whether there is a gap or not; 1 if some item could not be read; 2 usage error.
    """
    kind = format or ("json" if output is not None and output.suffix == ".json" else "table")
    check_format(kind)
    check_places(output, report)
    one, other = _read(source, item_column, label_column), _read(target, target_item_column, target_label_column)
    if one.modality != other.modality:
        raise UsageError(
            f"{source} holds {one.modality}s and {target} {other.modality}s; a gap is between data of one kind"
        )
    entry = entry_of(model, one.modality == "text")

    # torch is imported from here on.
    from modelgraft_adapters.runs.gap import check_sides, measure_gap, told_same

    check_sides(one, other, labels)
    say_all(same := told_same(source, target))
    options: dict[str, Any] = {"layer": layer, "device": device, "batch_size": batch_size, "workers": workers}
    options |= settled(entry, one.items, one.modality, dtype, engine, **options)
    wanted = {"labels": labels, "strangest": strangest, "permutations": permutations, "seed": seed}
    with Bar() as bar:
        found = measure_gap(one, other, entry, **wanted, tell=bar.tell, **options)  # type: ignore[arg-type]
    say_all(note for note in found.notes if note not in same)
    show(kind, found.record(), _table(found), output)
    if report is not None:
        from modelgraft_adapters.report.gap_page import build_gap_page

        write_output(report, build_gap_page(found, data_name(source), data_name(target)).encode())
        say(f"report in {report}")
    end_with(len(found.unreadable), len(one) + len(other), ": ".join(next(iter(found.unreadable.items()), ())))


def _read(place: str, item_column: str | None, label_column: str | None) -> Dataset:
    from modelgraft_adapters.data.reading import read_data

    return read_data(place, item_column=item_column, label_column=label_column)


def _table(found: Gap) -> str:
    rbf, linear, apart, frechet = found.mmd, found.linear, found.apart, found.frechet
    low, high = found.apart_interval
    lines = [
        ("source", f"{len(found.source):,} items"),
        ("target", f"{len(found.target):,} items, seen through {found.model}"),
        ("MMD, RBF", f"{rbf.value:.4g}, p = {rbf.p_value:.2g} of {rbf.permutations:,} permutations"),
        ("MMD, linear", f"{linear.value:.4g}, p = {linear.p_value:.2g}"),
        ("A-distance", f"{apart.distance:.2f} ({low:.2f} to {high:.2f}) between 0 and 2: error {apart.error:.3f}"),
        ("Frechet", f"{frechet.value:.4g}, of which {frechet.by_chance:.4g} by chance with so many items"),
    ]
    if found.strange is not None:
        lines.append(("strange", f"{100 * found.strange:.1f} % of the target, where 1 % of the source is"))
    out = io.StringIO()
    out.write(aligned(lines) + "\n" + "".join(f"{render.printable(line)}\n" for line in found.verdict()))
    _classes(found, out)
    if found.strangest:
        rows = [[f"{one.distance:.2f}", f"{one.ood:.4f}", _short(one.item)] for one in found.strangest]
        out.write("\n")
        render.table(["distance", "ood", "strangest target item"], rows, right=("distance", "ood"), out=out)
    return out.getvalue()


def _classes(found: Gap, out: Any) -> None:
    if found.classes:
        rows = [
            [c.name, str(c.items[0]), str(c.items[1]), f"{c.mmd:.4g}", f"{c.p_value:.2g}"]
            for c in found.classes[:_MOST_CLASSES]
        ]
        out.write("\n")
        names = ["class", "source items", "target items", "MMD", "p"]
        render.table(names, rows, right=tuple(names[1:]), out=out)
    if found.labels is None:
        return
    shares = sorted(found.labels.shares, key=lambda s: -abs(s.target - s.source))
    rows = [
        [s.name, f"{100 * s.source:.1f} %", f"{100 * s.target:.1f} %", f"{100 * s.low:.1f} to {100 * s.high:.1f} %"]
        for s in shares[:_MOST_CLASSES]
    ]
    how = "" if found.labels.how == "counted" else " (estimated)" if found.labels.dependable else " (not dependable)"
    names = ["class", "of source", f"of target{how}", "95 %"]
    out.write("\n")
    render.table(names, rows, right=tuple(names[1:]), out=out)
    if len(shares) > _MOST_CLASSES:
        out.write(f"and {len(shares) - _MOST_CLASSES} more classes: --format json\n")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 72 else "…" + line[-71:]
