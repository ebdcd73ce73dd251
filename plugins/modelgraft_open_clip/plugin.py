"""What the host calls. Imports neither torch nor open_clip: the catalogue is data; `modelgraft_load` imports the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelgraft.contract import ImageBackbone
from modelgraft.entry import Entry
from modelgraft.hookspecs import hookimpl

from modelgraft_open_clip.catalogue import entries

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every pretrained model/tag pair of the installed open_clip."""
    return entries()


@hookimpl
def modelgraft_load(entry: Entry, device: torch.device, dtype: torch.dtype | None) -> ImageBackbone:
    """The dual encoder of one entry with its pretrained weights. Errors as `OpenClipBackbone.load`."""
    from modelgraft_open_clip.backbone import OpenClipBackbone

    return OpenClipBackbone.load(entry, device, dtype)
