"""A pretrained timm model as an image backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from modelgraft.contract import LocalWeights
from modelgraft.entry import Entry
from modelgraft.errors import UsageError
from modelgraft.layout import lay_out
from modelgraft.training import Block
from PIL import Image
from timm.data.transforms_factory import create_transform

from modelgraft_timm import renewal
from modelgraft_timm.blocks import blocks
from modelgraft_timm.configs import evaluation_config
from modelgraft_timm.features import layer_features, layer_names, pooled_features
from modelgraft_timm.weights import create


class TimmBackbone:
    """An `ImageBackbone`: timm's own evaluation preprocessing, and its pooled features before the classifier.

    ``module`` is the model as published, classifier included: ``module(pixels)`` gives the logits of its own classes.
    """

    def __init__(self, entry: Entry, module: torch.nn.Module) -> None:
        self.entry = entry
        self.module = module.eval()
        weight = next(module.parameters())
        self.device = weight.device
        self.dtype = weight.dtype
        self.embed_dim: int = module.head_hidden_size  # type: ignore[assignment]
        config = evaluation_config(module.pretrained_cfg)  # type: ignore[arg-type]
        self._input_size: tuple[int, ...] = tuple(config["input_size"])
        self._layers: tuple[str, ...] = ()
        self._transform = create_transform(**config, is_training=False)

    @classmethod
    def load(cls, entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None) -> Self:
        """The entry's model with its pretrained weights. Errors as `modelgraft_timm.weights.create`."""
        return cls(entry, lay_out(create(entry, weights).to(device=device, dtype=dtype)))

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """One upright RGB image as float32 (3, H, W) on the CPU, by timm's ``create_transform``."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 on `device` of preprocessed images (B, 3, H, W): see `pooled_features`."""
        return self.embed(pixels)

    @torch.inference_mode()
    def layers(self, modality: Literal["image", "text"] | None = None) -> tuple[str, ...]:
        """Where embeddings can be taken: see `layer_features`. The first call runs the model once, on an empty image."""
        if not self._layers:
            empty = torch.zeros(1, *self._input_size, device=self.device, dtype=self.dtype)
            self._layers = layer_names(self.module, empty)
        return self._layers

    @torch.inference_mode()
    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        """As `encode_image`, taken at a layer: (B, D) float32, for ``map`` (B, D, h, w).

        Raises:
            UsageError: the model has no such layer.
        """
        if layer not in self.layers():
            raise UsageError(f"{self.entry.name} has no layer {layer!r}; there are: {', '.join(self.layers())}")
        with renewal.without_caches(self.module):
            return layer_features(self.module, batch.to(self.device, self.dtype), layer).float()

    def blocks(self, modality: Literal["image", "text"] | None = None) -> tuple[Block, ...]:
        """timm's own grouping of its layers, without the classifier: see `modelgraft_timm.blocks`.

        Raises:
            UsageError: asked for a text tower.
        """
        if modality == "text":
            raise UsageError(f"{self.entry.name} has no text tower")
        return blocks(self.module)

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Always a UsageError: these models read images."""
        raise UsageError(f"{self.entry.name} reads images, not texts")

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `encode_image`, with gradients, in the mode that ``module`` is in.

        Raises:
            UsageError: tokens of texts.
        """
        if not isinstance(batch, torch.Tensor):
            raise UsageError(f"{self.entry.name} reads images, not texts")
        with renewal.without_caches(self.module):
            return pooled_features(self.module, batch.to(self.device, self.dtype)).float()

    def recompute(self, on: bool) -> bool:
        """By timm's gradient checkpointing; False for an architecture that has none. In train mode batch norms' running
        statistics then see every batch twice."""
        return renewal.recompute(self.module, on)

    def randomise(self, seed: int) -> None:
        """The weights that timm begins training with. Errors as `modelgraft_timm.renewal.randomise`."""
        renewal.randomise(self.module, self.entry, seed)
