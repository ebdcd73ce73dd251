"""torch's own compiler (https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html): a traced model as machine code."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft.errors import UsageError

FILE: Final = "model.pt2"
_CACHE: Final = "TORCHINDUCTOR_CACHE_DIR"


class Compile:
    """An `Engine`."""

    def version(self) -> str:
        """Return what machine code depends on: torch, and what this processor can do. Errors as `Engine.version`."""
        if _compiler() is None:
            raise UsageError(
                "the engine compile needs a C++ compiler, and there is none (no g++, no clang++, and CXX names none): "
                "install g++, or take openvino"
            )
        tell: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
        able = sorted(name for name, found in tell().items() if found is True)
        instructions = hashlib.sha256(" ".join(able).encode()).hexdigest()[:8]
        return f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()} {instructions}"

    def convert(self, program: torch.export.ExportedProgram, inputs: Sequence[str], folder: Path) -> None:
        """Compile for this processor, for any number of rows."""
        from torch._inductor import aoti_compile_and_package

        options = {
            "cpp.threads": -1,  # as many as torch has when it is run
            "cpp.dynamic_threads": True,
            "compile_threads": 1,  # else it forks, and this process may have threads
        }
        with _own_cache():
            aoti_compile_and_package(program, package_path=str(folder / FILE), inductor_configs=options)
        (folder / "inputs.txt").write_text("\n".join(inputs), encoding="utf-8")

    def open(
        self, folder: Path, threads: int, dtype: torch.dtype
    ) -> Callable[[torch.Tensor | Mapping[str, torch.Tensor]], torch.Tensor]:
        """Return the compiled model. Errors as `Engine.open`."""
        if dtype != torch.float32:
            raise UsageError(f"the engine compile computes in float32, not in {dtype}")
        from torch._inductor import aoti_load_package

        compiled: Any = aoti_load_package(str(folder / FILE), run_single_threaded=True)
        names = (folder / "inputs.txt").read_text(encoding="utf-8").split("\n")

        def run(batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
            given = batch if isinstance(batch, torch.Tensor) else {name: batch[name] for name in names}
            found: torch.Tensor = compiled(given)
            return found

        return run


def _compiler() -> str | None:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "cl"]
    return next((found for name in names if (found := shutil.which(name))), None)


@contextmanager
def _own_cache() -> Iterator[None]:
    """What the compiler keeps of its steps goes with it: a hundred MB, of which only the result is wanted. And it is silent."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before, level = os.environ.get(_CACHE), logger.level
    logger.setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[_CACHE] = folder
        try:
            yield
        finally:
            logger.setLevel(level)
            if before is None:
                del os.environ[_CACHE]
            else:
                os.environ[_CACHE] = before
