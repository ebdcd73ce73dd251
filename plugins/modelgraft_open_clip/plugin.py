"""What the host calls. Imports neither torch nor open_clip: the catalogue is data; `modelgraft_load` imports the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from modelgraft.contract import ImageBackbone, LocalWeights
from modelgraft.entry import Entry, Weights
from modelgraft.hookspecs import hookimpl

from modelgraft_open_clip.catalogue import entries
from modelgraft_open_clip.places import pushed_entry, text_files_of, weights_of

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every pretrained model/tag pair of the installed open_clip."""
    return entries()


@hookimpl
def modelgraft_weights(entry: Entry) -> Iterable[Weights]:
    """One file of weights, and the small files of a text tower or tokenizer that come from other repositories."""
    return [*weights_of(entry), *text_files_of(entry)]


@hookimpl
def modelgraft_recognise(name: str, weights: Weights, configs: Mapping[str, Any]) -> Entry | None:
    """A model as open_clip pushes it to the hub: ``open_clip_config.json`` describes both towers."""
    return pushed_entry(name, configs.get("open_clip_config.json"))


@hookimpl
def modelgraft_load(
    entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None
) -> ImageBackbone:
    """The dual encoder of one entry with its pretrained weights. Errors as `OpenClipBackbone.load`."""
    from modelgraft_open_clip.backbone import OpenClipBackbone

    return OpenClipBackbone.load(entry, device, dtype, weights)
