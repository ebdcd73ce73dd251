"""What the host calls. Imports neither torch nor sentence_transformers: `modelgraft_load` imports them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelgraft.contract import TextBackbone
from modelgraft.entry import Entry
from modelgraft.hookspecs import hookimpl

from modelgraft_sentence_transformers.catalogue import entries

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every dense text encoder that the Sentence Transformers documentation lists."""
    return entries()


@hookimpl
def modelgraft_load(entry: Entry, device: torch.device, dtype: torch.dtype | None) -> TextBackbone:
    """The text encoder of one entry with its pretrained weights. Errors as `SentenceBackbone.load`."""
    from modelgraft_sentence_transformers.backbone import SentenceBackbone

    return SentenceBackbone.load(entry, device, dtype)
