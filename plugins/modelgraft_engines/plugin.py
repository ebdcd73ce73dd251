"""What this package brings to the host. An engine's library is imported when it is used."""

from __future__ import annotations

from modelgraft.contract import EngineSpec
from modelgraft.hookspecs import hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_engines() -> list[EngineSpec]:
    """The engines, as data."""
    return [
        EngineSpec("openvino", "modelgraft_engines.openvino_engine:OpenVino", "OpenVINO, on the CPU."),
        EngineSpec("compile", "modelgraft_engines.compile_engine:Compile", "torch's own compiler, on the CPU."),
        EngineSpec("onnxruntime", "modelgraft_engines.onnx_engine:OnnxRuntime", "ONNX Runtime, on the CPU."),
    ]
