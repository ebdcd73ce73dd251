"""What changes in a timm model when its weights are to change: caches that hold old ones, recomputation, weights drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError

from modelgraft_timm.names import timm_name


@contextmanager
def without_caches(model: torch.nn.Module) -> Iterator[None]:
    """Nothing computed from weights at an earlier call is used in it, and nothing is left behind by it.

    Some models keep attention biases (LeViT, EfficientFormer ...) or positions (ConViT) of an eval-mode call for the next one:
    after a step of training they would be the old ones, and those of an ``inference_mode`` call let no gradient through.
    """
    _forget(model)
    for inner in model.modules():
        for name, buffer in inner.named_buffers(recurse=False):
            if buffer.is_inference() and not torch.is_inference_mode_enabled():
                inner._buffers[name] = buffer.clone()
    yield
    _forget(model)


def _forget(model: torch.nn.Module) -> None:
    for inner in model.modules():
        if getattr(inner, "attention_bias_cache", None):
            inner.attention_bias_cache = {}  # type: ignore[assignment]


def recompute(model: Any, on: bool) -> bool:
    """timm's ``set_grad_checkpointing``; False, and as it was, for an architecture that has none."""
    try:
        model.set_grad_checkpointing(on)
    except Exception:  # an assertion in most models that cannot, an AttributeError where the method is missing
        return False
    return True


def randomise(model: torch.nn.Module, entry: Entry, seed: int) -> None:
    """All parameters and buffers as ``timm.create_model(..., pretrained=False)`` makes them after ``seed``, in place.

    torch's random state is afterwards what it was.

    Raises:
        ModelgraftError: timm builds another model from the entry than this one.
    """
    pushed = "architecture" in entry.loader
    name = str(entry.loader["architecture"]) if pushed else timm_name(entry)
    stated: dict[str, Any] = {}
    if pushed:
        stated = {"pretrained_cfg": dict(entry.loader["pretrained_cfg"]), **entry.loader["model_args"]}
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        fresh = timm.create_model(name, pretrained=False, **stated)
    drawn = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
    with torch.no_grad(), without_caches(model):
        for held_as, held in (*model.named_parameters(), *model.named_buffers()):
            new = drawn.get(held_as)
            if new is None or new.shape != held.shape:
                raise ModelgraftError(
                    f"{entry.name}: its weight {held_as} is not in what timm {timm.__version__} builds as {name}, so it "
                    "cannot be drawn anew; train from the pretrained weights"
                )
            held.copy_(new)
