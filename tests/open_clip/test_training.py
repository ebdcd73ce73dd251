"""open_clip models as backbones that can be trained: blocks of both towers against gradients, embeddings against `encode_image` and
`encode_text`, and what changes weights. Random weights, two layers a tower."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from modelgraft import Entry
from modelgraft.errors import ModelgraftError
from modelgraft.training import Trainable
from modelgraft_open_clip.backbone import OpenClipBackbone
from open_clip.hf_model import HFTextEncoder

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
TEXT = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
DECODER = {**TEXT, "layers": 2}
CONVNEXT = {"timm_model_name": "test_convnext", "image_size": 160, "timm_pool": "", "timm_proj": "linear"}
SIGLIP = {"timm_model_name": "test_vit3", "image_size": 160, "timm_pool": "map", "timm_proj": "none"}
PROJECTED = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "token", "timm_proj": None}

RES, TRUNK = "transformer.resblocks.1", "trunk.blocks.5"
# configuration as open_clip writes it, its last image blocks, its last text blocks
MODELS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "clip": ({"vision_cfg": VISION, "text_cfg": TEXT}, [RES, "final"], [RES, "final"]),
    "clip, own text": ({"vision_cfg": VISION, "text_cfg": TEXT, "custom_text": True}, [RES, "final"], [RES, "final"]),
    "resnet": (
        {"vision_cfg": {**VISION, "layers": [1, 2, 1, 1]}, "text_cfg": TEXT},
        ["layer4.0", "final"],
        [RES, "final"],
    ),
    "siglip": (
        {
            "embed_dim": 96,
            "vision_cfg": SIGLIP,
            "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True},
            "init_logit_bias": -10,
        },
        ["trunk.blocks.8", "final"],
        [RES, "final"],
    ),
    "convnext": ({"vision_cfg": CONVNEXT, "text_cfg": TEXT}, ["trunk.stages.3.blocks.1", "final"], [RES, "final"]),
    "projected by the trunk": ({"vision_cfg": PROJECTED, "text_cfg": TEXT}, [TRUNK, "final"], [RES, "final"]),
    "coca": (
        {
            "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": DECODER,
            "custom_text": True,
        },
        [RES, "final"],
        [RES, "final"],
    ),
    "roberta": (
        {"vision_cfg": VISION, "text_cfg": {"hf_model_name": "roberta", "hf_proj_type": "mlp"}},
        [RES, "final"],
        ["transformer.encoder.layer.1", "final"],
    ),
    "m2m": (
        {"vision_cfg": VISION, "text_cfg": {"hf_model_name": "m2m", "hf_proj_type": "linear"}},
        [RES, "final"],
        ["transformer.layers.1", "final"],
    ),
}
HUGGING_FACE: dict[str, dict[str, Any]] = {
    "roberta": {
        "model_type": "roberta", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 20, "pad_token_id": 1, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "m2m": {
        "model_type": "m2m_100", "is_encoder_decoder": True, "vocab_size": 64, "d_model": 32, "encoder_layers": 2,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 1, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 64, "max_position_embeddings": 20, "pad_token_id": 1, "dropout": 0.0, "attention_dropout": 0.0,
        "activation_dropout": 0.0, "encoder_layerdrop": 0.0,
    },
}  # fmt: skip


def tokenise(texts: list[str]) -> torch.Tensor:
    """As long as the context: start, letters, an end that is the greatest number; padding."""
    ids = torch.full((len(texts), 12), 1)
    for row, text in zip(ids, texts, strict=True):
        marked = [2, *(3 + ord(letter) % 50 for letter in text[:10]), 63]
        row[: len(marked)] = torch.tensor(marked)
    return ids


def build(name: str, folder: Path) -> OpenClipBackbone:
    config: dict[str, Any] = {"embed_dim": 24, **copy.deepcopy(MODELS[name][0])}
    if tower := config["text_cfg"].get("hf_model_name"):
        (folder / "config.json").write_text(json.dumps(HUGGING_FACE[tower]), encoding="utf-8")
        config["text_cfg"] |= {"hf_model_name": str(folder)}
    entry = Entry(
        "open_clip/x",
        modality="image-text",
        tasks=("zero-shot", "features"),
        loader={"model_cfg": copy.deepcopy(config)},
    )
    if tower:
        config["text_cfg"]["hf_model_pretrained"] = False
    own_text = config.pop("custom_text", False) or bool(tower)
    kind: Any = open_clip.CLIP if not own_text else open_clip.CustomTextCLIP
    if "multimodal_cfg" in config:
        kind = open_clip.CoCa
    torch.manual_seed(0)
    return OpenClipBackbone(entry, kind(**config).eval(), None, tokenise, config["embed_dim"], torch.float32)


TEXTS = ["a cat", "two dogs!", "x"]


def inputs(backbone: OpenClipBackbone, modality: Any) -> Any:
    if modality == "text":
        return backbone.token_batch(TEXTS)
    size: Any = backbone.module.visual.image_size  # type: ignore[union-attr]
    size = size if isinstance(size, tuple) else (size, size)
    return torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))


def encoded(backbone: OpenClipBackbone, modality: Any) -> torch.Tensor:
    return backbone.encode_text(TEXTS) if modality == "text" else backbone.encode_image(inputs(backbone, "image"))


def gradients(backbone: OpenClipBackbone, modality: Any) -> dict[str, torch.Tensor]:
    backbone.module.zero_grad(set_to_none=True)
    embedded = backbone.embed(inputs(backbone, modality))
    (embedded @ torch.randn(embedded.shape[1], 5, generator=torch.Generator().manual_seed(2))).square().sum().backward()
    return {name: p.grad.clone() for name, p in backbone.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("name", MODELS)
def test_blocks_hold_what_the_embedding_depends_on_and_no_more(name: str, modality: Any, tmp_path: Path) -> None:
    backbone = build(name, tmp_path)
    assert isinstance(backbone, Trainable)
    backbone.module.requires_grad_(True)
    blocks = backbone.blocks(modality)
    in_blocks = [parameter for block in blocks for parameter in block.parameters]
    assert len(set(in_blocks)) == len(in_blocks)
    before = encoded(backbone, modality)
    embedded = backbone.embed(inputs(backbone, modality))
    # not to the last bit: torch has a fused attention for when there is no gradient
    torch.testing.assert_close(embedded, before, rtol=1e-6, atol=1e-6)
    assert embedded.dtype == torch.float32 and embedded.requires_grad
    assert set(gradients(backbone, modality)) == set(in_blocks)
    names = [block.name for block in blocks]
    assert len(set(names)) == len(names) and names[0] == "stem"
    assert names[-2:] == MODELS[name][2 if modality == "text" else 1]


def test_the_picture_tower_is_the_one_that_is_not_named(tmp_path: Path) -> None:
    backbone = build("clip", tmp_path)
    assert backbone.blocks() == backbone.blocks("image") != backbone.blocks("text")
    blocks = {block.name: block.parameters for block in backbone.blocks()}
    assert {"visual.conv1.weight", "visual.class_embedding", "visual.ln_pre.weight"} <= set(blocks["stem"])
    assert set(blocks["final"]) == {"visual.ln_post.weight", "visual.ln_post.bias", "visual.proj"}
    resnet = build("resnet", tmp_path).blocks()
    assert [b.name for b in resnet] == ["stem", "layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer4.0", "final"]


def test_tokens_are_whole_rows_on_the_cpu(tmp_path: Path) -> None:
    backbone = build("clip", tmp_path)
    batch = backbone.token_batch(TEXTS)
    assert set(batch) == {"tokens"} and batch["tokens"].shape == (3, 12) and batch["tokens"].dtype == torch.int64
    part = {name: rows[1:2] for name, rows in batch.items()}
    torch.testing.assert_close(backbone.embed(part), backbone.encode_text(TEXTS)[1:2], rtol=1e-6, atol=1e-6)


def test_it_stays_in_its_mode_and_runs_under_autocast(tmp_path: Path) -> None:
    backbone = build("resnet", tmp_path)
    backbone.module.train()
    before = backbone.module.get_buffer("visual.bn1.running_mean").clone()
    backbone.embed(inputs(backbone, "image"))
    assert backbone.module.training and not torch.equal(backbone.module.get_buffer("visual.bn1.running_mean"), before)
    for name in ("clip", "convnext", "roberta"):
        backbone = build(name, tmp_path)
        for modality in ("image", "text"):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                embedded = backbone.embed(inputs(backbone, modality))
            assert embedded.dtype == torch.float32
            torch.testing.assert_close(embedded, encoded(backbone, modality), rtol=0.1, atol=0.1)
            embedded.sum().backward()


@pytest.mark.parametrize(
    ("name", "modality"),
    [("clip", "image"), ("clip", "text"), ("siglip", "image"), ("roberta", "text"), ("m2m", "text")],
)
def test_recomputed_activations_give_the_same_gradients(name: str, modality: Any, tmp_path: Path) -> None:
    backbone = build(name, tmp_path)
    backbone.module.train()
    kept = gradients(backbone, modality)
    first = next(m for n, m in backbone.module.named_modules() if n == _first_layer(backbone, modality))
    calls: list[int] = []
    # a part of the layer: transformers recomputes a layer's forward without its hooks
    next(first.children()).register_forward_pre_hook(lambda *_: calls.append(1))
    assert backbone.recompute(True)
    recomputed = gradients(backbone, modality)
    assert len(calls) == 2  # once more in the backward pass
    assert kept.keys() == recomputed.keys()
    for key, value in kept.items():
        torch.testing.assert_close(recomputed[key], value, rtol=1e-6, atol=1e-6)
    assert backbone.recompute(False)
    gradients(backbone, modality)
    assert len(calls) == 3


def _first_layer(backbone: OpenClipBackbone, modality: Any) -> str:
    block = backbone.blocks(modality)[1]
    return block.parameters[0].partition(block.name)[0] + block.name


def test_recomputing_asks_for_no_gradient_of_frozen_layers(tmp_path: Path) -> None:
    backbone = build("roberta", tmp_path)
    backbone.module.train()
    assert backbone.recompute(True)
    backbone.module.requires_grad_(False)
    assert not backbone.embed(inputs(backbone, "text")).requires_grad


def test_a_tower_that_cannot_recompute_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    backbone = build("resnet", tmp_path)
    assert not backbone.recompute(True)
    assert not any(getattr(inner, "grad_checkpointing", False) for inner in backbone.module.modules())


@pytest.mark.parametrize("name", MODELS)
def test_weights_drawn_anew_depend_on_the_seed_alone(name: str, tmp_path: Path) -> None:
    backbone, other = build(name, tmp_path), build(name, tmp_path)
    module = backbone.module
    held = dict(module.named_parameters())
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.copy_(value * 3 + 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backbone.randomise(7)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(held[n] is p for n, p in module.named_parameters())
    other.randomise(7)
    theirs = other.module.state_dict()
    assert all(torch.equal(value, theirs[n]) for n, value in module.state_dict().items())
    other.randomise(8)
    theirs = other.module.state_dict()
    same = [n for n, p in module.named_parameters() if p.ndim > 1 and torch.equal(p, theirs[n])]
    assert not same
    assert torch.isfinite(encoded(backbone, "image")).all() and torch.isfinite(encoded(backbone, "text")).all()


@pytest.mark.parametrize("name", ["clip", "resnet", "siglip", "coca"])
def test_weights_drawn_anew_are_open_clips_own_beginning(name: str, tmp_path: Path) -> None:
    backbone = build(name, tmp_path)
    begun = {n: value.clone() for n, value in backbone.module.state_dict().items()}
    with torch.no_grad():
        for value in (*backbone.module.parameters(), *backbone.module.buffers()):
            value.copy_(value * 3 + 1)
    backbone.randomise(0)  # the seed that `build` builds with
    begun.pop("text_decoder.text_projection", None)  # open_clip does not set it
    now = backbone.module.state_dict()
    assert all(torch.equal(now[key], value) for key, value in begun.items())


def test_another_configuration_is_not_drawn_anew(tmp_path: Path) -> None:
    backbone = build("clip", tmp_path)
    backbone.entry = build("convnext", tmp_path).entry
    with pytest.raises(
        ModelgraftError, match=r"its weight visual\.\S+ is not in what open_clip .* cannot be drawn anew"
    ):
        backbone.randomise(0)
    backbone.entry = Entry("open_clip/x", modality="image-text", tasks=("features",), loader={"model": "no such model"})
    with pytest.raises(ModelgraftError, match="no configuration of it"):
        backbone.randomise(0)


@pytest.mark.parametrize("name", ["clip", "siglip", "roberta", "coca"])
def test_a_copy_is_another_model(name: str, tmp_path: Path) -> None:
    backbone = build(name, tmp_path)
    before = encoded(backbone, "image"), encoded(backbone, "text")
    gradients(backbone, "image")
    backbone.recompute(True)
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for value in other.module.parameters():
            value.mul_(2)
    assert torch.equal(encoded(backbone, "image"), before[0]) and torch.equal(encoded(backbone, "text"), before[1])
    assert not torch.equal(encoded(other, "image"), before[0])
    assert isinstance(getattr(other.module, "text", None), HFTextEncoder) == (name == "roberta")
    gradients(other, "text")
