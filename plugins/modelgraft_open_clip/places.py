"""Which files of which places an entry's model is made of. Needs no open_clip: fetching works without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from modelgraft.entry import Entry, Weights

DEFAULT_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""open_clip's own names (``HF_SAFE_WEIGHTS_NAME``, ``HF_WEIGHTS_NAME``), in its order of preference."""
TEXT_FILES: Final = ("*.json", "*.txt", "*.model")
PUSHED_WITHOUT: Final = ("*/*", "*.index.json", "model.safetensors", "pytorch_model.bin")
TEXT_WITHOUT: Final = ("*/*", "*.index.json", "open_clip_config.json")


def weights_of(entry: Entry) -> list[Weights]:
    """The checkpoint: safetensors where the repository has it."""
    stated = entry.weights
    if stated is not None and "model_cfg" in entry.loader:
        return [
            replace(
                stated, files=("|".join(DEFAULT_FILES), "open_clip_config.json", *TEXT_FILES), without=PUSHED_WITHOUT
            )
        ]
    if stated is None or stated.repo is None:
        return [stated] if stated else []
    if stated.filename in (None, DEFAULT_FILES[1]):
        return [replace(stated, files=("|".join(DEFAULT_FILES),))]
    if stated.filename.endswith((".bin", ".pth")):
        return [replace(stated, files=(f"{stated.filename[:-4]}.safetensors|{stated.filename}",))]
    return [replace(stated, files=(stated.filename,))]


def text_files_of(entry: Entry) -> list[Weights]:
    """Tokenizer and configuration of a text tower that is defined elsewhere on the hub."""
    repos = entry.loader.get("text_repos", ())
    return [Weights(repo=repo, files=TEXT_FILES, without=TEXT_WITHOUT) for repo in repos]


def pushed_entry(name: str, config: Any) -> Entry | None:
    """The entry of a model that somebody saved with open_clip (``push_to_hf_hub``), None if ``config`` is not its.

    Args:
        name: of the place (``hub:user/repo``, ``file:path``).
        config: the parsed ``open_clip_config.json``.
    """
    model = config.get("model_cfg") if isinstance(config, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(model.get("text_cfg"), Mapping):
        return None
    width, tower = model.get("embed_dim"), model["text_cfg"].get("hf_model_name")
    return Entry(
        name=f"open_clip/{name}",
        modality="image-text",
        tasks=("zero-shot", "features"),
        embed_dim=width if isinstance(width, int) and width > 0 else None,
        score="sigmoid" if model.get("init_logit_bias") is not None else "softmax",
        loader={"model_cfg": dict(model), "text_repos": [tower] if isinstance(tower, str) else []},
    )
