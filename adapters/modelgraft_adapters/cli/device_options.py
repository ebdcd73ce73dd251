"""Options of the command line that say where a model runs, and in which precision: looked at while the line is read."""

from __future__ import annotations

from typing import Annotated

import typer
from modelgraft.devices import check_words

from modelgraft_adapters.defaults import AUTO


def _device(value: str | None) -> str | None:
    check_words(device=value)
    return value


def _dtype(value: str | None) -> str | None:
    if value != AUTO:
        check_words(dtype=value)
    return value


def _trained_dtype(value: str | None) -> str | None:
    check_words(dtype=value)
    return value


def _engine(value: str | None) -> str | None:
    if value is not None and value not in ("torch", AUTO):
        from modelgraft import load_engine

        load_engine(value).version()
    return value


Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps. Default: an accelerator if there is one.", callback=_device),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--precision",
        "--dtype",
        help="exact (float32), fast (bfloat16 where the device computes in it), auto (fast if the first batch allows it), "
        "float32, bfloat16, float16. Default: the model's own.",
        callback=_dtype,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What runs the model in place of torch: openvino, onnxruntime, compile, a plugin's; auto is what 'modelgraft "
        "optimize' found fastest, and for many items openvino where it is installed. Default: torch.",
        callback=_engine,
    ),
]
TrainedDtype = Annotated[
    str | None,
    typer.Option(
        "--precision",
        "--dtype",
        help="exact, fast, float32, bfloat16, float16: see classify. Default: as it was trained.",
        callback=_trained_dtype,
    ),
]
