"""Devices and precisions as users name them: what this machine has not, or models are not run in, is said before any work.

`check_words` needs no torch, so that a verb can ask before it imports anything; `device_of` and `dtype_of` know what is there.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from modelgraft.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["EXACT", "FAST", "check_words", "device_of", "dtype_of", "is_native", "precision_notes"]

DTYPES: Final = ("float32", "bfloat16", "float16", "float64")
"""What models are run in. torch has more types of floats: those of 8 bits only store numbers."""
EXACT: Final = "exact"
"""A precision: float32."""
FAST: Final = "fast"
"""A precision: bfloat16 where the device computes in it, on other GPUs float16, else float32."""
_SHORT: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "half": "float16", "float": "float32"}
_DEVICE: Final = re.compile(r"([a-z]+)(:\d{1,4})?")
_KINDS: Final = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "mtia", "ipu", "xla", "privateuseone", "maia", "vulkan")


def check_words(device: Any = None, dtype: Any = None) -> None:
    """Look at what was asked for as far as that goes without torch.

    Raises:
        UsageError: no such device or dtype, or one that this system cannot have.
    """
    if isinstance(device, str):
        found = _DEVICE.fullmatch(device)
        if found is None or found[1] not in _KINDS:
            raise _no_device(device)
        if found[1] == "mps" and sys.platform != "darwin":
            raise UsageError(f"no device {device!r} here: it is of Apple's computers; try cpu or cuda")
    if isinstance(dtype, str) and _SHORT.get(dtype, dtype) not in (*DTYPES, EXACT, FAST):
        raise _no_dtype(dtype)


def device_of(device: str | torch.device | None) -> torch.device:
    """Return the device meant; None takes an accelerator where there is one, else the CPU.

    Raises:
        UsageError: one that there is not.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_words(str(device) if isinstance(device, torch.device) else device)
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise _no_device(device) from None
    if wanted.type == "cpu":
        return wanted
    if wanted.type == "cuda":
        count = torch.cuda.device_count()
        if (wanted.index or 0) >= count:
            raise UsageError(f"device {device} was asked for, and this torch sees {count} CUDA devices; try cpu")
        return wanted
    try:
        torch.zeros(1, device=wanted).add(1).cpu()
    except Exception as error:  # each backend has errors of its own: not built in, no driver, no such number
        why = " ".join(str(error).split(". ")[0].split())[:150]
        raise UsageError(f"device {device} cannot be used here ({why}); try cpu") from None
    return wanted


def dtype_of(dtype: str | torch.dtype | None, device: torch.device | None = None) -> torch.dtype | None:
    """Return the dtype meant; None is the model's own.

    Args:
        dtype: a dtype, its name, or ``exact`` (float32) or ``fast``.
        device: where the model is to run, which decides what ``fast`` is; None is the one that `device_of` takes.

    Raises:
        UsageError: none that models are run in.
    """
    if dtype is None:
        return None
    import torch

    if dtype == EXACT:
        return torch.float32
    if dtype == FAST:
        return _fast(device_of(None) if device is None else device)
    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, _SHORT.get(name, name), None)
    if _SHORT.get(name, name) not in DTYPES or not isinstance(found, torch.dtype):
        raise _no_dtype(dtype)
    return found


def is_native(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device computes in a dtype: a processor that does not widens and rounds each number, which takes longer."""
    import torch

    if dtype in (torch.float32, torch.float64):
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return dtype == torch.float16
    return _processor_has("bf16" if dtype == torch.bfloat16 else "fp16")


def precision_notes(dtype: str | torch.dtype | None, device: torch.device) -> list[str]:
    """Return what a user should know of a precision on this device: that it is emulated, and what that costs, measured here."""
    meant = dtype_of(dtype, device)
    if device.type != "cpu" or meant is None:
        return []
    if dtype == FAST and str(meant) == "torch.float32":
        return ["this processor does not compute in bfloat16: fast is float32 here"]
    if is_native(meant, device):
        return []
    name, slower = str(meant).removeprefix("torch."), _slower(meant)
    return [
        f"this processor does not compute in {name} but emulates it: a matrix product takes {slower:.1f} times as long as in "
        "float32"
    ]


def _fast(device: torch.device) -> torch.dtype:
    import torch

    if is_native(torch.bfloat16, device):
        return torch.bfloat16
    return torch.float32 if device.type == "cpu" else torch.float16


@cache
def _processor_has(what: str) -> bool:
    """Whether the processor has instructions for ``bf16`` or ``fp16``: AVX-512, AMX, or those of Arm's."""
    import torch

    tell: Callable[[], dict[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return any(what in name and found is True for name, found in tell().items())
    of = {"bf16": ("_is_avx512_bf16_supported",), "fp16": ("_is_amx_fp16_supported",)}[what]
    return any(getattr(torch.cpu, name, bool)() for name in of)


@cache
def _slower(dtype: torch.dtype) -> float:
    """How many times as long as in float32 a matrix product takes on this processor."""
    import torch

    def best(of: torch.dtype) -> float:
        left, right = torch.ones(256, 1024, dtype=of), torch.ones(1024, 1024, dtype=of)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    return best(dtype) / max(best(torch.float32), 1e-9)


def _no_device(device: Any) -> UsageError:
    return UsageError(f"no device {device!r}; try cpu, cuda, cuda:0 or mps")


def _no_dtype(dtype: Any) -> UsageError:
    return UsageError(f"no dtype {str(dtype)!r} that models are run in; try {EXACT}, {FAST}, {', '.join(DTYPES[:-1])}")
