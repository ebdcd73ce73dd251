"""Predictions to rows of output, as ``classify`` and ``predict`` print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from modelgraft_adapters.cli.prediction_writers import Writer
from modelgraft_adapters.cli.progress import Bar, say
from modelgraft_adapters.estimators.prediction import Prediction


def write_rows(
    writer: Writer,
    identified: Sequence[tuple[str, Any]],
    predictions: Iterable[Prediction],
    top_k: int | None,
    doing: str,
) -> None:
    """Write a row for each prediction as it comes, with progress on standard error.

    Args:
        identified: (what to call the item, the item), for each prediction in order.
        top_k: best scores to keep in a row; None keeps all.
        doing: what the progress bar says.

    Raises:
        typer.Exit: with 1, if some item could not be read.
    """
    failed, total = 0, len(identified)
    with writer, Bar(wanted=not writer.on_terminal) as bar:
        for done, ((identity, _), found) in enumerate(zip(identified, predictions, strict=True), 1):
            failed += found.error is not None
            scores = dict(list(found.scores.items())[:top_k])
            row: dict[str, Any] = {"path": identity, "label": found.label, "score": found.score, "scores": scores}
            asked = {"text": found.item, "ood": found.ood, "set": found.set, "precision": writer.precision}
            row |= {name: asked[name] for name in writer.more} | {"error": found.error, "note": found.note}
            writer.write(row)
            bar.tell(doing, done, total)
    if failed:
        say(f"{failed} of {total} items could not be read")
        raise typer.Exit(1)
