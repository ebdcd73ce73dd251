"""Layers of sentence encoders against the encoder's own token states, with the real MiniLM weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modelgraft import Entry
from modelgraft.contract import Layered
from modelgraft.errors import UsageError
from modelgraft_sentence_transformers.backbone import SentenceBackbone
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import StaticEmbedding
from tokenizers import Tokenizer
from torch.nn import functional as F

from tests.sentence_transformers.conftest import minilm_folder

TEXTS = ["a cat", "the quick brown fox jumps over a lazy dog " * 40, "", "nobody looks up", "東京タワー"]


@pytest.fixture(scope="module")
def library() -> Any:
    return SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True).eval()


def backbone(model: Any) -> SentenceBackbone:
    return SentenceBackbone(Entry("sentence-transformers/x", modality="text", tasks=("features",)), model)


@pytest.mark.full
def test_layers_are_pools_of_the_encoders_token_states(library: Any) -> None:
    ours = backbone(library)
    assert isinstance(ours, Layered) and ours.layers() == ours.layers("text") == ("pooled", "cls", "mean", "max")
    found = {layer: ours.encode_layer(TEXTS, layer) for layer in ours.layers()}
    assert torch.equal(found["pooled"], ours.encode_text(TEXTS))
    for n, text in enumerate(TEXTS):  # one at a time there is no padding and no order to lose
        batch = library.tokenizer([text], truncation=True, max_length=library.max_seq_length, return_tensors="pt")
        with torch.inference_mode():
            states = library[0].auto_model(**batch).last_hidden_state[0]
        for layer, expected in (("cls", states[0]), ("mean", states.mean(0)), ("max", states.amax(0))):
            torch.testing.assert_close(found[layer][n], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(F.normalize(found["mean"], dim=-1), found["pooled"], rtol=1e-4, atol=1e-6)
    assert all(rows.shape == (5, 384) and rows.dtype == torch.float32 for rows in found.values())
    assert ours.encode_layer([], "mean").shape == (0, 384)


def test_a_model_without_token_states_has_one_layer() -> None:
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    ours = backbone(SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu"))
    assert ours.layers() == ("pooled",)
    with pytest.raises(UsageError, match="no layer 'cls'; there are: pooled"):
        ours.encode_layer(TEXTS, "cls")
