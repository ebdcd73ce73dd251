"""The blocks of open_clip's towers from input to embedding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from modelgraft.training import Block, modules_of
from open_clip.hf_model import ClsPooler, HFTextEncoder
from open_clip.timm_model import TimmModel
from timm.models._manipulate import group_parameters

_LAYER: Final = re.compile(r"(?:layer\d+|\w*blocks|(?:\w+\.)*?(?:layers?|block))\.\d+")
"""A layer of ModifiedResNet, of open_clip's transformers (after ``transformer.``), of Hugging Face's encoders."""
_AFTER: Final = re.compile(
    r"ln_post|ln_final|proj\b|text_projection|attn_pool|attnpool|head\.|(transformer\.)?(pooler|layer_norm|final_)"
)
"""What comes after the layers; everything else outside of them comes before."""


def image_blocks(model: Any) -> tuple[Block, ...]:
    """Those that ``encode_image`` depends on: ``stem``, a block for each layer, and ``final`` with the projection.

    A timm tower has timm's own grouping of its layers.
    """
    tower = model.visual
    names = [name for name, _ in tower.named_parameters()]
    return _named(_timm_groups(tower) if isinstance(tower, TimmModel) else _groups(names), tower, "visual.")


def text_blocks(model: Any) -> tuple[Block, ...]:
    """Those that ``encode_text`` depends on, likewise. A pooling layer that the tower does not read is in none."""
    tower = getattr(model, "text", None)
    if tower is None:  # the layers of the text tower are the model's own
        other = ("visual.", "logit_scale", "logit_bias")
        names = [name for name, _ in model.named_parameters() if not name.startswith(other)]
        return _named(_groups(names), model, "")
    names = [name for name, _ in tower.named_parameters()]
    if isinstance(tower, HFTextEncoder) and not (
        isinstance(tower.pooler, ClsPooler) and tower.pooler.use_pooler_output
    ):
        names = [name for name in names if not name.startswith("transformer.pooler.")]
    return _named(_groups(names), tower, "text.")


_Groups = list[tuple[str, list[str]]]
"""Names of blocks, and of their parameters in the tower."""


def _groups(names: Iterable[str]) -> _Groups:
    layers: dict[str, list[str]] = {}
    before: list[str] = []
    after: list[str] = []
    for name in names:
        path = name.removeprefix("transformer.")
        if found := _LAYER.match(path):
            layers.setdefault(name[: len(name) - len(path) + found.end()], []).append(name)
        else:
            (after if _AFTER.match(name) else before).append(name)
    return [("stem", before), *layers.items(), ("final", after)]


def _timm_groups(tower: TimmModel) -> _Groups:
    trunk: Any = tower.trunk
    try:
        grouped: dict[int, list[str]] = group_parameters(trunk, trunk.group_matcher(coarse=False))
        parts = [grouped[number] for number in sorted(grouped)]
    except Exception:  # a trunk without a grouping, or with a wrong one
        parts = [names for _, names in _groups(name for name, _ in trunk.named_parameters())]
    names = _names_of(parts)
    groups = [(name, [f"trunk.{each}" for each in part]) for name, part in zip(names, parts, strict=True)]
    head = [f"head.{name}" for name, _ in tower.head.named_parameters()]
    if head and groups[-1][0] == "final":
        groups[-1][1].extend(head)
    elif head:
        groups.append(("final", head))
    return groups


def _names_of(parts: Sequence[Sequence[str]]) -> list[str]:
    """Of each part the outermost module that holds only its parameters; ``stem`` and ``final`` where that is no numbered one."""
    names = [f"trunk.{place}".rstrip(".") for place in modules_of(parts)]
    for end, name in ((0, "stem"), (-1, "final")):
        if not any(step.isdigit() for step in names[end].split(".")):
            names[end] = name
    return [name if names.count(name) == 1 else f"{name}.{number}" for number, name in enumerate(names)]


def _named(groups: _Groups, owner: torch.nn.Module, prefix: str) -> tuple[Block, ...]:
    """The blocks, with the names that the parameters have in the model. A norm alone goes with the layer before it."""
    held = dict(owner.named_parameters())
    groups = [group for group in groups if group[1]]
    if len(groups) > 1 and all(held[name].ndim < 2 for name in groups[-1][1]):
        last = groups.pop()
        groups[-1] = (groups[-1][0], [*groups[-1][1], *last[1]])
    return tuple(Block(name, tuple(prefix + each for each in part)) for name, part in groups)
