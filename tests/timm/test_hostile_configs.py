"""``config.json`` of a model that somebody saved with timm: sizes and switches, and nothing that names code or a place."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import modelgraft
import pytest
import timm
import torch
from modelgraft.errors import ModelgraftError, UnsafeWeightsError
from modelgraft.strangers import At
from modelgraft_timm import weights
from modelgraft_timm.pushed import entry_of, model_args, pretrained_config
from modelgraft_timm.weights import _check_size
from timm.models._hub import save_for_hf
from timm.models._pretrained import PretrainedCfg

AT = At("config.json of x")
PLACES = (
    "hf-hub:evil/repo",
    "local-dir:/tmp/evil",
    "evil/repo",
    "/tmp/evil",
    "https://127.0.0.1:9/x",
    "evil.Code",
    "../evil",
)
HOSTILE: tuple[Any, ...] = (*PLACES, {"url": PLACES[0]}, [PLACES[2]], [{"file": PLACES[3]}], 10**12)
LOADERS = (
    *inspect.signature(timm.create_model).parameters, *inspect.signature(timm.models.build_model_with_cfg).parameters,
    "act_layer", "norm_layer", "global_pool", "block_fn", "features_only", "feature_cls", "pruned", "img_size", "mlp_layer",
    "device",
)  # fmt: skip


def survivors(value: Any) -> list[str]:
    text = json.dumps(value)
    return [place for place in PLACES if place in text]


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_key_takes_a_place(value: Any) -> None:
    for rule, keys in ((pretrained_config, [f.name for f in fields(PretrainedCfg)]), (model_args, LOADERS)):
        for key in keys:
            try:
                found = rule(AT, {key: value})
            except UnsafeWeightsError as error:
                assert key in str(error) and "\n" not in str(error)
                continue
            # A layer's name is looked for inside the model alone.
            assert not survivors(found) or key in ("first_conv", "classifier"), (key, value)
            assert value != 10**12 or key not in found, key


@pytest.mark.parametrize("place", PLACES)
def test_an_architecture_is_no_place(place: str) -> None:
    with pytest.raises(UnsafeWeightsError, match="architecture"):
        entry_of("hub:evil/x", {"architecture": place, "pretrained_cfg": {}})


@pytest.mark.parametrize(
    "key", ["pretrained", "checkpoint_path", "cache_dir", "features_only", "feature_cls", "pruned"]
)
def test_loaders_take_no_argument_from_a_stranger(key: str) -> None:
    with pytest.raises(UnsafeWeightsError, match=f"model_args.{key}"):
        entry_of("hub:evil/x", {"architecture": "test_vit", "model_args": {key: True}})


def test_what_timm_itself_states_passes_unchanged() -> None:
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        assert config is not None
        stated = json.loads(json.dumps(config.to_dict(remove_source=True, remove_null=True)))
        found = pretrained_config(AT, stated)
        assert found.items() <= stated.items()
        assert found.keys() >= {"input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode", "num_classes"}


def test_a_model_of_terabytes_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small weights, and arguments that would take all memory there is."""
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_args": {"embed_dim": 1 << 17, "num_heads": 1}}))
    with pytest.raises(UnsafeWeightsError, match=r"describes test_vit with [\d,]+ numbers"):
        modelgraft.load(f"file:{tmp_path}", device="cpu")
    # Taken out, timm goes on to build it (a smaller one here).
    built: list[str] = []
    monkeypatch.setattr(weights, "_check_size", lambda *given: None)
    monkeypatch.setattr(timm, "create_model", lambda name, **how: built.append(name) or torch.nn.Linear(1, 1))
    with pytest.raises((ModelgraftError, AttributeError)):
        modelgraft.load(f"file:{tmp_path}", device="cpu")
    assert built == ["test_vit"]
    assert _check_size is not weights._check_size
