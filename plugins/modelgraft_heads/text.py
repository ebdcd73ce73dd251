"""The text head: each class is the embedding of its name, as in CLIP (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

import torch
from modelgraft.contract import ScoreRule
from torch import nn
from torch.nn import functional as F


class TextHead(nn.Module):
    """Scores of features against class embeddings: ``scale * similarity + bias``, then softmax or sigmoid, as trained.

    Args:
        weight: class embeddings (C, D), any float dtype; under the cosine rule they are normalised to length 1 in float32.
        rule: how similarities become scores.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, rule: ScoreRule) -> None:
        super().__init__()
        self.rule = rule
        self.register_buffer("weight", self._measured(weight))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D), which need not be normalised."""
        return self._measured(features) @ self.weight.T * self.rule.scale + self.rule.bias

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: rows sum to 1 under softmax; under sigmoid every class stands alone."""
        logits = self.logits(features)
        return logits.softmax(dim=-1) if self.rule.kind == "softmax" else logits.sigmoid()

    def _measured(self, embeddings: torch.Tensor) -> torch.Tensor:
        """As the similarity takes them: float32, of length 1 for the cosine."""
        return F.normalize(embeddings.float(), dim=-1) if self.rule.similarity == "cosine" else embeddings.float()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As `logits`."""
        return self.logits(features)
