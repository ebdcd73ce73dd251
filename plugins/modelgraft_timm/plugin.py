"""What the host calls. Imports neither torch nor timm: the catalogue is data; `modelgraft_load` imports the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelgraft.contract import ImageBackbone
from modelgraft.entry import Entry
from modelgraft.hookspecs import hookimpl

from modelgraft_timm.catalogue import entries

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every pretrained model of the installed timm."""
    return entries()


@hookimpl
def modelgraft_load(entry: Entry, device: torch.device, dtype: torch.dtype | None) -> ImageBackbone:
    """The model of one entry with timm's pretrained weights. Errors as `modelgraft_timm.weights.create`."""
    from modelgraft_timm.backbone import TimmBackbone

    return TimmBackbone.load(entry, device, dtype)
