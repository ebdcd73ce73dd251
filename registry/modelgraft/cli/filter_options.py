"""Options of the command line that choose models of the catalogue: the same words for every verb that does."""

from __future__ import annotations

from typing import Annotated

import typer

from modelgraft.cli import render

__all__ = [
    "Benchmark",
    "EmbedDim",
    "InputSize",
    "Licence",
    "MaxParams",
    "MinParams",
    "MinScore",
    "Provider",
    "Sort",
    "Task",
    "parsed_count",
]

Provider = Annotated[str | None, typer.Option(help="Only this provider: timm, open_clip, ...")]
Task = Annotated[str | None, typer.Option(help="features, zero-shot or classification.")]
Licence = Annotated[
    str | None,
    typer.Option(
        "--licence",
        "--license",
        help="As stated ('apache*' works), or a group: commercial, permissive, copyleft, non-commercial, unknown.",
    ),
]
MinParams = Annotated[str | None, typer.Option(help="At least this many parameters: 30M, 1.5B.")]
MaxParams = Annotated[str | None, typer.Option(help="At most this many parameters.")]
EmbedDim = Annotated[int | None, typer.Option(help="Exact embedding size.")]
InputSize = Annotated[str | None, typer.Option(help="Image size: 224, 224x224 or 3x224x224.")]
MinScore = Annotated[float | None, typer.Option(help="At least this published figure (a %, mostly).")]
Benchmark = Annotated[
    str | None, typer.Option(help="Which published benchmark; without it, the usual one of the task.")
]
Sort = Annotated[
    str | None,
    typer.Option(help="name, params, embed_dim (smallest first) or score (best first); -params: reversed."),
]


def parsed_count(option: str, text: str | None) -> float | None:
    """Return a number such as 30M that an option was given; None where it was not.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        return render.parse_count(text)
    except ValueError:
        raise typer.BadParameter(f"{option} takes a number such as 30M or 1.5B, not {text!r}") from None
