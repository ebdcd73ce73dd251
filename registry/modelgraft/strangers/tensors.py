"""Weights of strangers, opened by us alone: a pickle is read weights only and handed on as safetensors."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelgraft.errors import UnsafeWeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["as_safetensors", "read_tensors"]

_SLACK: Final = 1 << 20


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file or of a pickle of torch, by name, on the CPU.

    Raises:
        UnsafeWeightsError: a pickle that would unpack to far more than it is, or holds no tensors by name.
        RuntimeError, pickle.UnpicklingError, SafetensorError: as the libraries say that it asks for code or is damaged; call
            inside `modelgraft.opening.opening`.
    """
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    _check_archive(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    tensors = (
        {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
        if isinstance(found, dict)
        else {}
    )
    if not tensors or not all(isinstance(key, str) for key in tensors):
        raise UnsafeWeightsError(f"{path.name} holds no tensors by name; it is refused")
    return tensors


def as_safetensors(path: Path, to: Path) -> Path:
    """Write the tensors of a pickle as safetensors, bit for bit, and return where. Errors as `read_tensors`."""
    from safetensors.torch import save_file

    tensors, seen = {}, set[int]()
    for name, tensor in read_tensors(path).items():
        alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
        # safetensors writes each tensor by itself: what shares memory is copied.
        if not alone or tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.contiguous().clone()
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    to.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, to, metadata={"format": "pt"})
    return to


def _check_archive(path: Path) -> None:
    """torch writes its archives unpacked, so one that is much more than it weighs is no checkpoint."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > 2 * path.stat().st_size + _SLACK:
        raise UnsafeWeightsError(
            f"{path.name} has {path.stat().st_size:,} bytes and would unpack to {unpacked:,}; it is refused"
        )
