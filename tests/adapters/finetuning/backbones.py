"""Small backbones that a stranger could have written, right ones and wrong ones: for images and for texts, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from modelgraft import Entry, resolve
from modelgraft.training import Block
from PIL import Image
from torch import nn

WIDTH = 8


class Net(nn.Module):
    """Images (B, 3, 8, 8) to (B, 8): a convolution, batch norm, two layers of one weight, and buffers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, WIDTH, 3, stride=2)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight  # tied
        self.register_buffer("position_ids", torch.arange(WIDTH), persistent=False)
        self.register_buffer("calls", torch.zeros(1), persistent=False)
        self.register_buffer("shift", torch.full((WIDTH,), 0.25))
        self.position_ids: torch.Tensor
        self.calls: torch.Tensor
        self.shift: torch.Tensor

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        mapped = self.norm(self.conv(pixels)).relu().mean((2, 3))[:, self.position_ids] + self.shift
        found: torch.Tensor = self.second(self.first(mapped).tanh())
        return found


class Pictures:
    """An image backbone with the least that training takes: no `token_batch`, no `recompute`, no `randomise`."""

    embed_dim = WIDTH
    device = torch.device("cpu")

    def __init__(self, module: nn.Module | None = None) -> None:
        self.module: nn.Module = (module or Net()).eval()
        self.entry: Entry = replace(
            resolve("embedded/sprig"), modality="image", tasks=("features",), plugin="stranger:toy"
        )

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        small = image.resize((8, 8))
        return torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(8, 8, 3).permute(2, 0, 1) / 255.0

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module(pixels)
        return found

    def embed(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = self.module(batch)
        return found

    def blocks(self, modality: str | None = None) -> tuple[Block, ...]:
        names = [name for name, _ in self.module.named_parameters()]
        return (
            Block("stem", tuple(n for n in names if n.startswith(("conv", "norm")))),
            Block("final", tuple(n for n in names if not n.startswith(("conv", "norm")))),
        )


class Texts:
    """A text backbone: letters counted, then two layers; texts of more than 40 letters are cut."""

    embed_dim = WIDTH
    device = torch.device("cpu")

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(26, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)).eval()
        self.entry: Entry = replace(
            resolve("embedded/sprig"), modality="text", tasks=("features",), plugin="stranger:toy"
        )

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        return {"counts": counted(texts)}

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = self.module(counted(texts))
        return found

    def embed(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = self.module(batch["counts"])
        return found

    def blocks(self, modality: str | None = None) -> tuple[Block, ...]:
        return (Block("stem", ("0.weight", "0.bias")), Block("final", ("2.weight", "2.bias")))

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        cut = sum(len(text) > 40 for text in texts)
        return [f"{cut} of {len(texts)} texts cut at 40 letters"] if cut else []


def counted(texts: Sequence[str]) -> torch.Tensor:
    """(N, 26): how often each letter is in each text."""
    return torch.tensor([[float(text[:40].lower().count(chr(97 + n))) for n in range(26)] for text in texts])
