"""Recomputing activations in open_clip's towers, and drawing their weights anew."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import open_clip
import torch
from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel

_STAND_IN: Final = {"context_length": 4, "vocab_size": 4, "width": 4, "heads": 1, "layers": 1}
"""A text tower that is thrown away, where the real one is Hugging Face's and open_clip would look for it on the hub."""


def recompute(model: Any, on: bool) -> bool:
    """For both towers; False, and as they were, where one of them cannot (ModifiedResNet, some of timm's)."""
    done: list[Callable[[bool], None]] = []
    for tower in (model.visual, getattr(model, "text", model)):
        switch = _switch(tower)
        try:
            if switch is None:
                raise NotImplementedError
            switch(on)
        except Exception:  # an assertion in most of timm's models that cannot
            for turn in done:
                turn(not on)
            return False
        done.append(switch)
    return True


def _switch(tower: Any) -> Callable[[bool], None] | None:
    if isinstance(tower, TimmModel):
        return tower.trunk.set_grad_checkpointing  # open_clip's own method hides that it failed
    if isinstance(tower, HFTextEncoder):
        return lambda on: _hugging_face(tower.transformer, on)  # open_clip's own one cannot turn it off
    inner = getattr(tower, "transformer", None)
    return (lambda on: setattr(inner, "grad_checkpointing", on)) if hasattr(inner, "grad_checkpointing") else None


def _hugging_face(encoder: Any, on: bool) -> None:
    # transformers 5 has a new name for it and warns of the old one
    verb = "activation" if hasattr(encoder, "activation_checkpointing_enable") else "gradient"
    if not on:
        getattr(encoder, f"{verb}_checkpointing_disable")()
        return
    getattr(encoder, f"{verb}_checkpointing_enable")({"use_reentrant": False})
    # Only reentrant checkpointing needs inputs that ask for gradients; frozen layers would be differentiated for nothing.
    encoder.disable_input_require_grads()


def randomise(model: Any, entry: Entry, seed: int) -> None:
    """All parameters and buffers as open_clip makes them after ``seed``, in place; scale and bias of the scores as well.

    torch's random state is afterwards what it was.

    Raises:
        ModelgraftError: open_clip builds another model from the entry than this one.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        drawn = _drawn(model, _config(entry))
    with torch.no_grad():
        for name, held in (*model.named_parameters(), *model.named_buffers()):
            new = drawn.get(name)
            if new is None or new.shape != held.shape:
                raise ModelgraftError(
                    f"{entry.name}: its weight {name} is not in what open_clip {open_clip.__version__} builds by this name, so "
                    "it cannot be drawn anew; train from the pretrained weights"
                )
            held.copy_(new)


def _config(entry: Entry) -> dict[str, Any]:
    found = entry.loader.get("model_cfg") or open_clip.get_model_config(str(entry.loader.get("model")))
    if found is None:
        raise ModelgraftError(
            f"{entry.name}: open_clip {open_clip.__version__} has no configuration of it to build anew"
        )
    config = copy.deepcopy(dict(found))
    config.pop("custom_text", None)
    return config


def _drawn(model: Any, config: dict[str, Any]) -> Mapping[str, torch.Tensor]:
    """Tensors of a model that is built from nothing."""
    tower = getattr(model, "text", None)
    hugging_face = isinstance(tower, HFTextEncoder)
    text = dict(_STAND_IN) if hugging_face else config["text_cfg"]
    vision = {**config["vision_cfg"]}
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    fresh = type(model)(**{**config, "vision_cfg": vision, "text_cfg": text})
    drawn = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
    if (unset := drawn.get("text_decoder.text_projection")) is not None:  # open_clip leaves it as the memory was
        torch.nn.init.normal_(unset, std=unset.shape[0] ** -0.5)
    # One value each, or one in a list: some models keep them so.
    scale, bias = config.get("init_logit_scale", math.log(1 / 0.07)), config.get("init_logit_bias", 0.0)
    drawn |= {"logit_scale": torch.full_like(model.logit_scale, scale, device="cpu")}
    if model.logit_bias is not None:
        drawn |= {"logit_bias": torch.full_like(model.logit_bias, bias if bias is not None else 0.0, device="cpu")}
    if hugging_face:
        assert tower is not None
        drawn = {name: value for name, value in drawn.items() if not name.startswith("text.")}
        encoder = type(tower.transformer)(copy.deepcopy(tower.transformer.config))
        projection = copy.deepcopy(tower.proj).cpu().float()
        for layer in projection.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        for place, part in (("text.transformer.", encoder), ("text.proj.", projection)):
            drawn |= {place + n: v for n, v in (*part.named_parameters(), *part.named_buffers())}
    return drawn
