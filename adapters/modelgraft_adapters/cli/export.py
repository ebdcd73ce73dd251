"""``modelgraft export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from modelgraft.cli import render
from modelgraft.cli.completion import model_names

from modelgraft_adapters.cli.adapter_options import Backbone
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts
from modelgraft_adapters.cli.progress import say
from modelgraft_adapters.cli.result_text import Format, aligned, check_format
from modelgraft_adapters.export.formats import check_target

LEAST_SPREAD: Final = 1e-4
"""Items that differ by less in what the adapter says of them are no test."""


def export(
    adapter: Annotated[
        str,
        typer.Argument(
            help="A saved adapter: its folder, hub:USER/REPO, or a registered name.", autocompletion=model_names
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: NAME.onnx or NAME.pt2.")],
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="Images (files, folders, patterns) or texts to compare the file with the adapter on, beside some made up. "
            "Can be repeated."
        ),
    ] = None,
    backbone: Backbone = None,
    format: Format = "table",
) -> None:
    """Write a saved adapter to one file that runs without modelgraft: ONNX, or a program of torch.export.

    It goes from preprocessed images, or tokens, to probabilities, and says in itself what they are. It is read back and compared
    with the adapter first. Exit codes: 0 success, 1 if it differs or an item to compare on could not be read, 2 usage error.
    """
    check_format(format)
    check_target(output)
    from modelgraft_adapters.saved.registry_entry import find_adapter

    entry = find_adapter(adapter)
    items: list[Any] | None = None
    if check:
        text = entry.modality == "text"
        items = [item for _, item in expand_texts(check, sys.stdin)] if text else list(expand_paths(check, sys.stdin))

    # torch is imported from here on, when all that can be wrong with the call has been said.
    from modelgraft_adapters.estimators.frozen import FrozenAdapter
    from modelgraft_adapters.export.exporter import export as write

    loaded = FrozenAdapter.load(entry, backbone=backbone, device="cpu", dtype="float32", store=False)
    for note in loaded.notes_:
        say(note)
    trained = loaded.saved_.dtype if loaded.saved_ is not None else None
    if trained not in (None, "float32"):
        say(
            f"trained on features in {trained}; the file calculates in float32, and is compared with the adapter in float32"
        )
    done = write(loaded, output, items)
    if format == "json":
        render.as_json(done.record())
    else:
        print(_table(done.record()), end="")
    if done.spread < LEAST_SPREAD:
        say(
            "the adapter says nearly the same of every item compared, so that it agrees shows little; name others with --check"
        )
    for item, reason in done.unreadable.items():
        say(f"not compared on {item}: {reason}")
    if done.unreadable:
        raise typer.Exit(1)


def _table(record: dict[str, Any]) -> str:
    kind = "text" if record["modality"] == "text" else "image"
    lines = [
        ("file", record["file"]),
        ("format", record["format"]),
        ("size", f"{record['size']:,} bytes"),
        *((way[:-1], _tensor(about)) for way in ("inputs", "outputs") for about in record[way]),
        (
            "parity",
            f"at most {record['parity']:.1e} from the adapter, on {record['compared']} {kind}s of which it says what differs by "
            f"{record['spread']:.1e}",
        ),
    ]
    return aligned(lines)


def _tensor(about: dict[str, Any]) -> str:
    return f"{about['name']} {about['dtype']} ({', '.join(map(str, about['shape']))})"
