"""Options of the command line that say which model runs and how: the same words for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from modelgraft.cli.completion import model_names

from modelgraft_adapters.defaults import IMAGE_MODEL, TEXT_MODEL

if TYPE_CHECKING:
    from modelgraft import Entry

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"Any model. Default: {IMAGE_MODEL}, for texts {TEXT_MODEL}.",
        autocompletion=model_names,
    ),
]
Layer = Annotated[str | None, typer.Option(help="Where to take the features. Default: the model's embedding.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Items per forward pass.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Decoding threads.")]


def entry_of(model: str | None, text: bool) -> Entry:
    """Return the entry of the model that was named; where none was, of the usual one for images or texts.

    Raises:
        UsageError: nothing, or more than one thing, has the name.
    """
    from modelgraft import resolve

    return resolve(model if model is not None else TEXT_MODEL if text else IMAGE_MODEL)


def templates_of(words: Sequence[str] | None) -> str | list[str] | None:
    """Return prompts as adapters take them: one may be the name of an ensemble."""
    if not words:
        return None
    return words[0] if len(words) == 1 else list(words)
