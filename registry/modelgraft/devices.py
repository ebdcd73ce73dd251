"""Devices and precisions as users name them: what this machine has not, or models are not run in, is said before any work.

`check_words` needs no torch, so that a verb can ask before it imports anything; `device_of` and `dtype_of` know what is there.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

from modelgraft.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["check_words", "device_of", "dtype_of"]

DTYPES: Final = ("float32", "bfloat16", "float16", "float64")
"""What models are run in. torch has more types of floats: those of 8 bits only store numbers."""
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
    if isinstance(dtype, str) and _SHORT.get(dtype, dtype) not in DTYPES:
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


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype meant; None is the model's own.

    Raises:
        UsageError: none that models are run in.
    """
    if dtype is None:
        return None
    import torch

    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, _SHORT.get(name, name), None)
    if _SHORT.get(name, name) not in DTYPES or not isinstance(found, torch.dtype):
        raise _no_dtype(dtype)
    return found


def _no_device(device: Any) -> UsageError:
    return UsageError(f"no device {device!r}; try cpu, cuda, cuda:0 or mps")


def _no_dtype(dtype: Any) -> UsageError:
    return UsageError(f"no dtype {str(dtype)!r} that models are run in; try {', '.join(DTYPES[:-1])}")
