"""The part of a backbone that was trained further: as bytes to save, and put back onto the pretrained one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from modelgraft.errors import ModelgraftError, UnsafeWeightsError
from modelgraft.opening import opening
from modelgraft.project.files import short
from modelgraft.weights.verifying import digest

from modelgraft_adapters.adapter import Adapter, Tuned
from modelgraft_adapters.card import Card
from modelgraft_adapters.features.embedding import FeatureExtractor
from modelgraft_adapters.low_rank import LowRankChange

_A, _B, _LENGTHS = ".lora_A", ".lora_B", ".lora_lengths"
"""After the name of a weight: what is stored of it where it was changed by low-rank matrices."""


def trained_tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Name -> value, on the CPU, of what differs from the pretrained backbone; empty where nothing was trained. Of a weight that
    differs by a change of low rank its matrices."""
    if adapter.tuned_ is None:
        return {}
    state, changes = _tensors(adapter.extractor.backbone.module), adapter.tuned_.changes
    whole = (name for name in adapter.tuned_.names if name not in changes)
    found = {name: state[name].detach().cpu().contiguous().clone() for name in whole}
    for name, change in changes.items():
        found |= {name + _A: change.a, name + _B: change.b}
        if change.lengths is not None:
            found[name + _LENGTHS] = change.lengths
    return dict(sorted(found.items()))


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by every name it has. ``state_dict`` lacks the buffers that are not persistent."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def low_rank_record(adapter: Adapter) -> dict[str, Any]:
    """What a card says of the changes of low rank."""
    changes = {} if adapter.tuned_ is None else adapter.tuned_.changes
    return {name: {"scaling": change.scaling, "turned": change.turned} for name, change in sorted(changes.items())}


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


def put_back(adapter: Adapter, tensors: dict[str, torch.Tensor], card: Card, given: bool, where: str) -> None:
    """Train-time weights onto the adapter's pretrained backbone; of one that the user ``given`` a copy is changed.

    Raises:
        ModelgraftError: the backbone has no such tensors.
    """
    pretrained = adapter.extractor
    backbone: Any = copy.deepcopy(pretrained.backbone) if given else pretrained.backbone
    state = _tensors(backbone.module)
    changes, whole = _apart(tensors, card.low_rank, where)
    shapes = {name: tuple(v.shape) for name, v in whole.items()} | {name: c.shape for name, c in changes.items()}
    for name, shape in shapes.items():
        if name not in state or tuple(state[name].shape) != shape:
            has = "not there" if name not in state else str(list(state[name].shape))
            raise ModelgraftError(
                f"the trained weight {short(name)} of {where} does not fit {card.backbone.name}, where it is {has}; install the "
                f"{card.backbone.distribution} it was trained with ({card.backbone.version})"
            )
    with torch.no_grad():
        for name, tensor in whole.items():
            state[name].copy_(tensor)
        for name, change in changes.items():
            state[name].copy_(change.exactly_onto(state[name]))
    adapter.tuned_ = Tuned(pretrained.card, tuple(sorted(shapes)), changes)
    options = {key: adapter.extractor_options[key] for key in ("modality", "layer", "batch_size", "workers", "store")}
    adapter.model = backbone
    adapter._extractor = FeatureExtractor(backbone, **{**options, "store": options["store"] or False})


def _apart(
    tensors: dict[str, torch.Tensor], low_rank: Mapping[str, tuple[float, bool]], where: str
) -> tuple[dict[str, LowRankChange], dict[str, torch.Tensor]]:
    """Changes of low rank, and the weights that are stored whole.

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


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "not there" if tensor is None else f"{short(tensor[0])[1:-1]} {list(tensor[1])}"
