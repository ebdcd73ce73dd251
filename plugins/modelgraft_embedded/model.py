"""The dual encoder: a small residual network for images, word vectors for texts, one space for both."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from modelgraft_embedded.tokenizer import Tokenizer


@dataclass(frozen=True)
class Config:
    """Everything but the weights that `DualEncoder` needs."""

    words: list[str]
    concepts: list[str] = field(default_factory=list)  #: names of things it saw images of
    widths: tuple[int, int, int, int] = (
        32,
        64,
        128,
        256,
    )  #: channels at 1/2, 1/4, 1/8 and 1/16 of the image
    blocks: tuple[int, int, int, int] = (0, 1, 1, 1)  #: residual blocks at each of them
    word_dim: int = 128
    heads: int = 4
    buckets: int = 6144
    embed_dim: int = 256

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """From JSON: unknown keys are an error, lists become tuples where the field is one."""
        values = {**values, "widths": tuple(values["widths"]), "blocks": tuple(values["blocks"])}
        return cls(**values)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """x + two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        inner = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(x + inner, inplace=True)


class ImageTower(nn.Module):
    """(B, 3, S, S) to (B, embed_dim); S a multiple of 16."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        # 2x2 pixels side by side as channels: a stride-2 stem that costs what a 32x32 network's costs
        self.stem = _conv(12, config.widths[0])
        stages: list[nn.Module] = []
        for index, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if index:
                stages += [_conv(config.widths[index - 1], width, 2), nn.ReLU(inplace=True)]
            stages += [Residual(width) for _ in range(count)]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(config.widths[-1], config.embed_dim)

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features before the projection: (B, widths[-1]), in the network's dtype."""
        return self.places(pixels).mean((2, 3))

    def places(self, pixels: Tensor) -> Tensor:
        """The map that is pooled: (B, widths[-1], S / 16, S / 16)."""
        x = F.relu(self.stem(F.pixel_unshuffle(pixels, 2)), inplace=True)
        found: Tensor = self.stages(x)
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, embed_dim)."""
        projected: Tensor = self.project(self.features(pixels))
        return projected


class TextTower(nn.Module):
    """Padded word ids to (N, embed_dim): word vectors, one transformer layer, attention pooling, an MLP."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = config.word_dim
        self.heads = config.heads
        self.table = nn.Embedding(len(config.words) + config.buckets, dim)
        self.place = nn.Parameter(torch.zeros(2, dim))  # first word, last word: word order in names is short
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)
        self.score = nn.Linear(dim, config.heads)
        self.hidden = nn.Linear(dim, 4 * dim)
        self.project = nn.Linear(4 * dim, config.embed_dim)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Word vectors (N, L, word_dim) and mask (N, L; True where there is a word) to (N, embed_dim)."""
        count, length, dim = vectors.shape
        last = F.one_hot(mask.long().sum(1) - 1, length).to(vectors.dtype).unsqueeze(-1)
        first = torch.zeros_like(last)
        first[:, 0] = 1
        x = vectors + first * self.place[0] + last * self.place[1]
        qkv = self.qkv(self.norm(x)).view(count, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # written out: for texts of a few words the fused kernel costs more than it saves
        logits = (q @ k.transpose(-1, -2)) / math.sqrt(dim / self.heads)
        logits = logits.masked_fill(~mask[:, None, None, :], float("-inf"))
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(count, length, dim)
        x = x + self.out(mixed)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        weights = self.score(x).masked_fill(~mask[:, :, None], float("-inf")).softmax(1)
        values = x.view(count, length, self.heads, dim // self.heads)
        pooled = (weights.unsqueeze(-1) * values).sum(1).reshape(count, dim)
        embedded: Tensor = self.project(F.gelu(self.hidden(pooled)))
        return embedded


class _NoInit(TorchFunctionMode):
    """No random numbers are drawn for weights that are replaced at once; the meta device imports half of torch for that."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs else args[0]
        return func(*args, **(kwargs or {}))


class DualEncoder(nn.Module):
    """Images and texts into one space; probabilities are ``softmax(exp(logit_scale) * cosine)``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.words, config.buckets)
        self.image = ImageTower(config)
        self.text = TextTower(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) from `preprocess` to (B, D) float32, not normalised."""
        embedded: Tensor = self.image(pixels.to(self.logit_scale.device, self.logit_scale.dtype))
        return embedded.float()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to (N, D) float32, not normalised."""
        if not texts:
            return torch.zeros(0, self.config.embed_dim, device=self.logit_scale.device)
        embedded: Tensor = self.text(*self.word_vectors([self.tokenizer.encode(text) for text in texts]))
        return embedded.float()

    def word_vectors(self, encoded: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor]:
        """Per text the ids of each word, to (N, L, word_dim) and the mask (N, L)."""
        length = max(len(words) for words in encoded)
        ids: list[int] = []
        offsets: list[int] = []
        places: list[int] = []
        for row, words in enumerate(encoded):
            for column, pieces in enumerate(words):
                places.append(row * length + column)
                offsets.append(len(ids))
                ids.extend(pieces)
        device = self.logit_scale.device
        numbers, starts = torch.tensor(ids, device=device), torch.tensor(offsets, device=device)
        return self._placed(numbers, starts, torch.tensor(places, device=device), len(encoded), length)

    def padded_word_vectors(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """As `word_vectors`, of ids (N, L, P) int64: P at most a word, L words at most a text, -1 where there is none."""
        real = ids >= 0
        lengths = real.sum(2).flatten()
        where = lengths.nonzero().squeeze(1)
        lengths = lengths[where]
        return self._placed(ids[real], lengths.cumsum(0) - lengths, where, ids.shape[0], ids.shape[1])

    def _placed(self, ids: Tensor, starts: Tensor, where: Tensor, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Means of the ids of each word, which begin at ``starts``, put at places ``where`` of (N * L)."""
        table = self.text.table.weight
        words_found = F.embedding_bag(ids, table, starts, mode="mean")
        flat = table.new_zeros(count * length, table.shape[1])
        mask = torch.zeros(flat.shape[0], dtype=torch.bool, device=flat.device)
        mask[where] = True
        flat = flat.index_copy(0, where, words_found)
        return flat.view(count, length, -1), mask.view(count, length)

    @classmethod
    def from_file(
        cls, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> DualEncoder:
        """The model of ``path`` (.safetensors; its configuration is the .json beside it), ready to encode."""
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with _NoInit():
            model = cls(Config.from_dict(facts["config"]))
        stored = load_file(path)
        scales = stored.pop("text.table.scale")
        stored["text.table.weight"] = stored["text.table.weight"].float() * scales.float()
        model.load_state_dict(
            {
                name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
                for name, value in stored.items()
            },
            assign=True,
        )
        return model.eval().requires_grad_(False)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write ``path`` and the .json beside it: word table in 8 bits with a scale a row, the rest in 16."""
        state = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        table = state.pop("text.table.weight").float()
        scale = table.abs().amax(1, keepdim=True).clamp_min(1e-8) / 127
        tensors = {
            name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
            for name, value in state.items()
        }
        tensors["text.table.weight"] = (table / scale).round().to(torch.int8)
        tensors["text.table.scale"] = scale.half()
        save_file(tensors, path)
        config = dataclasses.asdict(self.config)
        text = json.dumps({**facts, "config": config}, ensure_ascii=False, indent=None, separators=(",", ":"))
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
