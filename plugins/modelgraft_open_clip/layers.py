"""Features of open_clip's towers before they are projected into the common space, and the image towers' dense maps.

open_clip gives the projected embeddings only; what comes before is computed here by the steps of its own ``forward``, without
touching the model.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer, text_global_pool


def image_layers(model: Any) -> tuple[str, ...]:
    """What can be taken of the image tower. Where the attention pool itself projects (RN50 ...) nothing lies between."""
    tower = model.visual
    projects = isinstance(tower, VisionTransformer) and tower.proj is not None
    if isinstance(tower, TimmModel):
        # Either a head of open_clip's after the trunk, or the trunk's own classifier as the projection.
        projects = "pool" not in tower.head._modules and (len(tower.head) > 0 or tower.trunk.num_classes > 0)
    return ("projected", *(("unprojected",) if projects else ()), "map")


def text_layers(model: Any) -> tuple[str, ...]:
    """What can be taken of the text tower."""
    tower = getattr(model, "text", None)
    if isinstance(tower, HFTextEncoder):
        projects = not isinstance(tower.proj, torch.nn.Identity)
    else:
        projects = getattr(model if tower is None else tower, "text_projection", None) is not None
    return ("projected", "unprojected") if projects else ("projected",)


def unprojected_image(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, width) of images (B, 3, H, W): pooled and normalised as in the tower, before its projection."""
    tower = model.visual
    if isinstance(tower, TimmModel):
        if len(tower.head) == 0:
            found: torch.Tensor = tower.trunk.forward_head(tower.trunk.forward_features(pixels), pre_logits=True)
            return found.flatten(1)
        pooled: torch.Tensor = tower.trunk(pixels)
        return pooled
    assert isinstance(tower, VisionTransformer)
    pooled, _ = tower._pool(tower.transformer(tower._embeds(pixels)))
    return pooled


def image_map(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, width, h, w) of images (B, 3, H, W): what leaves the last block, normalised where the tower's last norm fits it."""
    tower = model.visual
    # CoCa's last norm belongs to what its attention pooling gives.
    norm = not (isinstance(tower, VisionTransformer) and tower.attn_pool is not None)
    found = tower.forward_intermediates(
        pixels, indices=1, normalize_intermediates=norm, intermediates_only=True, output_fmt="NCHW"
    )
    last: torch.Tensor = found["image_intermediates"][-1]
    return last


def unprojected_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(N, width) of token numbers (N, L): pooled and normalised as in the tower, before its projection."""
    tower = getattr(model, "text", None)
    if isinstance(tower, HFTextEncoder):
        mask = (tokens != tower.config.pad_token_id).long()
        pooled: torch.Tensor = tower.pooler(tower.transformer(input_ids=tokens, attention_mask=mask), mask)
        return pooled
    if isinstance(tower, TextTransformer):
        x, mask = tower._embeds(tokens)
        x = tower.transformer(x, attn_mask=mask)
        if tower.cls_emb is not None:
            last: torch.Tensor = tower.ln_final(text_global_pool(x, pool_type="last"))
            return last
        return text_global_pool(
            tower.ln_final(x), tokens, pool_type=tower.pool_type, eos_token_id=getattr(tower, "eos_id", None)
        )
    cast = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(cast) + model.positional_embedding.to(cast)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    return text_global_pool(x, tokens, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
