"""What an embedding of a timm model is."""

from __future__ import annotations

import torch


def pooled_features(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings (B, D) of preprocessed pictures (B, C, H, W), in the model's own dtype.

    They are what enters the last layer: ``forward_head(forward_features(x), pre_logits=True)``, pooled as the model
    itself pools (class token, mean, attention ...), so D is timm's ``head_hidden_size``, not always ``num_features``.
    Vision towers cut out of language models have no head in timm; there the tokens of ``model(x)``, (B, ..., D), are
    averaged.
    """
    if hasattr(model, "get_classifier"):  # timm's mark of a model with a head
        features: torch.Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
        return features.flatten(1)
    tokens: torch.Tensor = model(pixels)
    return tokens.flatten(1, -2).mean(1)
