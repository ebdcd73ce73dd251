"""What training the embedded dual encoder further asks of it: its blocks, texts as one tensor, weights drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from modelgraft.training import Block

from modelgraft_embedded.model import DualEncoder, Residual

_TEXT: Final = {
    "stem": ("table", "place"),
    "layer": ("norm", "qkv", "out", "norm2", "up", "down"),
    "final": ("score", "hidden", "project"),
}


def blocks(model: DualEncoder, modality: Literal["image", "text"]) -> tuple[Block, ...]:
    """Of images the stem, a block for each residual one with what brings the map to its size, and the projection; of texts the
    word vectors, the transformer layer, and pooling with projection."""
    if modality == "text":
        names = [name for name, _ in model.text.named_parameters()]
        return tuple(
            Block(block, tuple(f"text.{name}" for name in names if name.split(".")[0] in parts))
            for block, parts in _TEXT.items()
        )
    groups: list[tuple[str, list[str]]] = []
    waiting: list[str] = []
    for place, stage in model.image.stages.named_children():
        waiting += [f"image.stages.{place}.{name}" for name, _ in stage.named_parameters()]
        if isinstance(stage, Residual):
            groups.append((f"stages.{place}", waiting))
            waiting = []
    last = [f"image.project.{name}" for name, _ in model.image.project.named_parameters()]
    stem = [f"image.stem.{name}" for name, _ in model.image.stem.named_parameters()]
    return tuple(Block(name, tuple(part)) for name, part in [("stem", stem), *groups, ("final", [*waiting, *last])])


def token_ids(model: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    """(N, L, P) int64: the ids of each word of each text, -1 where a word has fewer or a text has no more."""
    encoded = [model.tokenizer.encode(text) for text in texts]
    length = max((len(words) for words in encoded), default=0)
    pieces = max((len(word) for words in encoded for word in words), default=0)
    ids = torch.full((len(encoded), length, pieces), -1)
    for row, words in zip(ids, encoded, strict=True):
        for place, word in zip(row, words, strict=False):
            place[: len(word)] = torch.tensor(word)
    return ids


def randomise(model: DualEncoder, seed: int) -> None:
    """All parameters and buffers as the model was trained from, drawn after ``seed``, in place; the random state stays."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        fresh = DualEncoder(model.config)
        torch.nn.init.normal_(fresh.text.table.weight, std=TABLE_STD)
    drawn = fresh.state_dict()
    with torch.no_grad():
        for name, held in model.state_dict(keep_vars=True).items():
            held.copy_(drawn[name])


TABLE_STD: Final = 0.3
"""Spread of the word vectors that the shipped model's training began with."""
