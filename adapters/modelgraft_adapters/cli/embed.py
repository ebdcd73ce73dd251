"""``modelgraft embed``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from modelgraft.errors import UsageError

from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts
from modelgraft_adapters.cli.model_options import BatchSize, Model, Workers, entry_of
from modelgraft_adapters.cli.precision import settled
from modelgraft_adapters.cli.progress import Bar, end_with, say, say_all
from modelgraft_adapters.defaults import IMAGE_MODEL, TEXT_MODEL

READ_AS_DATA: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".tar", ".tar.gz", ".tgz")
"""What `modelgraft_adapters.data.reading` reads; everything else is an image or a list of texts."""


def embed(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns; '-' reads paths from standard input; a table or a tar. With --text: texts, "
            "files of one a line, or a table."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="NAME.parquet, .npy or .safetensors: written whole or not at all.")
    ],
    model: Model = None,
    text: Annotated[bool, typer.Option("--text", help="Embed texts, not images.")] = False,
    layer: Annotated[
        str | None,
        typer.Option(help="Where to take the embedding; a wrong name lists those there are. Default: the model's."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Of a table: the column with the paths or texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: the column with the labels.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep features for the next time, and use kept ones.")
    ] = True,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Turn images or texts into embeddings by a pretrained model, and write them to a file.

    Exit codes: 0 success, 1 if some item could not be read (it has its reason in the file), 2 usage error.
    """
    from modelgraft_adapters.features.output_files import check_output, feature_file

    check_output(output)
    items, names, labels = _read(data, text, column, label_column)
    if not names:
        raise UsageError("nothing to embed: no " + ("texts" if text else "paths on standard input"))

    entry = entry_of(model, text)
    _fits(entry, text)

    # torch is imported from here on, when all that can be wrong with the call has been said.
    from modelgraft_adapters.features.extractor import FeatureExtractor

    options: dict[str, Any] = {
        "layer": layer,
        "device": device,
        "batch_size": batch_size,
        "workers": workers,
        "store": None if keep else False,
    }
    modality: Any = "text" if text else "image"
    options |= settled(entry, items, modality, dtype, engine, **options)
    extractor = FeatureExtractor(entry, modality=modality, **options)
    say_all(extractor.take_notes())
    if layer is not None and (extractor.store is None or not len(extractor.store)):
        _ = extractor.backbone  # a layer that is not there is said before anything is read
    failed, first = 0, ""
    with feature_file(output, extractor.card) as file, Bar() as bar:
        for number, row in enumerate(extractor.stream(items)):
            failed += row.error is not None
            first = first or (f"{names[number]}: {row.error}" if row.error is not None else "")
            file.write(names[number], row.features, label=labels[number] if labels else None, error=row.error)
            bar.tell("embedding", number + 1, len(names))
    say_all(extractor.take_notes())
    wide = "x".join(map(str, file.shape or (0,)))
    say(f"{file.rows} embeddings of {wide} numbers in {output}; {extractor.encoded} computed, the others were kept")
    end_with(failed, len(names), first)


def _read(
    data: list[str], text: bool, column: str | None, label_column: str | None
) -> tuple[Sequence[Any], Sequence[str], list[str | None] | None]:
    """Items, what to call each, and their labels where there are some."""
    if len(data) == 1 and data[0].lower().endswith(READ_AS_DATA):
        from modelgraft_adapters.data.reading import read_data

        found = read_data(data[0], modality="text" if text else "image", item_column=column, label_column=label_column)
        names = [found.identity(number) for number in range(len(found))]
        return found.items, names, _labels(found)
    if column or label_column:
        raise UsageError(f"--column and --label-column go with one table ({', '.join(READ_AS_DATA[:6])})")
    if text:
        pairs = list(expand_texts(data, sys.stdin))
        return [item for _, item in pairs], [name for name, _ in pairs], None
    paths = list(expand_paths(data, sys.stdin))
    return paths, paths, None


def _labels(found: Any) -> list[str | None] | None:
    if found.targets is None:
        return None
    if found.task == "single-label":
        return [found.classes[target] if target >= 0 else None for target in found.targets.tolist()]
    known = found.labelled.tolist()
    if found.task == "multi-label":
        rows = found.targets.tolist()
        named = [";".join(name for name, on in zip(found.classes, row, strict=True) if on == 1) for row in rows]
    else:
        named = [";".join(repr(value) for value in row) for row in found.targets.tolist()]
    return [text if there else None for text, there in zip(named, known, strict=True)]


def _fits(entry: Any, text: bool) -> None:
    if text and entry.modality == "image":
        raise UsageError(f"{entry.name} reads images; leave out --text, or take a text model, as {TEXT_MODEL}")
    if not text and entry.modality == "text":
        raise UsageError(f"{entry.name} reads texts; add --text, or take a model for images, as {IMAGE_MODEL}")
