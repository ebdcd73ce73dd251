"""OpenVINO (https://docs.openvino.ai): a traced model compiled for this processor, in float32 or bfloat16."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft.errors import UsageError

from modelgraft_engines.batches import arrays

FILE: Final = "model.xml"
_NAMES: Final = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVino:
    """An `Engine`."""

    def version(self) -> str:
        """Return the library's version. Errors as `Engine.version`."""
        return str(_library().__version__)

    def convert(self, program: torch.export.ExportedProgram, inputs: Sequence[str], folder: Path) -> None:
        """Write the model as OpenVINO's own format, weights as they are."""
        ov = _library()
        model = ov.convert_model(program)
        if len(model.inputs) != len(inputs):
            raise ValueError(f"it reads {len(model.inputs)} of {len(inputs)} inputs")
        for port, name in zip(model.inputs, inputs, strict=True):
            port.get_tensor().set_names({name})
        ov.save_model(model, folder / FILE, compress_to_fp16=False)

    def open(
        self, folder: Path, threads: int, dtype: torch.dtype
    ) -> Callable[[torch.Tensor | Mapping[str, torch.Tensor]], torch.Tensor]:
        """Return the compiled model. Errors as `Engine.open`."""
        ov = _library()
        if dtype not in _NAMES:
            raise UsageError(f"the engine openvino computes in float32 or bfloat16, not in {dtype}")
        options = {
            "INFERENCE_PRECISION_HINT": _NAMES[dtype],
            "INFERENCE_NUM_THREADS": str(threads),
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all threads
        }
        compiled = ov.Core().compile_model(folder / FILE, "CPU", options)
        names = [port.any_name for port in compiled.inputs]

        def run(batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
            found = compiled(arrays(names, batch), share_inputs=True)[0]
            return torch.from_numpy(found.copy())

        return run


def _library() -> Any:
    # Its converter reports each use to a server, asks nobody, and forks the process for it. Without this module it has a stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise UsageError(
            f"the engine openvino is not installed ({error}): pip install 'modelgraft[openvino]'"
        ) from None
    return openvino
