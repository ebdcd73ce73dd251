"""Options of the command line that say what the data with labels are: the same words for every verb that trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from modelgraft_adapters.data.dataset import Dataset

Data = Annotated[
    str,
    typer.Argument(
        help="A folder with a folder per class (or train/ and test/ of such), a table (CSV, TSV, JSON lines, Parquet), or tars."
    ),
]
ItemColumn = Annotated[str | None, typer.Option(help="Of a table: the column with the texts or paths.")]
LabelColumns = Annotated[
    list[str] | None,
    typer.Option(help="Of a table: the column with the labels. Can be repeated for several labels."),
]
SplitColumn = Annotated[str | None, typer.Option(help="Of a table: the column that says train or test.")]
GroupColumn = Annotated[
    str | None,
    typer.Option(help="Of a table: what belongs together (patient, author, video), kept on one side of every split."),
]
LabelSeparator = Annotated[str | None, typer.Option(help="What parts several labels in one field, such as '|'.")]
TaskName = Annotated[
    str | None, typer.Option(help="single-label, multi-label or regression. Default: as the labels look.")
]
TestFraction = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Of data without a test split: the part to test on, drawn by class.")
]
Balanced = Annotated[bool, typer.Option("--balanced", help="Weigh all classes alike, however frequent.")]


def read_labelled(
    data: str,
    task: Any,
    item_column: str | None,
    label_columns: Sequence[str] | None,
    split_column: str | None,
    label_separator: str | None,
    group_column: str | None = None,
) -> Dataset:
    """The data that these options name. Errors as `data.reading.read_data`."""
    from modelgraft_adapters.data.reading import read_data

    columns = list(label_columns or ())
    return read_data(
        data,
        task=task,
        item_column=item_column,
        label_column=columns[0] if len(columns) == 1 else columns or None,
        split_column=split_column,
        label_separator=label_separator,
        group_column=group_column,
    )
