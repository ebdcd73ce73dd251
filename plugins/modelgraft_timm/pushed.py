"""Models that people saved with timm (``push_to_hf_hub``, ``save_for_hf``): one ``config.json`` beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelgraft.entry import Entry

from modelgraft_timm.names import PROVIDER


def entry_of(name: str, config: Any) -> Entry | None:
    """The entry of a saved model, None if ``config`` is not timm's. Imports no timm.

    Args:
        name: of the place (``hub:user/repo``, ``file:path``).
        config: the parsed ``config.json``.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("architecture"), str):
        return None
    # Before timm 0.9 the pretrained config lay at the top.
    stated = config.get("pretrained_cfg", config)
    if not isinstance(stated, Mapping):
        return None
    classes = config.get("num_classes", stated.get("num_classes"))
    pretrained = {**stated, "num_classes": classes} if isinstance(classes, int) else dict(stated)
    size = pretrained.get("input_size")
    is_size = isinstance(size, list) and len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size)
    width = config.get("num_features")
    return Entry(
        name=f"{PROVIDER}/{name}",
        modality="image",
        tasks=("features", "classification") if classes else ("features",),
        embed_dim=width if isinstance(width, int) and width > 0 else None,
        input_size=tuple(size) if is_size else None,  # type: ignore[arg-type]
        licence=pretrained.get("license") if isinstance(pretrained.get("license"), str) else None,
        loader={
            "architecture": config["architecture"],
            "pretrained_cfg": pretrained,
            "model_args": dict(config.get("model_args") or {}),
        },
    )
