"""Batches of tokens, embeddings with gradients, recomputation and weights drawn anew, for a Sentence Transformers model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from modelgraft.errors import ModelgraftError
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import StaticEmbedding
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel


def token_batch(model: SentenceTransformer, texts: Sequence[str], prompt: str) -> dict[str, torch.Tensor]:
    """What the model's first module makes of texts, prompt included: tensors with N rows.

    Static embeddings read a text as a bag of tokens; theirs is ``input_ids`` (N, L) alone, -1 where a text has no more.
    """
    found: dict[str, Any] = model.preprocess(list(texts), prompt=prompt or None)
    count = len(texts)
    if isinstance(model[0], StaticEmbedding):
        bags = found["input_ids"].tensor_split(found["offsets"][1:])
        return {"input_ids": pad_sequence(list(bags), batch_first=True, padding_value=-1)}
    if isinstance(length := found.get("prompt_length"), int):
        found["prompt_length"] = torch.full((count,), length)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor) and len(value) == count}


def embed(model: SentenceTransformer, batch: Mapping[str, torch.Tensor], device: torch.device) -> torch.Tensor:
    """Embeddings (N, D) of a `token_batch`, in the model's own dtype."""
    features: dict[str, Any] = {name: value.to(device) for name, value in batch.items()}
    if isinstance(model[0], StaticEmbedding):
        ids = features["input_ids"]
        lengths = (ids >= 0).sum(1)
        features = {"input_ids": ids[ids >= 0], "offsets": lengths.cumsum(0) - lengths}
    elif "message" in getattr(model[0], "modality_config", {}):  # texts were put into its chat template
        features["modality"] = "message"
    embeddings: torch.Tensor = model(features)["sentence_embedding"]
    return embeddings if model.truncate_dim is None else embeddings[..., : model.truncate_dim]


def recompute(model: SentenceTransformer, on: bool) -> bool:
    """In its encoders of transformers; False, and as it was, where there is none, or one that cannot."""
    encoders: list[Any] = _encoders(model)
    if not encoders or not all(encoder.supports_gradient_checkpointing for encoder in encoders):
        return False
    for encoder in encoders:
        # transformers 5 has a new name for it and warns of the old one
        verb = "activation" if hasattr(encoder, "activation_checkpointing_enable") else "gradient"
        if not on:
            getattr(encoder, f"{verb}_checkpointing_disable")()
            continue
        getattr(encoder, f"{verb}_checkpointing_enable")({"use_reentrant": False})
        # Only reentrant checkpointing needs inputs that ask for gradients; frozen layers would be differentiated for nothing.
        encoder.disable_input_require_grads()
    return True


def randomise(model: SentenceTransformer, name: str, seed: int) -> None:
    """All parameters and buffers as transformers and torch make them after ``seed``, in place.

    torch's random state is afterwards what it was.

    Raises:
        ModelgraftError: a module that says nowhere how it begins.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        drawn = _drawn(model)
    with torch.no_grad():
        for held_as, held in (*model.named_parameters(), *model.named_buffers()):
            new = drawn.get(held_as)
            if new is None or new.shape != held.shape:
                raise ModelgraftError(
                    f"{name}: nothing says how its weight {held_as} begins, so it cannot be drawn anew; train from the "
                    "pretrained weights"
                )
            held.copy_(new)


def _drawn(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    encoders = _encoders(model)
    places = {name: module for name, module in model.named_modules() if any(module is e for e in encoders)}
    drawn: dict[str, torch.Tensor] = {}
    for place, encoder in places.items():
        drawn |= _tensors(place, type(encoder)(copy.deepcopy(encoder.config)))
    for place, module in model.named_modules():
        inside = any(place == outer or place.startswith(f"{outer}.") for outer in places)
        if not inside and hasattr(module, "reset_parameters"):
            fresh = copy.deepcopy(module).cpu().float()
            fresh.reset_parameters()  # type: ignore[operator]
            drawn |= _tensors(place, fresh)
    return drawn


def _tensors(place: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"{place}.{name}": value for name, value in (*module.named_parameters(), *module.named_buffers())}


def _encoders(model: SentenceTransformer) -> list[PreTrainedModel]:
    """The outermost models of transformers in it."""
    return [inner for part in model.children() for inner in part.children() if isinstance(inner, PreTrainedModel)]
