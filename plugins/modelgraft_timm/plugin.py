"""What the host calls. Imports neither torch nor timm: the catalogue is data; `modelgraft_load` imports the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelgraft.contract import ImageBackbone, LocalWeights
from modelgraft.entry import Entry, Weights
from modelgraft.hookspecs import hookimpl

from modelgraft_timm.catalogue import entries
from modelgraft_timm.pushed import entry_of

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every pretrained model of the installed timm."""
    return entries()


@hookimpl
def modelgraft_weights(entry: Entry) -> Iterable[Weights]:
    """One file: what timm looks for in a repository, in this order, or the address it states."""
    stated = entry.weights
    if stated is None or stated.filename or not (stated.repo or stated.location):
        return [] if stated is None else [stated]
    return [replace(stated, files=("model.safetensors|pytorch_model.bin",))]


@hookimpl
def modelgraft_recognise(name: str, weights: Weights, configs: Mapping[str, Any]) -> Entry | None:
    """A model as timm pushes it to the hub: ``config.json`` names an architecture."""
    return entry_of(name, configs.get("config.json"))


@hookimpl
def modelgraft_load(
    entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None
) -> ImageBackbone:
    """The model of one entry with timm's pretrained weights. Errors as `modelgraft_timm.weights.create`."""
    from modelgraft_timm.backbone import TimmBackbone

    return TimmBackbone.load(entry, device, dtype, weights)
