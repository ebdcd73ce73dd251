"""Layers of the embedded model: each is what the next one is made of."""

from __future__ import annotations

import pytest
import torch
from modelgraft import load
from modelgraft.contract import Layered
from modelgraft.errors import UsageError
from modelgraft_embedded.backbone import EmbeddedBackbone


def test_each_layer_is_what_the_next_is_made_of() -> None:
    backbone = load("embedded/sprig", device="cpu")
    assert isinstance(backbone, EmbeddedBackbone) and isinstance(backbone, Layered)
    assert backbone.layers() == ("projected", "unprojected", "map") and backbone.layers("text") == ("projected",)
    pixels = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        found = {layer: backbone.encode_layer(pixels, layer) for layer in backbone.layers()}
        assert found["map"].shape == (3, 256, 4, 4)
        torch.testing.assert_close(found["map"].mean((2, 3)), found["unprojected"])
        torch.testing.assert_close(backbone.module.image.project(found["unprojected"]), found["projected"])
        assert torch.equal(found["projected"], backbone.encode_image(pixels))
        assert torch.equal(backbone.encode_layer(["a cat"], "projected"), backbone.encode_text(["a cat"]))
    with pytest.raises(UsageError, match="no layer 'map' there; there are: projected"):
        backbone.encode_layer(["a cat"], "map")
