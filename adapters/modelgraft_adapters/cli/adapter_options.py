"""Options of the command line that verbs on a saved adapter share."""

from __future__ import annotations

from typing import Annotated

import typer
from modelgraft.cli.completion import model_names

Backbone = Annotated[
    str | None,
    typer.Option(
        help="The backbone, where it is not to be found by the adapter's card: a name, or a folder.",
        autocompletion=model_names,
    ),
]
