"""Layers of open_clip models are what open_clip itself gives once its projection is taken out, for towers of several kinds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from modelgraft import Entry
from modelgraft.contract import Layered
from modelgraft.errors import UsageError
from modelgraft_open_clip import layers
from modelgraft_open_clip.backbone import OpenClipBackbone

from tests.open_clip.zoo import shrink

# model -> layers of images, of texts
MODELS = {
    "ViT-B-32": (("projected", "unprojected", "map"), ("projected", "unprojected")),
    "RN50": (("projected", "map"), ("projected", "unprojected")),
    "coca_ViT-B-32": (("projected", "unprojected", "map"), ("projected", "unprojected")),
    "ViT-B-16-SigLIP": (("projected", "map"), ("projected", "unprojected")),
    "EVA02-B-16": (("projected", "unprojected", "map"), ("projected", "unprojected")),
    "convnext_base": (("projected", "unprojected", "map"), ("projected", "unprojected")),
    "MobileCLIP2-S0": (("projected", "unprojected", "map"), ("projected", "unprojected")),
}
TOKENS = torch.tensor([[49406, 320, 1125, 49407, *[0] * 73], [49406, 2368, 49407, *[0] * 74]])


@pytest.fixture(autouse=True)
def _open_clip_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations of fewer layers end with the test: later ones serve and load whole models in this process."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))


def build(name: str, folder: Path) -> OpenClipBackbone:
    """The model with two layers a tower and random weights; the tokenizer is a table of two rows."""
    shrink(name, folder)
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None, pretrained_text=False, pretrained_image=False).eval()
    config = open_clip.get_model_config(name)
    length = config["text_cfg"].get("context_length", 77)
    vocabulary = config["text_cfg"].get("vocab_size", 49408)
    entry = Entry(f"open_clip/{name}", modality="image-text", tasks=("zero-shot", "features"))
    tokens = (TOKENS % vocabulary)[:, :length]
    return OpenClipBackbone(entry, model, None, lambda texts: tokens, int(config["embed_dim"]), torch.float32)


def first(found: Any) -> torch.Tensor:
    return found[0] if isinstance(found, tuple) else found


def bare(model: Any) -> Any:
    """A copy without projections, for open_clip's own forward."""
    model = copy.deepcopy(model)
    for owner, name in (
        (model.visual, "proj"),
        (model, "text_projection"),
        (getattr(model, "text", None), "text_projection"),
    ):
        if owner is not None and isinstance(getattr(owner, name, None), (torch.nn.Parameter, torch.nn.Linear)):
            setattr(owner, name, None)
    if hasattr(model.visual, "trunk"):
        if len(model.visual.head):
            model.visual.head = torch.nn.Sequential()
        else:
            model.visual.trunk.reset_classifier(0)
    return model


LARGE = ("convnext_base", "EVA02-B-16", "ViT-B-16-SigLIP")


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODELS]
)
def test_layers_are_open_clips_own(name: str, tmp_path: Path) -> None:
    backbone = build(name, tmp_path)
    assert isinstance(backbone, Layered)
    pictures, texts = MODELS[name]
    assert backbone.layers() == backbone.layers("image") == pictures and backbone.layers("text") == texts
    size = backbone.module.visual.image_size
    pixels = torch.randn(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    plain = bare(backbone.module)
    width = 0
    with torch.inference_mode():
        assert torch.equal(backbone.encode_layer(pixels, "projected"), backbone.encode_image(pixels))
        assert torch.equal(backbone.encode_layer(["a", "b"], "projected"), backbone.encode_text(["a", "b"]))
        if "unprojected" in pictures:
            found = backbone.encode_layer(pixels, "unprojected")
            torch.testing.assert_close(found, first(plain.visual(pixels)), rtol=1e-5, atol=1e-5)
            width = found.shape[1]
        if "unprojected" in texts:
            found = backbone.encode_layer(["a", "b"], "unprojected")
            tokens = backbone._tokenizer([])
            theirs = plain.encode_text(tokens, normalize=False)
            torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)
            assert (found[0] - found[1]).abs().max() > 1e-4
        places = backbone.encode_layer(pixels, "map")
        assert places.ndim == 4 and places.shape[0] == 2 and places.shape[2] == places.shape[3] > 1
        theirs = backbone.module.visual.forward_intermediates(pixels, normalize_intermediates="coca" not in name)
        assert torch.equal(places, theirs["image_intermediates"][-1])
        assert torch.isfinite(places).all()
    if name == "ViT-B-32":
        assert width == places.shape[1] == 768
        # The map of a vision transformer is its patch tokens after the last norm.
        plain.visual.output_tokens = True
        with torch.inference_mode():
            tokens = plain.visual.ln_post(plain.visual.transformer(plain.visual._embeds(pixels)))[:, 1:]
        torch.testing.assert_close(places.flatten(2).transpose(1, 2), tokens, rtol=1e-5, atol=1e-5)


def test_an_unknown_layer_says_which_there_are(tmp_path: Path) -> None:
    backbone = build("RN50", tmp_path)
    with pytest.raises(UsageError, match="no layer 'unprojected' there; there are: projected, map"):
        backbone.encode_layer(torch.zeros(1, 3, 224, 224), "unprojected")
    with pytest.raises(UsageError, match="no layer 'map' there; there are: projected, unprojected"):
        backbone.encode_layer(["a"], "map")


def test_a_hugging_face_text_tower(tmp_path: Path) -> None:
    from open_clip.hf_model import HFTextEncoder
    from transformers import RobertaConfig

    config = RobertaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=99
    )
    for proj in ("mlp", None):
        tower = HFTextEncoder(
            "roberta-base", 32 if proj is None else 16, config=config, proj_type=proj, pretrained=False
        ).eval()
        model = torch.nn.Module()
        model.text = tower
        assert layers.text_layers(model) == (("projected", "unprojected") if proj else ("projected",))
        tokens = torch.tensor([[0, 5, 6, 2, 1, 1], [0, 7, 8, 9, 10, 2]])
        with torch.inference_mode():
            found = layers.unprojected_text(model, tokens)
            torch.testing.assert_close(tower.proj(found), tower(tokens))
            mask = (tokens != 1).float()[..., None]
            states = tower.transformer(tokens, attention_mask=mask[..., 0]).last_hidden_state
            torch.testing.assert_close(found, (states * mask).sum(1) / mask.sum(1), rtol=1e-5, atol=1e-5)
