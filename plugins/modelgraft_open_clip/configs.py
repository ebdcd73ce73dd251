"""What ``open_clip_config.json`` of a stranger may say: sizes and switches of two towers. Imports no open_clip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from modelgraft.strangers import At, transformers_files
from modelgraft.strangers.rules import (
    Rule,
    as_file,
    between,
    channels,
    flag,
    number,
    one_of,
    plain,
    record,
    text,
)

from modelgraft_open_clip.text_towers import PUBLISHED

CONFIG: Final = "open_clip_config.json"
_NORM: Final = record({"eps": number})
_ACTIVATION: Final = record({"approximate": one_of("none", "tanh")})
_LANGUAGE: Final = one_of("eng_Latn", None)
_TOKENIZER: Final = record(
    {
        "clean": one_of("canonicalize", "lower", "whitespace"),
        "strip_sep_token": flag,
        "language": _LANGUAGE,
        "trust_remote_code": transformers_files.no_code,
    }
)
_BLOCKS: Final[Mapping[str, Rule | None]] = {
    **dict.fromkeys(
        (
            "layers", "width", "mlp_ratio", "ls_init_value", "heads", "context_length", "vocab_size", "pad_id", "eos_id",
            "head_width", "patch_size", "image_size", "patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "n_queries",
            "dim_head",
        ),
        plain,
    ),
    **dict.fromkeys(
        (
            "embed_cls", "no_causal_mask", "final_ln_after_pool", "proj_bias", "output_tokens", "qk_norm", "scaled_cosine_attn",
            "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc", "attentional_pool", "no_ln_pre", "input_patchnorm",
            "global_average_pool", "timm_proj_bias", "attn_pooler",
        ),
        plain,
    ),
    "pool_type": one_of("tok", "avg", "none", "first", "last", "argmax", "eos", "map", ""),
    "pos_embed_type": one_of("learnable", "sin_cos_2d"),
    "proj_type": one_of("linear", "none"),
    "block_type": one_of("default", "custom", None),
    "act_kwargs": lambda at, value: None if value is None else _ACTIVATION(at, value),
    "norm_kwargs": lambda at, value: None if value is None else _NORM(at, value),
}  # fmt: skip


def _timm_name(at: At, value: Any) -> Any:
    """Pass the name of an architecture; one with a place before it (``hf-hub:``, ``local-dir:``) is refused."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9_]{0,99}", value, re.A)):
        at.refuse(f"{value!r:.100} is no architecture of timm's")
    return value


def _text_tower(at: At, value: Any) -> Any:
    """Pass a repository that open_clip's own models have their text tower's configuration from."""
    return value if value is None else one_of(*PUBLISHED)(at, value)


_VISION: Final = record(
    {
        **_BLOCKS,
        "timm_model_name": _timm_name,
        "timm_model_pretrained": None,
        "timm_pool": one_of("abs_attn", "rot_attn", "avg", "avgmax", "max", "token", "map", ""),
        "timm_proj": one_of("linear", "mlp", "none", "", None),
        "timm_drop": number,
        "timm_drop_path": number,
    }
)
_TEXT: Final = record(
    {
        **_BLOCKS,
        "hf_model_name": _text_tower,
        "hf_model_pretrained": None,
        # Only whether there is one: the tokenizer's files are the model's own.
        "hf_tokenizer_name": text,
        "tokenizer_mode": one_of("clips", "", None),
        "tokenizer_kwargs": lambda at, value: {} if value is None else _TOKENIZER(at, value),
        "hf_proj_type": one_of("linear", "mlp", None),
        "proj": one_of("linear", "mlp", None),
        "hf_pooler_type": one_of("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler", None),
        "pooler_type": one_of("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler", None),
    }
)
model_config: Rule = record(
    {
        "embed_dim": number,
        "vision_cfg": _VISION,
        "text_cfg": _TEXT,
        "multimodal_cfg": _TEXT,
        "quick_gelu": flag,
        "custom_text": flag,
        "init_logit_scale": number,
        "init_logit_bias": number,
        "nonscalar_logit_scale": flag,
        "output_dict": flag,
    }
)
"""``model_cfg``."""
_PREPROCESSING: Final = record(
    {
        "size": plain,
        "mode": one_of("RGB"),
        "mean": channels(number),
        "std": channels(between(1e-6, 1e6)),
        "interpolation": one_of("bicubic", "bilinear", "random", "nearest"),
        "resize_mode": one_of("shortest", "longest", "squash"),
        "fill_color": number,
    }
)


def checked(value: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """The whole configuration, with what a stranger may say of it.

    Raises:
        UnsafeWeightsError: it says more; the text names the key.
        WeightsUnavailableError: it asks for code of its own.
    """
    at, out = At(f"{CONFIG} of {whose}"), {}
    out["model_cfg"] = model_config(at.inside("model_cfg"), value.get("model_cfg"))
    if value.get("preprocess_cfg") is not None:
        out["preprocess_cfg"] = _PREPROCESSING(at.inside("preprocess_cfg"), value["preprocess_cfg"])
    return out


__all__ = ["CONFIG", "as_file", "checked", "model_config", "transformers_files"]
