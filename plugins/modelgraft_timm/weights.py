"""A timm model with its pretrained weights, out of verified files; what can go wrong there, said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from modelgraft.contract import LocalWeights
from modelgraft.entry import Entry
from modelgraft.errors import UnsafeWeightsError, UsageError, WeightsUnavailableError
from modelgraft.opening import opening
from modelgraft.strangers.tensors import read_tensors

from modelgraft_timm.names import timm_name


def create(entry: Entry, weights: LocalWeights | None) -> torch.nn.Module:
    """The entry's model with pretrained weights, float32, eval mode, on the CPU.

    The classifier of the checkpoint stays in (timm checks the weights strictly only then): ``model(x)`` gives its
    logits, embeddings are taken before it. timm gets the tensors, not a place to fetch them from; a pickle is read with
    ``weights_only``, which runs no code.

    Raises:
        WeightsUnavailableError: timm states no place for them, or they do not fit.
        UnsafeWeightsError: a pickle that asks for code.
        UsageError: a name that the installed timm does not know.
    """
    pushed = "architecture" in entry.loader
    name = str(entry.loader["architecture"]) if pushed else timm_name(entry)
    if not (timm.is_model(name) if pushed else timm.is_model_pretrained(name)):
        raise UsageError(f"timm {timm.__version__} has no pretrained {name!r}; 'pip install -U timm' may bring it")
    if weights is None:
        raise WeightsUnavailableError(f"{entry.name}: timm states no place for its weights")
    stated: dict[str, Any] = {}
    if pushed:
        stated = {"pretrained_cfg": dict(entry.loader["pretrained_cfg"]), **entry.loader["model_args"]}
    with opening(f"the weights of {entry.name} ({weights.file})"):
        tensors = read_tensors(weights.file)
        overlay: dict[str, Any] = {"state_dict": tensors, "custom_load": False}
        if pushed:
            _check_size(entry.name, name, stated, tensors)
        model: torch.nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **stated)
    # timm keeps the overlay as the model's own record; a second copy of all weights has no place there.
    for record in (model.pretrained_cfg, model.default_cfg):
        record.pop("state_dict", None)  # type: ignore[union-attr, operator]
    return model.eval()


def _check_size(whose: str, name: str, stated: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """See on a device without memory that a model is about as large as its weights, before it takes any."""
    with torch.device("meta"):
        built: torch.nn.Module = timm.create_model(name, pretrained=False, **stated)
    wanted, there = (sum(tensor.numel() for tensor in some.values()) for some in (built.state_dict(), tensors))
    if wanted > 2 * there + 1_000_000:
        raise UnsafeWeightsError(
            f"the configuration of {whose} describes {name} with {wanted:,} numbers, and the weights hold {there:,}; it is refused"
        )
