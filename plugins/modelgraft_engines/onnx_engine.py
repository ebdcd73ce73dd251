"""ONNX Runtime (https://onnxruntime.ai): a traced model as an ONNX file, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft.errors import UsageError

from modelgraft_engines.batches import arrays

FILE: Final = "model.onnx"


class OnnxRuntime:
    """An `Engine`."""

    def version(self) -> str:
        """Return the versions of what writes and what runs. Errors as `Engine.version`."""
        onnx, runtime = _libraries()
        return f"{runtime.__version__}, onnx {onnx.__version__}"

    def convert(self, program: torch.export.ExportedProgram, inputs: Sequence[str], folder: Path) -> None:
        """Write an ONNX file, its weights beside it: one file ends at 2 GiB."""
        _libraries()
        made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=list(inputs))
        assert made is not None
        made.save(folder / FILE, external_data=True)

    def open(
        self, folder: Path, threads: int, dtype: torch.dtype
    ) -> Callable[[torch.Tensor | Mapping[str, torch.Tensor]], torch.Tensor]:
        """Return a session's run. Errors as `Engine.open`."""
        _, runtime = _libraries()
        if dtype != torch.float32:
            raise UsageError(f"the engine onnxruntime computes in float32, not in {dtype}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = runtime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
            return torch.from_numpy(session.run(None, arrays(names, batch))[0])

        return run


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # which torch writes ONNX by
    except ImportError as error:
        raise UsageError(
            f"the engine onnxruntime is not installed ({error}): pip install 'modelgraft[export]'"
        ) from None
    return onnx, onnxruntime
