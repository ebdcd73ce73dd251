"""timm models as backbones that can be trained: blocks against gradients, embeddings against `encode_image`, changing weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from modelgraft import Entry
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.training import Trainable
from modelgraft_timm.backbone import TimmBackbone

# architecture -> settings that make it small, first, second and last block
SMALL: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "test_vit": ({}, ("stem", "blocks.0", "blocks.5")),
    "test_vit3": ({}, ("stem", "blocks.0", "final")),
    "vit_base_patch16_siglip_224": ({"embed_dim": 48, "depth": 2, "num_heads": 2}, ("stem", "blocks.0", "final")),
    "deit_tiny_distilled_patch16_224": ({"depth": 3}, ("stem", "blocks.0", "blocks.2")),
    "eva02_tiny_patch14_224": ({"depth": 2}, ("stem", "blocks.0", "blocks.1")),
    "vit_small_patch16_dinov3": ({"depth": 2}, ("stem", "blocks.0", "blocks.1")),
    "test_resnet": ({}, ("stem", "layer1.0", "layer4.0")),
    "test_convnext": ({}, ("stem", "stages.0", "stages.3.blocks.1")),
    "convnext_atto": ({"depths": (2, 2, 2, 2)}, ("stem", "stages.0.blocks.0", "stages.3.blocks.1")),
    "test_efficientnet": ({}, ("stem", "blocks.0.0", "final")),
    "mobilenetv3_small_050": ({}, ("stem", "blocks.0.0", "final")),
    "regnety_002": ({}, ("stem", "s1", "s4.b7")),
    "swin_tiny_patch4_window7_224": ({"depths": (2, 2, 2, 2)}, ("stem", "layers.0.blocks.0", "layers.3.blocks.1")),
    "mixer_s32_224": ({}, ("stem", "blocks.0", "blocks.7")),
    "levit_128s": ({}, ("stem", "stages.0.blocks.0", "stages.2.blocks.3")),
    "convit_tiny": ({"depth": 3, "local_up_to_layer": 2}, ("stem", "blocks.0", "blocks.2")),
    "densenet121": (
        {"block_config": (2, 2, 2, 2)},
        ("stem", "features.denseblock1.denselayer1", "features.denseblock4.denselayer2"),
    ),
    "efficientvit_m0": ({}, ("stem", "stages.0", "stages.2.blocks.2")),
    "efficientvim_m1": ({}, ("stem", "stages.0.blocks.0", "stages.2.blocks.1")),
}


def build(name: str, **settings: Any) -> TimmBackbone:
    torch.manual_seed(0)
    module: Any = timm.create_model(name, **settings).eval()
    loader = {"architecture": name, "pretrained_cfg": dict(module.pretrained_cfg), "model_args": settings}
    return TimmBackbone(Entry(f"timm/{name}", modality="image", tasks=("features",), loader=loader), module)


def pictures(backbone: Any) -> torch.Tensor:
    config: Any = backbone.module.pretrained_cfg
    return torch.randn(2, *config["input_size"], generator=torch.Generator().manual_seed(1))


def loss(embedded: torch.Tensor) -> torch.Tensor:
    """Of no symmetry: a sum of normalised features has no gradient."""
    return (embedded @ torch.randn(embedded.shape[1], 5, generator=torch.Generator().manual_seed(2))).square().sum()


def gradients(backbone: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    backbone.module.zero_grad(set_to_none=True)
    loss(backbone.embed(pixels)).backward()
    return {name: p.grad.clone() for name, p in backbone.module.named_parameters() if p.grad is not None}


@pytest.mark.full
@pytest.mark.parametrize("name", SMALL)
def test_blocks_hold_what_the_embedding_depends_on_and_no_more(name: str) -> None:
    settings, (first, second, last) = SMALL[name]
    backbone = build(name, **settings)
    assert isinstance(backbone, Trainable)
    backbone.module.requires_grad_(True)
    pixels = pictures(backbone)
    blocks = backbone.blocks()
    assert blocks == backbone.blocks("image")
    in_blocks = [parameter for block in blocks for parameter in block.parameters]
    assert len(set(in_blocks)) == len(in_blocks)
    encoded = backbone.encode_image(pixels)  # before: what it leaves behind must not hold gradients back
    embedded = backbone.embed(pixels)
    assert torch.equal(embedded, encoded) and embedded.dtype == torch.float32 and embedded.requires_grad
    assert set(gradients(backbone, pixels)) == set(in_blocks)
    names = [block.name for block in blocks]
    assert len(set(names)) == len(names)
    assert (names[0], names[1], names[-1]) == (first, second, last)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_blocks_are_in_the_order_they_are_run_in(name: str) -> None:
    """Were a block's output cut off, those before it alone would be without gradients: found by the order of the calls."""
    backbone = build(name, **SMALL[name][0])
    called: list[str] = []
    for place, inner in backbone.module.named_modules():
        if next(inner.parameters(recurse=False), None) is not None:
            inner.register_forward_hook(lambda *_, place=place: called.append(place))
    backbone.embed(pictures(backbone))
    owner = {p.rpartition(".")[0]: n for n, block in enumerate(backbone.blocks()) for p in block.parameters}
    order = [owner[place] for place in called if place in owner]
    assert order == sorted(order)


def test_the_stage_brings_its_downsampling_into_its_first_block() -> None:
    backbone = build("convnext_atto", depths=(2, 2, 2, 2))
    blocks = {block.name: block.parameters for block in backbone.blocks()}
    assert "stages.1.downsample.0.weight" in blocks["stages.1.blocks.0"]
    assert "head.norm.weight" in blocks["stages.3.blocks.1"]  # alone it would make last-1 train a norm


def test_a_model_without_a_grouping_of_timms_goes_by_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build("test_resnet")
    with_it = {p for block in backbone.blocks() for p in block.parameters}
    monkeypatch.setattr(type(backbone.module), "group_matcher", lambda self, coarse=False: {"stem": "("})
    names = [block.name for block in backbone.blocks()]
    assert names[-4:] == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert {p for block in backbone.blocks() for p in block.parameters} == with_it


def test_it_stays_in_its_mode_and_runs_under_autocast() -> None:
    backbone = build("test_resnet")
    pixels = pictures(backbone)
    backbone.module.train()
    before = backbone.module.get_buffer("bn1.running_mean").clone()
    assert not torch.equal(backbone.embed(pixels), backbone.embed(pixels[:1]).expand(2, -1))
    assert backbone.module.training and not torch.equal(backbone.module.get_buffer("bn1.running_mean"), before)
    backbone.module.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = backbone.embed(pixels)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, backbone.embed(pixels), rtol=0.1, atol=0.1)
    loss(embedded).backward()
    assert backbone.module.get_parameter("conv1.0.weight").grad is not None


def test_recomputed_activations_give_the_same_gradients() -> None:
    backbone = build("test_vit")
    backbone.module.train()
    pixels = pictures(backbone)
    kept = gradients(backbone, pixels)
    calls: list[int] = []
    backbone.module.get_submodule("blocks.0").register_forward_pre_hook(lambda *_: calls.append(1))
    assert backbone.recompute(True)
    recomputed = gradients(backbone, pixels)
    assert len(calls) == 2  # once more in the backward pass
    assert kept.keys() == recomputed.keys()
    for name, value in kept.items():
        torch.testing.assert_close(recomputed[name], value, rtol=1e-6, atol=1e-6)
    assert backbone.recompute(False)
    gradients(backbone, pixels)
    assert len(calls) == 3


def test_an_architecture_that_cannot_recompute_says_so() -> None:
    backbone = build("convit_tiny", depth=3, local_up_to_layer=2)
    assert not backbone.recompute(True)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_weights_drawn_anew_are_timms_own_beginning(name: str) -> None:
    backbone = build(name)
    module = backbone.module
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            value.copy_(value * 3 + 1)
    held = dict(module.named_parameters())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backbone.randomise(7)
    assert torch.equal(torch.get_rng_state(), state) and backbone.module is module
    assert all(held[n] is p for n, p in module.named_parameters())
    torch.manual_seed(7)
    fresh = timm.create_model(name)
    theirs = fresh.state_dict()
    assert all(torch.equal(value, theirs[n]) for n, value in module.state_dict().items())
    backbone.randomise(8)
    assert any(not torch.equal(value, theirs[n]) for n, value in module.state_dict().items())


def test_a_model_that_timm_builds_differently_is_not_drawn_anew() -> None:
    backbone = build("test_vit", depth=2)
    backbone.entry = Entry("timm/test_vit", modality="image", tasks=("features",), loader={})
    backbone.module.blocks.append(copy.deepcopy(backbone.module.blocks[0]))  # type: ignore[operator, union-attr, index]
    for _ in range(6):
        backbone.module.blocks.append(copy.deepcopy(backbone.module.blocks[0]))  # type: ignore[operator, union-attr, index]
    with pytest.raises(ModelgraftError, match=r"timm/test_vit: its weight blocks\.\d+\..* cannot be drawn anew"):
        backbone.randomise(0)


def test_nothing_computed_from_old_weights_is_used_after_a_step() -> None:
    """LeViT keeps its attention biases between calls in eval mode; timm forgets them when train mode is entered, and only then."""
    backbone = build("levit_128s")
    pixels = pictures(backbone)
    before = backbone.encode_image(pixels)
    gradients(backbone, pixels)
    gradients(backbone, pixels)  # a second backward pass: nothing of the first one's graph is left
    biases = [p for n, p in backbone.module.named_parameters() if n.endswith("attention_biases")]
    assert biases and all(p.grad is not None for p in biases)
    with torch.no_grad():
        for bias in biases:
            bias.add_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(3)))
    other = copy.deepcopy(backbone)
    other.module.train()
    other.module.eval()
    assert torch.equal(backbone.encode_image(pixels), other.encode_image(pixels))
    assert not torch.equal(backbone.encode_image(pixels), before)


@pytest.mark.parametrize("name", ["test_vit", "levit_128s", "convit_tiny", "vit_small_patch16_dinov3"])
def test_a_copy_is_another_model(name: str) -> None:
    backbone = build(name, **SMALL[name][0])
    pixels = pictures(backbone)
    before = backbone.encode_image(pixels)
    gradients(backbone, pixels)
    other = copy.deepcopy(backbone)
    assert torch.equal(other.encode_image(pixels), before)
    with torch.no_grad():
        next(iter(other.module.parameters())).add_(1)
    assert torch.equal(backbone.encode_image(pixels), before)
    assert gradients(other, pixels).keys() == gradients(backbone, pixels).keys()


def test_texts_are_refused() -> None:
    backbone = build("test_resnet")
    for ask in (
        lambda: backbone.blocks("text"),
        lambda: backbone.token_batch(["a"]),
        lambda: backbone.embed({"tokens": torch.zeros(1, 2)}),
    ):
        with pytest.raises(UsageError, match=r"timm/test_resnet (has no text tower|reads images)"):
            ask()
