"""Layers of timm models are timm's own outputs, for architectures of several families with random weights."""

from __future__ import annotations

from typing import Any

import modelgraft.errors
import pytest
import timm
import torch
from modelgraft import Entry
from modelgraft.contract import Layered
from modelgraft_timm.backbone import TimmBackbone

# architecture -> layers beside `pooled`, and the size of the map
MODELS = {
    "test_vit": ({"cls", "mean", "map", "logits"}, (10, 10)),
    "test_vit3": ({"mean", "map", "logits"}, (10, 10)),
    "test_resnet": ({"mean", "map", "logits"}, (5, 5)),
    "test_convnext": ({"mean", "map", "logits"}, (5, 5)),
    "test_efficientnet": ({"mean", "map", "logits"}, (5, 5)),
    "mobilenetv2_035": ({"mean", "map", "logits"}, (7, 7)),
    "deit_tiny_distilled_patch16_224": ({"cls", "mean", "map", "logits"}, (14, 14)),
    "vit_tiny_r_s16_p8_224": ({"cls", "mean", "map", "logits"}, (7, 7)),
    "swin_s3_tiny_224": ({"mean", "map", "logits"}, (7, 7)),
    "mixer_s32_224": ({"mean", "map", "logits"}, (7, 7)),
    "levit_128s": ({"mean", "map", "logits"}, (4, 4)),
}


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_layers_are_timms_own_outputs(name: str) -> None:
    torch.manual_seed(0)
    module: Any = timm.create_model(name).eval()
    backbone = TimmBackbone(Entry(f"timm/{name}", modality="image", tasks=("features",)), module)
    assert isinstance(backbone, Layered)
    names, grid = MODELS[name]
    assert backbone.layers()[0] == "pooled" and set(backbone.layers()) == {"pooled"} | names
    pixels = torch.randn(2, *module.pretrained_cfg["input_size"])
    found = {layer: backbone.encode_layer(pixels, layer) for layer in backbone.layers()}
    assert all(rows.dtype == torch.float32 and rows.shape[0] == 2 for rows in found.values())
    with torch.inference_mode():
        theirs = module.forward_features(pixels)
        assert torch.equal(found["pooled"], backbone.encode_image(pixels))
        assert torch.equal(found["logits"], module(pixels))
    assert found["map"].shape == (2, module.num_features, *grid)
    if theirs.ndim == 3:
        patches = theirs[:, theirs.shape[1] - grid[0] * grid[1] :]
        assert torch.equal(found["map"].flatten(2).transpose(1, 2), patches)
        if "cls" in found:
            assert torch.equal(found["cls"], theirs[:, 0])
    else:
        assert torch.equal(found["map"], theirs if theirs.shape[1] == module.num_features else theirs.movedim(3, 1))
    torch.testing.assert_close(found["mean"], found["map"].mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_a_class_token_model_pools_by_it_and_a_network_by_its_mean() -> None:
    for name, layer in (("deit_tiny_patch16_224", "cls"), ("test_resnet", "mean")):
        module: Any = timm.create_model(name).eval()
        backbone = TimmBackbone(Entry(f"timm/{name}", modality="image", tasks=("features",)), module)
        pixels = torch.randn(1, *module.pretrained_cfg["input_size"])
        torch.testing.assert_close(backbone.encode_layer(pixels, layer), backbone.encode_image(pixels))


def test_an_unknown_layer_says_which_there_are() -> None:
    backbone = TimmBackbone(
        Entry("timm/test_resnet", modality="image", tasks=("features",)), timm.create_model("test_resnet")
    )
    with pytest.raises(modelgraft.errors.UsageError, match="no layer 'cls'; there are: pooled, mean, map, logits"):
        backbone.encode_layer(torch.zeros(1, 3, 160, 160), "cls")
