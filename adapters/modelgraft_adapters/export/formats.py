"""What an adapter can be exported to, by the name of the file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from modelgraft.errors import UsageError
from modelgraft.outputs import check_output

FORMATS: Final = {".onnx": "ONNX", ".pt2": "torch.export"}
"""Suffix of the file -> its format."""


def check_target(path: Path) -> Path:
    """``path``, if a file can be exported there.

    Raises:
        UsageError: a suffix of no format, a folder that does not exist, or a package that is not installed.
    """
    if path.suffix not in FORMATS:
        kinds = " or ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise UsageError(f"the name of the file says its format, and {path.name!r} says none: end it in {kinds}")
    if path.suffix == ".onnx":
        lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if lacking:
            raise UsageError(f"ONNX needs {' and '.join(lacking)}: pip install 'modelgraft[export]'")
    return check_output(path)
