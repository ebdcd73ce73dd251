"""The tensors of a saved adapter: read back only if they are those that its card names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from modelgraft.errors import ModelgraftError, UnsafeWeightsError
from modelgraft.opening import opening
from modelgraft.project.files import short
from modelgraft.weights.verifying import digest

from modelgraft_adapters.saved.low_rank import LowRankChange

_A, _B, _LENGTHS = ".lora_A", ".lora_B", ".lora_lengths"
"""After the name of a weight: what is stored of it where it was changed by low-rank matrices."""


def with_changes(whole: Mapping[str, torch.Tensor], changes: Mapping[str, LowRankChange]) -> dict[str, torch.Tensor]:
    """Return the tensors as they are stored: weights that are stored whole, and the matrices of those that are not."""
    found = dict(whole)
    for name, change in changes.items():
        found |= {name + _A: change.a, name + _B: change.b}
        if change.lengths is not None:
            found[name + _LENGTHS] = change.lengths
    return dict(sorted(found.items()))


def apart(
    tensors: dict[str, torch.Tensor], low_rank: Mapping[str, tuple[float, bool]], where: str
) -> tuple[dict[str, LowRankChange], dict[str, torch.Tensor]]:
    """Return the changes of low rank, and the weights that are stored whole: what `with_changes` was given.

    Raises:
        ModelgraftError: matrices that are missing or do not go together.
    """
    rest = dict(tensors)
    changes = {}
    for name, (scaling, turned) in low_rank.items():
        a, b, lengths = (rest.pop(name + ending, None) for ending in (_A, _B, _LENGTHS))
        good = a is not None and b is not None and a.ndim == b.ndim and a.ndim in (2, 4) and a.shape[0] == b.shape[1]
        if a is None or b is None or not good or (lengths is not None and lengths.numel() != b.shape[0]):
            raise ModelgraftError(
                f"the low-rank matrices of {short(name)} of {where} do not go together; get a whole copy of the adapter"
            )
        changes[name] = LowRankChange(a, b, scaling, lengths, turned)
    return changes, rest


def checked_tensors(
    path: Path, sha256: str, stated: dict[str, tuple[str, tuple[int, ...]]], where: str
) -> dict[str, torch.Tensor]:
    """The tensors of a file of a saved adapter, which are those that its card names.

    Raises:
        UnsafeWeightsError: it is another file.
        ModelgraftError: it is damaged.
    """
    from safetensors.torch import load_file

    found = digest(path, "sha256")
    if found != sha256:
        raise UnsafeWeightsError(
            f"{path.name} of {where} is not the file that its card names (its SHA-256 is {found[:12]}..., not "
            f"{sha256[:12]}...); get a whole copy of the adapter"
        )
    with opening(f"{path.name} of {where} ({path})"):
        # In memory of their own: a file's tensors lie where its header ends, and products of unaligned ones differ in the last bit.
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    there = {name: about(tensor) for name, tensor in tensors.items()}
    if there != stated:
        name = next(name for name in {**there, **stated} if there.get(name) != stated.get(name))
        raise ModelgraftError(
            f"the tensor {short(name)} of {where} is {_shown(there.get(name))}, and its card says "
            f"{_shown(stated.get(name))}; get a whole copy of the adapter"
        )
    return tensors


def about(tensor: torch.Tensor) -> tuple[str, tuple[int, ...]]:
    """(dtype, shape) as a card states them."""
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "not there" if tensor is None else f"{short(tensor[0])[1:-1]} {list(tensor[1])}"
