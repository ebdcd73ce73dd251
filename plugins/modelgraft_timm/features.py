"""What an embedding of a timm model is, and where else one can be taken."""

from __future__ import annotations

from typing import Any

import torch


def pooled_features(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings (B, D) of preprocessed images (B, C, H, W), in the model's own dtype.

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


def layer_names(model: torch.nn.Module, pixels: torch.Tensor) -> tuple[str, ...]:
    """Where features of this model can be taken (`layer_features`), found by running it on preprocessed images."""
    if not hasattr(model, "get_classifier"):
        return ("pooled",)
    found = model.forward_features(pixels)  # type: ignore[operator]
    names = ["pooled"]
    if isinstance(found, torch.Tensor) and found.ndim in (3, 4):
        if found.ndim == 3 and _has_class_token(model):
            names.append("cls")
        names.append("mean")
        if found.ndim == 4 or _grid(model, found) is not None:
            names.append("map")
    if getattr(model, "num_classes", 0):
        names.append("logits")
    return tuple(names)


def layer_features(model: torch.nn.Module, pixels: torch.Tensor, layer: str) -> torch.Tensor:
    """Features of preprocessed images (B, C, H, W), in the model's own dtype, out of what timm's ``forward_features`` gives.

    ``pooled`` (`pooled_features`), ``cls`` (the class token), ``mean`` (over the patch tokens, or over the places of the map),
    ``map`` (patch tokens at their places, or the map itself), ``logits`` (of the published classifier).

    Returns:
        (B, D); for ``map`` (B, D, h, w).
    """
    if layer == "pooled":
        return pooled_features(model, pixels)
    if layer == "logits":
        logits: torch.Tensor = model(pixels)
        return logits
    found: torch.Tensor = model.forward_features(pixels)  # type: ignore[operator]
    if found.ndim == 4:
        places = _channels_first(model, found)
        return places if layer == "map" else places.mean((2, 3))
    if layer == "cls":
        return found[:, 0]
    patches = found[:, _prefix(model) :]
    if layer == "mean":
        return patches.mean(1)
    grid = _grid(model, found)
    assert grid is not None
    return patches.transpose(1, 2).unflatten(2, grid)


def _prefix(model: Any) -> int:
    return int(getattr(model, "num_prefix_tokens", 0))


def _has_class_token(model: Any) -> bool:
    return _prefix(model) > 0 and getattr(model, "cls_token", None) is not None


def _channels_first(model: Any, found: torch.Tensor) -> torch.Tensor:
    """Some models (Swin ...) hold (B, h, w, D)."""
    width = int(model.num_features)
    last = getattr(model, "output_fmt", None) == "NHWC" or (found.shape[1] != width and found.shape[3] == width)
    return found.permute(0, 3, 1, 2) if last else found


def _grid(model: Any, tokens: torch.Tensor) -> tuple[int, int] | None:
    """Rows and columns of the patches among tokens (B, N, D); None where they are no grid."""
    count = tokens.shape[1] - _prefix(model)
    stated = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if stated is not None and len(stated) == 2 and stated[0] * stated[1] == count:
        return int(stated[0]), int(stated[1])
    side = round(count**0.5)
    return (side, side) if side * side == count and side > 0 else None
