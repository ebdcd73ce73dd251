"""The blocks of a timm model from input to embedding, in timm's own grouping of its layers."""

from __future__ import annotations

from typing import Any, Final

import torch
from modelgraft.training import Block, modules_of
from timm.models._manipulate import group_parameters

# By class: what beside the module that timm calls the classifier only the logits depend on.
_OF_LOGITS: Final = {
    "EfficientVitMsra": ("head.",),
    "SHViT": ("head.",),
    "EfficientViM": ("weights",),
    "EfficientViMDistilled": ("weights",),
    "VOLO": ("aux_head.",),
}


def blocks(model: torch.nn.Module) -> tuple[Block, ...]:
    """What `modelgraft_timm.features.pooled_features` depends on, from the stem to what is next to the classifier.

    The order and the grain are those of timm's ``group_matcher``, which its layer-wise learning rates go by: a residual or
    transformer block each. What is before the first block is ``stem``, what is after the last one ``final``. A norm alone is no
    block but goes with the last one, so that ``last-1`` trains a layer. Where timm has no grouping, it is by the model's own
    children.
    """
    unused = _unused(model)
    ndim = {name: parameter.ndim for name, parameter in model.named_parameters()}
    groups = [[name for name in group if name not in unused] for group in _grouped(model)]
    groups = [group for group in groups if group]
    if len(groups) > 1 and all(ndim[name] < 2 for name in groups[-1]):
        last = groups.pop()
        groups[-1] = [*groups[-1], *last]
    places = modules_of(groups)
    behind = [name for name in groups[-1] if not name.startswith(f"{places[-1]}.")]
    if _numbered(places[-1]) and any(ndim[name] > 1 for name in behind):  # EfficientNet's last convolution
        groups[-1:] = [[name for name in groups[-1] if name not in behind], behind]
        places = [*modules_of(groups[:-1]), "final"]
    return tuple(Block(name, tuple(group)) for name, group in zip(_ends(places), groups, strict=True))


def _grouped(model: Any) -> list[list[str]]:
    """All parameters' names by layer, from input to output."""
    try:
        found: dict[int, list[str]] = group_parameters(model, model.group_matcher(coarse=False))
    except Exception:  # a model without a matcher has torch's AttributeError, one with a wrong one whatever comes of it
        return _by_children(model)
    return [found[number] for number in sorted(found)]


def _by_children(model: torch.nn.Module) -> list[list[str]]:
    """By children in the order they were made, which is the order they are run in; those of a sequence of modules one by one."""
    groups: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        parts = name.split(".")
        numbered = [place for place, part in enumerate(parts) if part.isdigit()]
        groups.setdefault(".".join(parts[: numbered[0] + 1]) if numbered else parts[0], []).append(name)
    return list(groups.values())


def _unused(model: Any) -> set[str]:
    """Parameters that the embedding does not depend on: the classifier's."""
    if not hasattr(model, "get_classifier"):
        return set()
    found = model.get_classifier()
    heads = found if isinstance(found, (tuple, list)) else [found]
    held = {id(parameter) for head in heads if isinstance(head, torch.nn.Module) for parameter in head.parameters()}
    also = _OF_LOGITS.get(type(model).__name__, ())
    return {name for name, value in model.named_parameters() if id(value) in held or name.startswith(also)}


def _ends(names: list[str]) -> list[str]:
    """``stem`` and ``final`` for what at the ends is no layer; every name once."""
    if len(names) > 1 and not _numbered(names[0]):
        names[0] = "stem"
    if len(names) > 1 and not _numbered(names[-1]) and _kind(names[-1]) != _kind(names[-2]):
        names[-1] = "final"
    return [name if names.count(name) == 1 and name else f"part.{number}" for number, name in enumerate(names)]


def _numbered(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _kind(name: str) -> str:
    """What some models number without a dot: ``denselayer`` of ``denselayer16``."""
    return name.rpartition(".")[2].rstrip("0123456789abcd")
