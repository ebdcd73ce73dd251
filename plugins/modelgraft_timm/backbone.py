"""A pretrained timm model as an image backbone."""

from __future__ import annotations

from typing import Self

import torch
from modelgraft.contract import LocalWeights
from modelgraft.entry import Entry
from PIL import Image
from timm.data.transforms_factory import create_transform

from modelgraft_timm.configs import evaluation_config
from modelgraft_timm.features import pooled_features
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
        self._transform = create_transform(**evaluation_config(module.pretrained_cfg), is_training=False)  # type: ignore[arg-type]

    @classmethod
    def load(cls, entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None) -> Self:
        """The entry's model with its pretrained weights. Errors as `modelgraft_timm.weights.create`."""
        return cls(entry, create(entry, weights).to(device=device, dtype=dtype))

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """One upright RGB picture as float32 (3, H, W) on the CPU, by timm's ``create_transform``."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 on `device` of preprocessed pictures (B, 3, H, W): see `pooled_features`."""
        return pooled_features(self.module, pixels.to(self.device, self.dtype)).float()
