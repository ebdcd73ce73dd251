"""The blocks of a sentence encoder from input to embedding."""

from __future__ import annotations

from typing import Any

import torch
from modelgraft.training import Block
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel


def blocks(model: SentenceTransformer) -> tuple[Block, ...]:
    """What the embedding depends on: the encoder's embeddings (``stem``), its layers, and ``final`` with the modules behind it.

    Layers that are run several times (ALBERT) are one block. A norm alone is no block but goes with the layer before it. A
    model without an encoder of transformers (static embeddings, word vectors with a recurrent network) has a block for each of
    its modules.
    """
    groups: list[tuple[str, list[str]]] = []
    for place, module in model.named_children():
        names = [f"{place}.{name}" for name, _ in module.named_parameters()]
        encoder = next((m for m in module.children() if isinstance(m, PreTrainedModel)), None)
        if encoder is not None and not groups:
            groups = _of_encoder(names, encoder, _reads_pooler(module))
        elif groups and groups[-1][0] == "final":
            groups[-1][1].extend(names)
        elif names:
            groups.append((_said(module), names))
    ndim = {name: parameter.ndim for name, parameter in model.named_parameters()}
    groups = [(name, [each for each in part if each in ndim]) for name, part in groups]
    groups = [group for group in groups if group[1]]
    if len(groups) > 1 and groups[-1][0] == "final" and all(ndim[name] < 2 for name in groups[-1][1]):
        last = groups.pop()
        groups[-1] = (groups[-1][0], [*groups[-1][1], *last[1]])
    return tuple(Block(name, tuple(part)) for name, part in _once(groups))


def _of_encoder(names: list[str], encoder: PreTrainedModel, reads_pooler: bool) -> list[tuple[str, list[str]]]:
    """``stem``, layers and ``final``; the latter even if it is empty.

    Modules are made in the order they are run in, but for MPNet's table of relative positions: tables are of the ``stem``.
    """
    place = _layers(encoder)
    tables = {f"{name}.weight" for name, inner in encoder.named_modules() if isinstance(inner, torch.nn.Embedding)}
    stem: list[str] = []
    layers: dict[str, list[str]] = {}
    final: list[str] = []
    for name in names:
        inner = name.split(".", 2)[2]  # after the module's number and its attribute that holds the encoder
        if inner.startswith("pooler.") and not reads_pooler:
            continue
        if place and inner.startswith(place):
            layers.setdefault(place + inner.removeprefix(place).split(".")[0], []).append(name)
        else:
            (final if layers and inner not in tables else stem).append(name)
    return [("stem", stem), *layers.items(), ("final", final)]


def _layers(encoder: torch.nn.Module) -> str:
    """Where the layers are, such as ``encoder.layer.``: the longest list of modules that lies in no other one."""
    lists: dict[str, int] = {}
    for name, inner in encoder.named_modules():
        if isinstance(inner, torch.nn.ModuleList) and len(inner) and not any(name.startswith(outer) for outer in lists):
            lists[f"{name}."] = len(inner)
    return max(lists, key=lambda name: lists[name], default="")


def _reads_pooler(module: Any) -> bool:
    """Whether the model's own pooling layer (BERT's ``pooler``) is what is read of it, and not its token states."""
    return "last_hidden_state" not in str(getattr(module, "modality_config", {}).get("text", "last_hidden_state"))


def _said(module: torch.nn.Module) -> str:
    name = type(module).__name__
    return "".join(f"_{c.lower()}" if c.isupper() and n else c.lower() for n, c in enumerate(name))


def _once(groups: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Every name once: a second dense layer is ``dense.1``."""
    names = [name for name, _ in groups]
    return [
        (name if names.count(name) == 1 else f"{name}.{names[:number].count(name)}", part)
        for number, (name, part) in enumerate(groups)
    ]
