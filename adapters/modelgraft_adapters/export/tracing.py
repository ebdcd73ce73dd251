"""Backbone and head as one module, if all of it can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from modelgraft.errors import UsageError
from torch import nn

from modelgraft_adapters.calls.tracing import FREE, traceable
from modelgraft_adapters.estimators.base import Adapter


class Whole(nn.Module):
    """``head(embed(batch))``. ``body`` is there for its parameters' sake; the backbone itself is no module."""

    def __init__(
        self, body: nn.Module, embed: Callable[[Any], torch.Tensor], head: nn.Module, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.body, self.head = body, head
        self._embed = embed

    def forward(self, batch: Any) -> torch.Tensor:
        """(B, C) float32."""
        found: torch.Tensor = self.head(self._embed(batch))
        if self.temperature == 1.0:
            return found
        return (found.clamp_min(1e-12).log() / self.temperature).softmax(dim=-1)


class _Linear(nn.Module):
    """A head of a weight and a bias: softmax or sigmoid of a linear map, or its values."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, task: str) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        self.linear.weight.data, self.linear.bias.data = weight.detach().clone(), bias.detach().to(weight, copy=True)
        self.task = task

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) of features (B, D)."""
        logits = self.linear(features)
        if self.task == "regression":
            return logits
        return logits.sigmoid() if self.task == "multi-label" else logits.softmax(dim=-1)


class _Any(nn.Module):
    """Any other head, by its own formula."""

    def __init__(self, head: Any, task: str) -> None:
        super().__init__()
        self.head = head
        self.task = task

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) of features (B, D)."""
        found: torch.Tensor = (self.head.logits if self.task == "regression" else self.head.probabilities)(features)
        return found.float()


def whole_module(adapter: Adapter) -> Whole:
    """Backbone and head, in eval mode, if all of it can be traced."""
    head, extractor = adapter._fitted(), adapter.extractor
    backbone, name = extractor.backbone, adapter.entry.name
    module, device = backbone.module, backbone.device
    if not callable(getattr(backbone, "embed", None)):
        raise UsageError(f"{name} cannot be traced: its plugin gives it no 'embed'; take an adapter on another model")
    other = next((p.dtype for p in module.parameters() if p.is_floating_point() and p.dtype != torch.float32), None)
    if device.type != "cpu" or other is not None:
        raise UsageError(
            f"the adapter is on {device.type} in {other or torch.float32}; save it, and load it with device='cpu', "
            "dtype='float32'"
        )
    layer = extractor.layer
    if layer is not None and layer != extractor.backbone.layers(extractor.modality)[0]:
        raise UsageError(
            f"the adapter reads the layer {layer!r} of {name}, and only the model's own embedding can be exported; train it "
            "without --layer"
        )
    tensors, _ = head.state()
    if adapter.head_name == "linear" and set(tensors) == {"weight", "bias"}:
        made: nn.Module = _Linear(tensors["weight"], tensors["bias"], adapter.task)
    else:
        made = _Any(head, adapter.task)
        try:
            with traceable():
                torch.export.export(
                    made, (torch.zeros(3, extractor.backbone.embed_dim),), dynamic_shapes=({0: FREE},), strict=False
                )
        except Exception as error:  # a head may be anybody's
            raise UsageError(
                f"the head {adapter.head_name!r} cannot be exported: its decision is no one formula for any number of items; the "
                "head 'linear' can be"
            ) from error
    temperature = 1.0 if adapter.calibration_ is None else adapter.calibration_.temperature
    return Whole(module, backbone.embed, made, temperature).eval()
