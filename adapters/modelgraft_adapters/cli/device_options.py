"""Options of the command line that say where a model runs, and in which precision: looked at while the line is read."""

from __future__ import annotations

from typing import Annotated

import typer
from modelgraft.devices import check_words


def _device(value: str | None) -> str | None:
    check_words(device=value)
    return value


def _dtype(value: str | None) -> str | None:
    check_words(dtype=value)
    return value


def _engine(value: str | None) -> str | None:
    if value is not None and value != "torch":
        from modelgraft import load_engine

        load_engine(value).version()
    return value


Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps. Default: an accelerator if there is one.", callback=_device),
]
Dtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16, float16. Default: the model's own.", callback=_dtype)
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What runs the model in place of torch: openvino, onnxruntime, or a plugin's. Default: torch.",
        callback=_engine,
    ),
]
TrainedDtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16, float16. Default: as it was trained.", callback=_dtype)
]
