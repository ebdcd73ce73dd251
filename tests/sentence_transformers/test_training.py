"""Sentence encoders as backbones that can be trained: blocks against gradients, tokens and embeddings against ``encode``, and what
changes weights. Encoders of the kinds that the catalogue lists, of random weights and two layers; MiniLM's real tokenizer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from modelgraft import Entry
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.training import Trainable
from modelgraft_sentence_transformers.backbone import SentenceBackbone
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tests.sentence_transformers.conftest import minilm_folder

TEXTS = ["a cat", "the quick brown fox jumps over a lazy dog", "Nobody looks up.", "", "東京タワー"]
VOCABULARY = 30522
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
# kind -> its configuration, its blocks
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "bert": (_SIZES, ["encoder.layer.0", "encoder.layer.1"]),
    "roberta": (_SIZES, ["encoder.layer.0", "encoder.layer.1"]),
    "xlm-roberta": (_SIZES, ["encoder.layer.0", "encoder.layer.1"]),
    "mpnet": (_SIZES, ["encoder.layer.0", "encoder.layer.1"]),
    "albert": ({**_SIZES, "embedding_size": 16}, ["encoder.albert_layer_groups.0"]),
    "distilbert": (
        {
            "vocab_size": VOCABULARY,
            "dim": 24,
            "hidden_dim": 48,
            "n_heads": 2,
            "n_layers": 2,
            "max_position_embeddings": 40,
        },
        ["transformer.layer.0", "transformer.layer.1"],
    ),
    "t5": (
        {
            "vocab_size": VOCABULARY,
            "d_model": 24,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 2,
            "d_kv": 12,
            "dropout_rate": 0.0,
        },
        ["encoder.block.0", "encoder.block.1"],
    ),
    "modernbert": (
        {**_SIZES, "cls_token_id": 101, "sep_token_id": 102, "bos_token_id": 101, "eos_token_id": 102},
        ["layers.0", "layers.1"],
    ),
}


def encoder(kind: str, folder: Path) -> Any:
    """The library's first module, of random weights."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **KINDS[kind][0])
    model = T5EncoderModel(config) if isinstance(config, T5Config) else AutoModel.from_config(config)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_file=str(minilm_folder() / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    return Transformer(str(folder), max_seq_length=16)


def wrapped(modules: list[Any], **settings: Any) -> SentenceBackbone:
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    return SentenceBackbone(Entry("sentence-transformers/x", modality="text", tasks=("features",)), model)


def build(kind: str, folder: Path, *more: Any, mode: str = "mean", **settings: Any) -> SentenceBackbone:
    return wrapped([encoder(kind, folder), Pooling(24, pooling_mode=mode), *more], **settings)


def static() -> SentenceBackbone:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    return wrapped([StaticEmbedding(tokenizer, embedding_dim=8), Normalize()])


def gradients(backbone: SentenceBackbone) -> dict[str, torch.Tensor]:
    backbone.module.zero_grad(set_to_none=True)
    embedded = backbone.embed(backbone.token_batch(TEXTS))
    projected = embedded @ torch.randn(embedded.shape[1], 5, generator=torch.Generator().manual_seed(2))
    projected.square().sum().backward()
    return {name: p.grad.clone() for name, p in backbone.module.named_parameters() if p.grad is not None}


def check_blocks(backbone: SentenceBackbone) -> list[str]:
    """Every parameter with a gradient is in one block, those without are in none; the blocks' names."""
    assert isinstance(backbone, Trainable)
    backbone.module.requires_grad_(True)
    blocks = backbone.blocks()
    assert blocks == backbone.blocks("text")
    in_blocks = [parameter for block in blocks for parameter in block.parameters]
    assert len(set(in_blocks)) == len(in_blocks)
    before = backbone.encode_text(TEXTS)
    embedded = backbone.embed(backbone.token_batch(TEXTS))
    torch.testing.assert_close(embedded, before, rtol=1e-6, atol=1e-6)
    assert embedded.dtype == torch.float32 and embedded.requires_grad
    assert set(gradients(backbone)) == set(in_blocks)
    return [block.name for block in blocks]


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hold_what_the_embedding_depends_on_and_no_more(kind: str, tmp_path: Path) -> None:
    backbone = build(kind, tmp_path, Normalize())
    assert check_blocks(backbone) == ["stem", *KINDS[kind][1]]
    unused = {n for n, _ in backbone.module.named_parameters()} - {p for b in backbone.blocks() for p in b.parameters}
    assert {name.split(".")[2] for name in unused} <= {"pooler"}
    assert bool(unused) == (kind in ("bert", "roberta", "xlm-roberta", "mpnet", "albert"))


def test_what_comes_after_the_encoder_is_final(tmp_path: Path) -> None:
    backbone = build("t5", tmp_path, Dense(24, 12), Dense(12, 6), Normalize())
    assert check_blocks(backbone) == ["stem", "encoder.block.0", "encoder.block.1", "final"]
    assert backbone.blocks()[-1].parameters == (
        "0.model.encoder.final_layer_norm.weight", "2.linear.weight", "2.linear.bias", "3.linear.weight", "3.linear.bias",
    )  # fmt: skip


def test_tables_that_all_layers_read_are_at_the_input(tmp_path: Path) -> None:
    stem = build("mpnet", tmp_path).blocks()[0]
    assert "0.model.encoder.relative_attention_bias.weight" in stem.parameters
    assert "0.model.embeddings.LayerNorm.weight" in stem.parameters


def test_a_static_model_is_one_block() -> None:
    backbone = static()
    assert check_blocks(backbone) == ["static_embedding"]
    batch = backbone.token_batch(TEXTS)
    assert set(batch) == {"input_ids"} and batch["input_ids"].shape[0] == len(TEXTS)
    assert (batch["input_ids"][3] == -1).all()  # the empty text
    part = {name: rows[1:3] for name, rows in batch.items()}
    torch.testing.assert_close(backbone.embed(part), backbone.encode_text(TEXTS[1:3]), rtol=1e-6, atol=1e-6)
    assert not backbone.recompute(True)
    before = backbone.encode_text(TEXTS)
    backbone.randomise(1)
    assert not torch.equal(backbone.encode_text(TEXTS), before)
    backbone.randomise(0)  # the seed it was made with
    assert torch.equal(backbone.encode_text(TEXTS), before)


@pytest.mark.parametrize("include", [True, False])
def test_tokens_have_the_prompt_and_a_row_a_text(include: bool, tmp_path: Path) -> None:
    settings = {"prompts": {"passage": "a passage: "}, "default_prompt_name": "passage"}
    pooling = Pooling(24, pooling_mode="mean", include_prompt=include)
    backbone = wrapped([encoder("bert", tmp_path), pooling], **settings)
    batch = backbone.token_batch(TEXTS)
    assert all(rows.shape[0] == len(TEXTS) and rows.device.type == "cpu" for rows in batch.values())
    assert batch["input_ids"].shape[1] == max(len(row) for row in backbone.tokens(TEXTS))
    kept = [row[row != 0].tolist() for row in batch["input_ids"]]
    assert kept == backbone.tokens(TEXTS)
    torch.testing.assert_close(backbone.embed(batch), backbone.encode_text(TEXTS), rtol=1e-6, atol=1e-6)
    part = {name: rows[2:4] for name, rows in batch.items()}
    torch.testing.assert_close(backbone.embed(part), backbone.encode_text(TEXTS[2:4]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max"])
def test_other_poolings_and_shorter_embeddings(mode: str, tmp_path: Path) -> None:
    backbone = build("bert", tmp_path, mode=mode, truncate_dim=8)
    embedded = backbone.embed(backbone.token_batch(TEXTS))
    assert embedded.shape == (len(TEXTS), 8)
    torch.testing.assert_close(embedded, backbone.encode_text(TEXTS), rtol=1e-6, atol=1e-6)


def test_it_stays_in_its_mode_and_runs_under_autocast(tmp_path: Path) -> None:
    backbone = build("bert", tmp_path, Dense(24, 6), Normalize())
    batch = backbone.token_batch(TEXTS)
    still = backbone.embed(batch)
    backbone.module.train()
    assert not torch.equal(backbone.embed(batch), still)  # dropout
    assert backbone.module.training
    backbone.module.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = backbone.embed(batch)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, still, rtol=0.1, atol=0.1)
    embedded.sum().backward()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "t5"])
def test_recomputed_activations_give_the_same_gradients(kind: str, tmp_path: Path) -> None:
    backbone = build(kind, tmp_path)
    backbone.module.train()
    for inner in backbone.module.modules():
        if isinstance(inner, torch.nn.Dropout):
            inner.p = 0.0
    kept = gradients(backbone)
    layer = backbone.module.get_submodule(f"0.model.{KINDS[kind][1][0]}")
    calls: list[int] = []
    next(m for m in layer.modules() if isinstance(m, torch.nn.Linear)).register_forward_pre_hook(
        lambda *_: calls.append(1)
    )
    assert backbone.recompute(True)
    recomputed = gradients(backbone)
    assert len(calls) == 2  # once more in the backward pass
    assert kept.keys() == recomputed.keys()
    for name, value in kept.items():
        torch.testing.assert_close(recomputed[name], value, rtol=1e-6, atol=1e-6)
    assert backbone.recompute(False)
    gradients(backbone)
    assert len(calls) == 3
    assert backbone.recompute(True)
    backbone.module.requires_grad_(False)
    assert not backbone.embed(backbone.token_batch(TEXTS)).requires_grad  # nothing of frozen layers is differentiated


@pytest.mark.parametrize("kind", ["bert", "albert", "t5", "modernbert"])
def test_weights_drawn_anew_depend_on_the_seed_alone(kind: str, tmp_path: Path) -> None:
    backbone = build(kind, tmp_path, Dense(24, 6))
    module = backbone.module
    held = dict(module.named_parameters())
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(value * 3 + 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backbone.randomise(7)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(held[n] is p for n, p in module.named_parameters())
    first = {n: value.clone() for n, value in module.state_dict().items()}
    backbone.randomise(8)
    second = module.state_dict()
    assert not [n for n, p in module.named_parameters() if p.ndim > 1 and torch.equal(p, first[n])]
    backbone.randomise(7)
    assert all(torch.equal(second[n], value) for n, value in first.items())
    norms = [p for n, p in module.named_parameters() if "norm" in n.lower() and n.endswith("weight")]
    assert norms and all((p == 1).all() for p in norms)
    assert torch.isfinite(backbone.encode_text(TEXTS)).all()


def test_weights_drawn_anew_spread_as_bert_begins(tmp_path: Path) -> None:
    backbone = build("bert", tmp_path)
    backbone.randomise(3)
    words = backbone.module.get_parameter("0.model.embeddings.word_embeddings.weight")
    assert abs(float(words[1:].detach().std()) - 0.02) < 1e-3 and (words[0] == 0).all()  # initializer_range; padding


def test_a_module_that_says_not_how_it_begins_is_not_drawn_anew(tmp_path: Path) -> None:
    backbone = build("bert", tmp_path)
    backbone.module.register_parameter("odd", torch.nn.Parameter(torch.ones(3)))
    with pytest.raises(ModelgraftError, match="nothing says how its weight odd begins"):
        backbone.randomise(0)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_copy_is_another_model(kind: str, tmp_path: Path) -> None:
    backbone = build(kind, tmp_path)
    before = backbone.encode_text(TEXTS)
    gradients(backbone)
    backbone.recompute(True)
    other = copy.deepcopy(backbone)
    torch.testing.assert_close(other.encode_text(TEXTS), before)
    with torch.no_grad():
        for value in other.module.parameters():
            value.mul_(2)
    assert torch.equal(backbone.encode_text(TEXTS), before)
    assert not torch.equal(other.encode_text(TEXTS), before)
    other.module.train()
    assert gradients(other).keys() == gradients(backbone).keys()


def test_pictures_are_refused() -> None:
    backbone = static()
    with pytest.raises(UsageError, match="has no image tower"):
        backbone.blocks("image")
    with pytest.raises(UsageError, match="reads texts, not images"):
        backbone.embed(torch.zeros(1, 3, 8, 8))
