"""Options of the command line that say what is trained and how: the same words for every verb that trains a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.cli.completion import model_names
from modelgraft.errors import UsageError

from modelgraft_adapters.defaults import IMAGE_MODEL, TEXT_MODEL, parse_settings

RENAMED_OUTPUT = {"-o": "--save", "--output": "--save"}
SavedTo = Annotated[
    Path,
    typer.Option("--save", help="Folder for the result: a model by its path from then on; and for the checkpoint."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"Any model that can be trained. Default: {IMAGE_MODEL}, for texts {TEXT_MODEL}.",
        autocompletion=model_names,
    ),
]
Strategy = Annotated[str, typer.Option("--strategy", "-s", help="What is trained; a wrong name lists those there are.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training items. Default: 10, at least 100 steps.")]
Steps = Annotated[int | None, typer.Option(help="Steps, in place of passes.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Items of a step. Default: 32, of contrastive 16 pairs.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting, NAME=VALUE (layer_decay=0.75, l2_sp=0.01). Can be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard event files too.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that read items ahead.")]


def training_settings(
    strategy: str,
    epochs: float | None,
    steps: int | None,
    batch_size: int | None,
    lr: str | None,
    set_: Sequence[str] | None,
) -> dict[str, Any]:
    """The settings that these options name, checked; ``lr='find'`` names none.

    Raises:
        UsageError: a setting there is not, a value that is none, a rate that is no number.
    """
    given = {"batch_size": batch_size, "epochs": epochs, "steps": steps, "lr": None if lr == "find" else _rate(lr)}
    named = {name: value for name, value in given.items() if value is not None}
    settings = {"strategy": strategy, **named, **parse_settings(list(set_ or []))}

    from modelgraft_adapters.finetuning.settings import Settings

    Settings.of(settings)
    return settings


def _rate(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UsageError(f"--lr {text!r} is no number, and not 'find'") from None
