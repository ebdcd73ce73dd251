"""The embedded model as a backbone that can be trained: both towers' blocks against gradients, tokens against its word vectors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from modelgraft import load
from modelgraft.training import Trainable
from modelgraft_embedded.backbone import EmbeddedBackbone
from modelgraft_embedded.model import DualEncoder

TEXTS = ["a photo of a cat", "xylophones", "", "a zebra quagga 東京タワー beside the sea"]


@pytest.fixture
def backbone() -> EmbeddedBackbone:
    found = load("embedded/sprig", device="cpu")
    assert isinstance(found, EmbeddedBackbone)
    return found


def inputs(backbone: EmbeddedBackbone, modality: str) -> Any:
    if modality == "text":
        return backbone.token_batch(TEXTS)
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def gradients(backbone: EmbeddedBackbone, modality: str) -> dict[str, torch.Tensor]:
    backbone.module.zero_grad(set_to_none=True)
    embedded = backbone.embed(inputs(backbone, modality))
    (embedded @ torch.randn(256, 5, generator=torch.Generator().manual_seed(2))).square().sum().backward()
    return {name: p.grad for name, p in backbone.module.named_parameters() if p.grad is not None}


NAMES = {
    "image": ["stem", "stages.2", "stages.5", "stages.8", "final"],
    "text": ["stem", "layer", "final"],
}


@pytest.mark.parametrize("modality", ["image", "text"])
def test_blocks_hold_what_the_embedding_depends_on_and_no_more(backbone: EmbeddedBackbone, modality: Any) -> None:
    assert isinstance(backbone, Trainable)
    assert not backbone.embed(inputs(backbone, modality)).requires_grad  # it is loaded frozen
    backbone.module.requires_grad_(True)
    blocks = backbone.blocks(modality)
    assert [block.name for block in blocks] == NAMES[modality]
    in_blocks = [parameter for block in blocks for parameter in block.parameters]
    assert len(set(in_blocks)) == len(in_blocks)
    assert set(gradients(backbone, modality)) == set(in_blocks)
    assert backbone.blocks() == backbone.blocks("image")


def test_embeddings_are_those_of_the_encoders_to_the_last_bit(backbone: EmbeddedBackbone) -> None:
    backbone.module.requires_grad_(True)
    pixels = inputs(backbone, "image")
    assert torch.equal(backbone.embed(pixels), backbone.encode_image(pixels))
    batch = backbone.token_batch(TEXTS)
    assert torch.equal(backbone.embed(batch), backbone.encode_text(TEXTS))
    found, mask = backbone.module.padded_word_vectors(batch["ids"])
    theirs, their_mask = backbone.module.word_vectors([backbone.module.tokenizer.encode(text) for text in TEXTS])
    assert torch.equal(found, theirs) and torch.equal(mask, their_mask)


def test_tokens_are_rows_of_one_tensor(backbone: EmbeddedBackbone) -> None:
    ids = backbone.token_batch(TEXTS)["ids"]
    assert ids.dtype == torch.int64 and ids.shape[:2] == (len(TEXTS), 7)
    for row, text in zip(ids, TEXTS, strict=True):
        words = [word[word >= 0].tolist() for word in row]
        assert [word for word in words if word] == backbone.module.tokenizer.encode(text)
    part = {"ids": ids[1:2]}  # a row of a batch that is padded for longer ones
    torch.testing.assert_close(backbone.embed(part), backbone.encode_text(TEXTS[1:2]), rtol=1e-6, atol=1e-6)
    assert backbone.token_batch([])["ids"].shape[0] == 0


def test_it_stays_in_its_mode_and_runs_under_autocast(backbone: EmbeddedBackbone) -> None:
    backbone.module.requires_grad_(True)
    for modality in ("image", "text"):
        still = backbone.embed(inputs(backbone, modality)).detach()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embedded = backbone.embed(inputs(backbone, modality))
        assert embedded.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(embedded.detach(), still).min() > 0.99
        embedded.sum().backward()
    before = backbone.module.get_buffer("image.stem.1.running_mean").clone()
    backbone.module.train()
    backbone.embed(inputs(backbone, "image"))
    assert backbone.module.training
    assert not torch.equal(backbone.module.get_buffer("image.stem.1.running_mean"), before)


def test_weights_drawn_anew_are_those_of_a_new_model(backbone: EmbeddedBackbone) -> None:
    held = dict(backbone.module.named_parameters())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backbone.randomise(7)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(held[n] is p for n, p in backbone.module.named_parameters())
    torch.manual_seed(7)
    fresh = DualEncoder(backbone.module.config).state_dict()
    now = backbone.module.state_dict()
    assert all(torch.equal(now[name], value) for name, value in fresh.items() if name != "text.table.weight")
    assert abs(float(now["text.table.weight"].std()) - 0.3) < 0.01
    first = backbone.encode_text(TEXTS)
    backbone.randomise(8)
    assert not torch.equal(backbone.encode_text(TEXTS), first)


def test_a_copy_is_another_model(backbone: EmbeddedBackbone) -> None:
    backbone.module.requires_grad_(True)
    before = backbone.encode_text(TEXTS)
    gradients(backbone, "text")
    other = copy.deepcopy(backbone)
    other.randomise(1)
    assert torch.equal(backbone.encode_text(TEXTS), before)
    assert not torch.equal(other.encode_text(TEXTS), before)
    assert not backbone.recompute(True)
