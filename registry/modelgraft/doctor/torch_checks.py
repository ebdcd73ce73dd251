"""Whether torch can be imported, what it can compute on, and whether torchvision was made for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from modelgraft.doctor import child
from modelgraft.doctor.row import Row, size
from modelgraft.doctor.versions import requirements, version

SECONDS: Final = 60.0
CURE: Final = "pip install --force-reinstall torch torchvision"

# torchvision fails only when it is imported (its operators are then unknown to torch) or, worse, when one is called.
_CODE: Final = """
import os, shutil
import torch
say(torch=torch.__version__, cuda_build=torch.version.cuda or torch.version.hip, threads=torch.get_num_threads())
devices = []
if torch.cuda.is_available():
    for n in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(n)
        devices.append([f"cuda:{n}", torch.cuda.get_device_name(n), free, total])
elif torch.backends.mps.is_available():
    devices.append(["mps", "Apple GPU", None, torch.mps.recommended_max_memory()])
try:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
except (AttributeError, OSError, ValueError):
    memory = None
seen = bool(shutil.which("nvidia-smi")) or os.path.exists("/proc/driver/nvidia/version")
say(devices=devices, memory=memory, nvidia=seen)
device = devices[0][0] if devices else "cpu"
say(computed=float((torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)).sum()))
try:
    import torchvision
    from torchvision.ops import nms
    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    say(torchvision=torchvision.__version__)
except Exception as error:
    say(torchvision_error=f"{type(error).__name__}: {error}")
"""


def rows() -> Iterator[Row]:
    """Rows ``torch import``, ``device`` and ``torchvision match``."""
    answer = child.run(_CODE, SECONDS)
    facts = answer.facts
    if "torch" not in facts:
        yield Row("torch import", "fail", f"torch cannot be imported: {answer.died}", CURE)
        return
    yield Row("torch import", "ok", f"torch {facts['torch']}, {_build(facts)}, threads: {facts['threads']}")
    yield device_row(facts, answer.died)
    if "torchvision" not in facts and "torchvision_error" not in facts:
        facts["torchvision_error"] = f"it crashes the interpreter ({answer.died})" if "computed" in facts else None
    yield torchvision_row(facts)


def _build(facts: dict[str, Any]) -> str:
    return f"built for CUDA/ROCm {facts['cuda_build']}" if facts["cuda_build"] else "built without CUDA"


def device_row(facts: dict[str, Any], died: str | None = None) -> Row:
    """What torch computes on, from what the child said."""
    if "devices" not in facts:
        return Row("device", "fail", f"asking torch for its devices failed: {died}", "check the driver with nvidia-smi")
    found = facts["devices"]
    if "computed" not in facts:
        where = found[0][0] if found else "cpu"
        cure = "check the driver with nvidia-smi, or choose another device with CUDA_VISIBLE_DEVICES= --device cpu"
        return Row("device", "fail", f"{where} is there, but a matrix product on it failed: {died}", cure)
    if found:
        each = [
            f"{name} {model}" + (f", {size(free)} of {size(total)} free" if free is not None else f", {size(total)}")
            for name, model, free, total in found
        ]
        return Row("device", "ok", "; ".join(each))
    memory = f"cpu, {size(facts['memory'])} of memory" if facts["memory"] else "cpu"
    if facts["nvidia"]:
        why = "its driver does not work with this torch" if facts["cuda_build"] else "this torch was built without CUDA"
        cure = "run nvidia-smi; install a torch for that driver (https://pytorch.org/get-started)"
        return Row(
            "device", "warn", f"{memory}: there is an NVIDIA driver, but {why}, or CUDA_VISIBLE_DEVICES hides it", cure
        )
    return Row("device", "ok", memory)


def torchvision_row(facts: dict[str, Any]) -> Row:
    """Whether torchvision works with this torch, from what the child said."""
    error = facts.get("torchvision_error")
    asked = requirements("torchvision").get("torch")
    stated = version("torchvision")
    misfit = asked is not None and not asked.specifier.contains(facts["torch"].partition("+")[0], prereleases=True)
    wants = f"torchvision {stated} asks for {asked}, and torch {facts['torch']} is installed"
    if "torchvision" in facts:
        if misfit:
            return Row("torchvision match", "warn", f"it works, but {wants}", CURE)
        return Row("torchvision match", "ok", f"torchvision {facts['torchvision']} works with torch {facts['torch']}")
    if error is None:
        return Row("torchvision match", "skip", "not tried: torch itself failed before it")
    if error.startswith("ModuleNotFoundError: No module named 'torchvision'"):
        return Row("torchvision match", "fail", "torchvision is not installed", "pip install torchvision")
    marks = ("torchvision::", "custom C++ ops", "undefined symbol", "_C.so", "crashes the interpreter")
    if misfit or any(mark in error for mark in marks):
        why = (
            wants
            if misfit
            else f"torchvision {stated} was compiled for another torch than the installed {facts['torch']}"
        )
        return Row(
            "torchvision match", "fail", f"torch and torchvision do not belong together: {why} ({error[:200]})", CURE
        )
    return Row("torchvision match", "fail", f"torchvision cannot be used: {error[:300]}", CURE)
