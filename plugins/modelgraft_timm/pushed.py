"""Models that people saved with timm (``push_to_hf_hub``, ``save_for_hf``): one ``config.json`` beside the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from modelgraft.entry import Entry
from modelgraft.errors import UsageError
from modelgraft.strangers import At
from modelgraft.strangers.rules import Rule, all_of, between, channels, flag, number, one_of, record, word

from modelgraft_timm.names import PROVIDER

_ARCHITECTURE: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,99}", re.A)
_SIZE: Final = all_of(between(1, 1 << 16))
_CROP: Final = between(0.05, 20)
_NOTED: Final = (
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "custom_load", "license",
    "description", "origin_url", "paper_name", "paper_ids", "paper", "notes", "label_names", "label_descriptions", "hf_hub",
)  # fmt: skip
"""Where timm once had the weights from, and what people should know: left out, the weights are the file beside it."""
pretrained_config: Rule = record(
    {
        **dict.fromkeys(_NOTED),
        **dict.fromkeys(("input_size", "test_input_size", "min_input_size", "pool_size", "test_pool_size"), _SIZE),
        "fixed_input_size": flag,
        "interpolation": one_of("bicubic", "bilinear", "nearest", "lanczos", "hamming", "box", "random"),
        "crop_pct": _CROP,
        "test_crop_pct": _CROP,
        "crop_mode": one_of("center", "squash", "border"),
        "mean": channels(number),
        "std": channels(between(1e-6, 1e6)),
        "num_classes": number,
        "label_offset": number,
        "first_conv": lambda at, value: _inside(at, value),
        "classifier": lambda at, value: _inside(at, value),
        "num_features": number,
        "global_pool": word,
        "model_args": None,
        "pretrained_cfg": None,
    }
)
"""``pretrained_cfg``: how images are prepared and which layers are first and last."""


def _inside(at: At, value: Any) -> Any:
    """Pass names of layers inside the model, which are only ever looked for there."""
    if isinstance(value, list):
        return all_of(_inside)(at, value)
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.]{0,200}", value, re.A)):
        at.refuse(f"{value!r:.100} is no layer of a model")
    return value


def _layer(at: At, value: Any) -> Any:
    """Pass a name in timm's own tables of layers."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[a-z0-9_]{0,40}", value, re.A)):
        at.refuse(f"{value!r:.100} is no layer of timm's")
    return value


def _argument(at: At, value: Any) -> Any:
    """Pass a flag, a number or a list of them: none of these names anything."""
    if isinstance(value, list):
        return all_of(_argument)(at, value)
    return number(at, value)


_DOORS: Final = (
    "pretrained", "checkpoint_path", "cache_dir", "features_only", "feature_cls", "out_indices", "pruned", "scriptable",
    "exportable", "no_jit", "kwargs_filter", "pretrained_strict", "pretrained_filter_fn", "pretrained_cfg", "pretrained_model_args",
    "pretrained_cfg_overlay", "model_cfg", "cfg", "device", "dtype", "state_dict", "url", "file",
)  # fmt: skip


def _door(at: At, value: Any) -> Any:
    at.refuse("is an argument of timm's loader, and not of a model")


model_args: Rule = record(
    {
        **dict.fromkeys(_DOORS, _door),
        **dict.fromkeys(
            (
                "act_layer", "norm_layer", "norm_act_layer", "embed_norm_layer", "final_norm_layer", "conv_layer", "aa_layer",
                "attn_layer", "mlp_layer", "global_pool", "pool_type", "weight_init", "output_fmt", "stem_type", "rope_type",
                "pos_embed", "fc_norm", "class_token",
            ),
            lambda at, value: _argument(at, value) if not isinstance(value, str) else _layer(at, value),
        ),
    },
    rest=_argument,
)  # fmt: skip
"""``model_args``: arguments of an architecture's own."""


def entry_of(name: str, config: Any) -> Entry | None:
    """The entry of a saved model, None if ``config`` is not timm's. Imports no timm.

    Args:
        name: of the place (``hub:user/repo``, ``file:path``).
        config: the parsed ``config.json``.

    Raises:
        UnsafeWeightsError: it says more than a stranger may say; the text names the key.
        UsageError: it is a model of images with another number of channels than three.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("architecture"), str):
        return None
    at = At(f"config.json of {name}")
    if not _ARCHITECTURE.fullmatch(config["architecture"]):
        at.inside("architecture").refuse(f"{config['architecture']!r:.100} is no architecture of timm's")
    # Before timm 0.9 the pretrained config lay at the top.
    stated = config.get("pretrained_cfg", config)
    if not isinstance(stated, Mapping):
        return None
    at_stated = at.inside("pretrained_cfg") if "pretrained_cfg" in config else at
    cleaned = pretrained_config(at_stated, dict(stated))
    arguments = model_args(at.inside("model_args"), dict(config.get("model_args") or {}))
    classes = config.get("num_classes", cleaned.get("num_classes"))
    pretrained = {**cleaned, "num_classes": classes} if type(classes) is int else cleaned
    size = pretrained.get("input_size")
    is_size = isinstance(size, list) and len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size)
    _check_channels(name, arguments.get("in_chans"), size[0] if isinstance(size, list) and size else None)
    width = config.get("num_features")
    return Entry(
        name=f"{PROVIDER}/{name}",
        modality="image",
        tasks=("features", "classification") if classes else ("features",),
        embed_dim=width if isinstance(width, int) and width > 0 else None,
        input_size=tuple(size) if is_size else None,  # type: ignore[arg-type]
        licence=stated.get("license") if isinstance(stated.get("license"), str) else None,
        loader={
            "architecture": config["architecture"],
            "pretrained_cfg": pretrained,
            "model_args": arguments,
        },
    )


def _check_channels(name: str, *stated: Any) -> None:
    """See that images can be given to a model: they are read as RGB."""
    for count in stated:
        if type(count) is int and count != 3:
            raise UsageError(
                f"{name} reads images of {count} channel{'s' if count > 1 else ''}, and images are given to models as "
                "RGB, in 3; take a model of 3 channels"
            )
