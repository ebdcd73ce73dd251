"""What the host calls. Imports neither torch nor sentence_transformers: `modelgraft_load` imports them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelgraft.contract import LocalWeights, TextBackbone
from modelgraft.entry import Entry, Weights
from modelgraft.hookspecs import hookimpl
from modelgraft.trust import trusts_code_of

from modelgraft_sentence_transformers.catalogue import entries
from modelgraft_sentence_transformers.weights import FILES, PROVIDER, WITHOUT

if TYPE_CHECKING:
    import torch

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries() -> Iterable[Entry]:
    """Every dense text encoder that the Sentence Transformers documentation lists."""
    return entries()


@hookimpl
def modelgraft_weights(entry: Entry) -> Iterable[Weights]:
    """Everything that `SentenceTransformer` reads of a model, complete at one commit."""
    files = (*FILES, "*.py") if trusts_code_of(entry.name) else FILES
    return [replace(entry.weights, files=files, without=WITHOUT)] if entry.weights else []


@hookimpl
def modelgraft_recognise(name: str, weights: Weights, configs: Mapping[str, Any]) -> Entry | None:
    """A model as ``SentenceTransformer.save`` writes it: ``modules.json`` lists its modules."""
    if not isinstance(configs.get("modules.json"), list):
        return None
    return Entry(f"{PROVIDER}/{name}", modality="text", tasks=("zero-shot", "features"), score="softmax")


@hookimpl
def modelgraft_load(
    entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None
) -> TextBackbone:
    """The text encoder of one entry with its pretrained weights. Errors as `SentenceBackbone.load`."""
    from modelgraft_sentence_transformers.backbone import SentenceBackbone

    return SentenceBackbone.load(entry, device, dtype, weights)
