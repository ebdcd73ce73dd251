"""The part of a backbone that was trained further: as bytes to save, and put back onto the pretrained one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from modelgraft.errors import ModelgraftError
from modelgraft.project.files import short

from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.saved.card import Card
from modelgraft_adapters.saved.low_rank import Tuned
from modelgraft_adapters.saved.tensors import apart, with_changes


def trained_tensors(adapter: Any) -> dict[str, torch.Tensor]:
    """Name -> value, on the CPU, of what differs from the pretrained backbone; empty where nothing was trained. Of a weight that
    differs by a change of low rank its matrices."""
    if adapter.tuned_ is None:
        return {}
    state, changes = _tensors(adapter.extractor.backbone.module), adapter.tuned_.changes
    whole = (name for name in adapter.tuned_.names if name not in changes)
    return with_changes({name: state[name].detach().cpu().contiguous().clone() for name in whole}, changes)


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by every name it has. ``state_dict`` lacks the buffers that are not persistent."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def low_rank_record(adapter: Any) -> dict[str, Any]:
    """What a card says of the changes of low rank."""
    changes = {} if adapter.tuned_ is None else adapter.tuned_.changes
    return {name: {"scaling": change.scaling, "turned": change.turned} for name, change in sorted(changes.items())}


def put_back(adapter: Any, tensors: dict[str, torch.Tensor], card: Card, given: bool, where: str) -> None:
    """Train-time weights onto the adapter's pretrained backbone; of one that the user ``given`` a copy is changed.

    Raises:
        ModelgraftError: the backbone has no such tensors.
    """
    pretrained = adapter.extractor
    backbone: Any = copy.deepcopy(pretrained.backbone) if given else pretrained.backbone
    state = _tensors(backbone.module)
    changes, whole = apart(tensors, card.low_rank, where)
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
    kept = ("modality", "layer", "dtype", "batch_size", "workers", "engine", "store")
    options = {key: adapter.extractor_options[key] for key in kept}
    adapter.model = backbone
    adapter._extractor = FeatureExtractor(backbone, **{**options, "store": options["store"] or False})
