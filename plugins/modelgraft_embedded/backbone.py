"""The embedded dual encoder as a backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
from modelgraft.contract import ScoreRule
from modelgraft.entry import Entry
from modelgraft.errors import UsageError
from modelgraft.layout import lay_out
from modelgraft.training import Block
from PIL import Image

from modelgraft_embedded import trainable
from modelgraft_embedded.model import DualEncoder
from modelgraft_embedded.preprocess import preprocess

LAYERS: Final = {"image": ("projected", "unprojected", "map"), "text": ("projected",)}


class EmbeddedBackbone:
    """Satisfies `ImageBackbone` and `TextBackbone`. Weights are read from ``path`` inside the wheel."""

    def __init__(self, entry: Entry, path: Path, device: torch.device, dtype: torch.dtype | None) -> None:
        if entry.revision is not None:
            raise UsageError(f"{entry.name} comes with modelgraft and has no revisions; leave out '@{entry.revision}'")
        self.entry = entry
        self.device = device
        self.dtype = dtype or torch.float32
        self.module = DualEncoder.from_file(path, device=device, dtype=self.dtype)
        lay_out(self.module)
        self.embed_dim = self.module.config.embed_dim

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """(3, S, S) float32."""
        return preprocess(image)

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, D) float32."""
        return self.module.encode_image(pixels.to(self.device, self.dtype)).float()

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, D) float32."""
        return self.module.encode_text(list(texts)).float()

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        """Words it does not know."""
        unknown = sorted({word for text in texts for word in self.module.tokenizer.unknown_words(text)})
        if not unknown:
            return []
        shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        return [
            f"{self.entry.name} does not know the word{'s' if len(unknown) > 1 else ''} {shown}; scores of labels with "
            f"{'them' if len(unknown) > 1 else 'it'} are guesses - a larger model knows more (modelgraft list --task zero-shot)"
        ]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Per text the ids of its words; -1 between two words, one of which may be spelled out in several ids."""
        return [[i for word in self.module.tokenizer.encode(text) for i in (*word, -1)] for text in texts]

    def score_rule(self) -> ScoreRule:
        """Softmax of the scaled cosine, as trained."""
        return ScoreRule("softmax", float(self.module.logit_scale.detach().exp()))

    def layers(self, modality: Literal["image", "text"] | None = None) -> tuple[str, ...]:
        """In the common space; of images also the pooled features before the projection, and the map that is pooled."""
        return LAYERS[modality or "image"]

    @torch.inference_mode()
    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        """As `encode_image` or `encode_text`, taken at a layer: (B, D) float32, for ``map`` (B, D, h, w).

        Raises:
            UsageError: the tower has no such layer.
        """
        there = self.layers("image" if isinstance(batch, torch.Tensor) else "text")
        if layer not in there:
            raise UsageError(f"{self.entry.name} has no layer {layer!r} there; there are: {', '.join(there)}")
        if layer == "projected":
            return self.encode_image(batch) if isinstance(batch, torch.Tensor) else self.encode_text(batch)
        pixels = batch.to(self.device, self.dtype)
        tower = self.module.image
        return (tower.places(pixels) if layer == "map" else tower.features(pixels)).float()

    def blocks(self, modality: Literal["image", "text"] | None = None) -> tuple[Block, ...]:
        """See `modelgraft_embedded.trainable.blocks`."""
        return trainable.blocks(self.module, modality or "image")

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """``ids`` (N, L, P) int64: P at most a word, L words at most a text, -1 where there is none."""
        return {"ids": trainable.token_ids(self.module, texts)}

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `encode_image` or `encode_text`, with gradients where parameters ask for them, in the mode that ``module`` is in."""
        if isinstance(batch, torch.Tensor):
            return self.module.encode_image(batch.to(self.device, self.dtype))
        found: torch.Tensor = self.module.text(*self.module.padded_word_vectors(batch["ids"].to(self.device)))
        return found.float()

    def recompute(self, on: bool) -> bool:
        """False: the network is too small for it to be worth anything."""
        return False

    def randomise(self, seed: int) -> None:
        """The weights that the shipped model's training began with."""
        trainable.randomise(self.module, seed)
