"""``open_clip_config.json`` of a stranger: sizes and switches of two towers, and nothing that names code or a place."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import open_clip
import pytest
from modelgraft.errors import UnsafeWeightsError, WeightsUnavailableError
from modelgraft.strangers import At
from modelgraft_open_clip.configs import checked, model_config
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from tests.weights.test_recognising import TINY_CLIP

PLACES = (
    "hf-hub:evil/repo",
    "local-dir:/tmp/evil",
    "evil/repo",
    "/tmp/evil",
    "https://127.0.0.1:9/x",
    "evil.Code",
    "../evil",
)
HOSTILE: tuple[Any, ...] = (
    *PLACES, {"trust_remote_code": True, "tokenizer_file": PLACES[3]}, {"auto_map": PLACES[2]}, [PLACES[2]], [{"file": PLACES[3]}],
    10**12,
)  # fmt: skip


def tower(which: str, **keys: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(TINY_CLIP))
    config["model_cfg"][which] |= keys
    return config


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_key_takes_a_place(value: Any) -> None:
    for which, kind in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        for key in [f.name for f in fields(kind)]:
            try:
                found = checked(tower(which, **{key: value}), "hub:evil/x")
            except (UnsafeWeightsError, WeightsUnavailableError) as error:
                assert key in str(error) and "\n" not in str(error)
                continue
            # Only whether there is a tokenizer of its own is read: its files are the model's.
            if key != "hf_tokenizer_name":
                assert not [place for place in PLACES if place in json.dumps(found)], (key, value)
                assert key not in found["model_cfg"][which] or value != 10**12, key
    for top in ("model_cfg", "preprocess_cfg"):
        for key in ("timm_model_name", "cache_dir", "pretrained", "size", "mode", "mean", "custom_text", "quick_gelu"):
            config = json.loads(json.dumps(TINY_CLIP))
            config[top][key] = value
            try:
                assert not [place for place in PLACES if place in json.dumps(checked(config, "x"))]
            except (UnsafeWeightsError, WeightsUnavailableError):
                pass


@pytest.mark.parametrize(
    "key", ["trust_remote_code", "tokenizer_file", "vocab_file", "revision", "subfolder", "use_fast"]
)
def test_a_tokenizers_arguments_are_three(key: str) -> None:
    with pytest.raises((UnsafeWeightsError, WeightsUnavailableError), match=rf"text_cfg\.tokenizer_kwargs\.{key}"):
        checked(tower("text_cfg", tokenizer_kwargs={key: "evil/repo"}), "hub:evil/x")


def test_what_open_clip_itself_ships_passes_unchanged() -> None:
    for name in open_clip.list_models():
        config = json.loads(json.dumps(open_clip.get_model_config(name)))
        if "mt5" in str(config["text_cfg"].get("hf_model_name")):
            continue  # no published weights: its text tower's configuration is not known here
        found = model_config(At(name), config)
        for which in ("vision_cfg", "text_cfg", "multimodal_cfg"):
            config.get(which, {}).pop("timm_model_pretrained", None)
            config.get(which, {}).pop("hf_model_pretrained", None)
        assert found == config, name
