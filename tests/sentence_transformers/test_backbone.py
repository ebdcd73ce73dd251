"""By name, through the real hub client: embeddings are those of SentenceTransformer.encode; failures are told in a line.

Importing the library takes seconds, so one process answers all online questions, one the offline ones, one those without a
network.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_heads.text import TextHead
from modelgraft_sentence_transformers.backbone import SentenceBackbone
from modelgraft_sentence_transformers.catalogue import entries
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from tests.hub_standin import HubStandIn
from tests.sentence_transformers.conftest import MINILM, Encode, minilm_folder, publish

WORDS = "the quick brown fox jumps over a lazy dog while nobody in the village looks up".split()  # noqa: SIM905
# One word to far beyond the 256 tokens of the model, in no order of length; other scripts; white space; nothing.
TEXTS = [" ".join(WORDS[i % len(WORDS)] for i in range(n)) for n in (7, 1, 600, 3, 254, 255, 30, 2, 128, 64, 300)] + [
    "",
    "  two  spaces ",
    "Größe und Maß, 東京タワー 🙂",
    "line\nbreak\ttab",
    "the quick",
]
FEW = TEXTS[:4]

# Catalogued names under which MiniLM's files are served, each changed in one way.
PROMPTED = "sentence-transformers/multi-qa-MiniLM-L6-cos-v1"
PICKLED = "sentence-transformers/paraphrase-MiniLM-L6-v2"
GATED = "sentence-transformers/all-mpnet-base-v2"
GONE = "sentence-transformers/LaBSE"
WITH_CODE = "sentence-transformers/all-MiniLM-L12-v2"
WITHOUT_WEIGHTS = "sentence-transformers/all-MiniLM-L12-v1"
NOT_SENTENCE = "sentence-transformers/paraphrase-MiniLM-L12-v2"
TORN = "sentence-transformers/all-MiniLM-L6-v1"


@pytest.fixture(scope="module")
def repositories(hub: HubStandIn) -> None:
    root = hub.root
    whole = publish(root, MINILM)
    (whole / "onnx").mkdir()
    (whole / "onnx" / "model.onnx").write_bytes(b"not read")
    (whole / "pytorch_model.bin").write_bytes(b"not read")
    publish(root, f"{MINILM}@short", sentence_bert_config__json={"max_seq_length": 16, "do_lower_case": False})
    prompts = {"query": "query: ", "passage": "passage: "}
    config = {"prompts": prompts, "default_prompt_name": "passage", "similarity_fn_name": "cosine"}
    publish(root, PROMPTED, config_sentence_transformers__json=config)
    pickled = publish(root, PICKLED, "model.safetensors")
    torch.save(load_file(minilm_folder() / "model.safetensors"), pickled / "pytorch_model.bin")
    publish(root, GATED, "model.safetensors")
    hub.gate(GATED)
    publish(root, WITH_CODE, modules__json=[{"idx": 0, "name": "0", "path": "", "type": "own_code.Encoder"}])
    publish(root, WITHOUT_WEIGHTS, "model.safetensors")
    publish(root, NOT_SENTENCE, "modules.json")
    publish(root, TORN)


@pytest.fixture(scope="module")
def answers(repositories: None, encode: Encode) -> dict[str, dict[str, Any]]:
    """What one process with a network gives."""
    jobs: dict[str, dict[str, Any]] = {
        "minilm": {"name": MINILM, "texts": TEXTS},
        "bfloat16": {"name": MINILM, "texts": TEXTS, "dtype": "bfloat16"},
        "short": {"name": f"{MINILM}@short", "texts": TEXTS[:2]},
        "short, cut": {"name": f"{MINILM}@short", "texts": TEXTS[2:3]},
        "no revision": {"name": f"{MINILM}@nowhere", "texts": FEW},
    }
    names = (PROMPTED, PICKLED, GATED, GONE, WITH_CODE, WITHOUT_WEIGHTS, NOT_SENTENCE, TORN)
    return encode(jobs | {name: {"name": name, "texts": FEW} for name in names})


@pytest.fixture(scope="module")
def minilm(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return answers["minilm"]


@pytest.fixture(scope="module")
def library() -> SentenceTransformer:
    """The same weights in the source library, read from the package's folder."""
    return SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)


@pytest.mark.full
def test_embeddings_are_the_librarys(minilm: dict[str, Any], library: SentenceTransformer) -> None:
    theirs = library.encode(TEXTS, convert_to_tensor=True)
    assert minilm["embeddings"].dtype == torch.float32
    assert minilm["embeddings"].shape == (len(TEXTS), minilm["embed_dim"]) == (len(TEXTS), 384)
    assert (minilm["embeddings"] - theirs).abs().max() <= 1e-6
    # One at a time there is no order to lose.
    alone = torch.stack([library.encode(text, convert_to_tensor=True) for text in TEXTS])
    assert (minilm["embeddings"] - alone).abs().max() <= 1e-6
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_what_it_says_of_itself(minilm: dict[str, Any]) -> None:
    assert minilm["rule"] == ("softmax", 20.0, 0.0)
    assert minilm["params"] == 22_713_216
    # 600, 255 and 300 words with a start and an end mark; 254 words fill the 256 tokens exactly.
    (note,) = minilm["notes"]
    assert note.startswith(f"3 of {len(TEXTS)} texts cut at 256 tokens, the first: 'the quick brown fox")


def test_only_safetensors_are_fetched(minilm: dict[str, Any], hub: HubStandIn) -> None:
    assert hub.bytes_sent(f"/{MINILM}/*/model.safetensors") > 80_000_000
    assert hub.bytes_sent(f"/{MINILM}/*.bin") == 0
    assert hub.bytes_sent(f"/{MINILM}/*.onnx") == 0


def test_a_default_prompt_is_put_before_and_told(answers: dict[str, Any], library: SentenceTransformer) -> None:
    found = answers[PROMPTED]
    theirs = library.encode([f"passage: {text}" for text in FEW], convert_to_tensor=True)
    assert (found["embeddings"] - theirs).abs().max() <= 1e-6
    assert "'passage: '" in found["notes"][0] and "1 of 4 texts cut" in found["notes"][1]


def test_pickled_weights_where_there_are_no_others(answers: dict[str, Any], library: SentenceTransformer) -> None:
    theirs = library.encode(FEW, convert_to_tensor=True)
    assert (answers[PICKLED]["embeddings"] - theirs).abs().max() <= 1e-6


def test_half_precision(answers: dict[str, Any], minilm: dict[str, Any]) -> None:
    found = answers["bfloat16"]
    assert found["dtype"] == "torch.bfloat16" and found["embeddings"].dtype == torch.float32
    assert 0.99 < F.cosine_similarity(found["embeddings"], minilm["embeddings"]).min() < 1


def test_a_revision_is_another_model(answers: dict[str, Any], minilm: dict[str, Any]) -> None:
    assert answers["short"]["notes"] == []
    assert (answers["short"]["embeddings"] - minilm["embeddings"][:2]).abs().max() <= 1e-6
    assert "1 of 1 texts cut at 16 tokens" in answers["short, cut"]["notes"][0]
    assert f"{MINILM} has no revision 'nowhere'" in told_in_a_line(answers["no revision"])


def told_in_a_line(answer: dict[str, Any], kind: str = "WeightsUnavailableError") -> str:
    assert answer["error"] == kind
    assert "\n" not in answer["text"]
    return str(answer["text"])


def test_refusals(answers: dict[str, Any], hub: HubStandIn) -> None:
    gated = told_in_a_line(answers[GATED])
    assert "gated" in gated and f"{hub.endpoint}/{GATED}" in gated and "hf auth login" in gated
    assert f"no repository {GONE}" in told_in_a_line(answers[GONE])
    assert "Python code of its own" in told_in_a_line(answers[WITH_CODE])
    assert "no weights for its module Transformer at the top" in told_in_a_line(answers[WITHOUT_WEIGHTS])
    assert "holds no modules.json" in told_in_a_line(answers[NOT_SENTENCE])


@pytest.mark.full
def test_offline(answers: dict[str, Any], encode: Encode, hub: HubStandIn, home: Path) -> None:
    """What was fetched whole works; what is not there, or torn, is refused: a missing length would be a silent default."""
    assert "embeddings" in answers[TORN]
    (torn,) = home.glob("hub/*all-MiniLM-L6-v1/snapshots/*/sentence_bert_config.json")
    torn.unlink()
    asked = len(hub.requests)
    jobs = {name: {"name": name, "texts": TEXTS} for name in (MINILM, PICKLED, GONE, TORN)}
    found = encode(jobs, HF_HUB_OFFLINE="1")
    assert torch.equal(found[MINILM]["embeddings"], answers["minilm"]["embeddings"])
    assert (found[PICKLED]["embeddings"][:4] - answers[PICKLED]["embeddings"]).abs().max() <= 1e-6
    absent = told_in_a_line(found[GONE], "NotStoredError")
    assert "in the cache and HF_HUB_OFFLINE is set" in absent and f"'modelgraft pull {GONE}'" in absent
    assert "not all) in the cache" in told_in_a_line(found[TORN], "NotStoredError")
    assert len(hub.requests) == asked


@pytest.mark.full
def test_an_unreachable_hub(answers: dict[str, Any], encode: Encode) -> None:
    jobs = {name: {"name": name, "texts": FEW} for name in (MINILM, GONE)}
    found = encode(jobs, HF_ENDPOINT="http://127.0.0.1:9")
    assert (found[MINILM]["embeddings"] - answers["minilm"]["embeddings"][:4]).abs().max() <= 1e-6
    assert "cannot reach http://127.0.0.1:9" in told_in_a_line(found[GONE])


def local_backbone(model: SentenceTransformer) -> SentenceBackbone:
    """The backbone over weights that are on disk already."""
    (entry,) = (e for e in entries() if e.name == MINILM)
    return SentenceBackbone(entry, model)


def test_texts_are_classified_by_label_names(library: SentenceTransformer) -> None:
    labels = ["sports", "politics", "cooking"]
    texts = [
        "The team won the football match in extra time.",
        "Simmer the sauce for ten minutes.",
        "Parliament passed the bill.",
    ]
    classifier = ZeroShotClassifier(local_backbone(library), labels=labels, templates="This example is {}.")
    assert classifier.predict(texts).tolist() == ["sports", "cooking", "politics"]
    ours = classifier.predict_proba(texts)
    prompts = library.encode([f"This example is {label}." for label in labels], convert_to_tensor=True)
    theirs = (20 * library.similarity(library.encode(texts, convert_to_tensor=True), prompts)).softmax(dim=-1)
    assert np.abs(ours - theirs.numpy()).max() <= 1e-5


def test_a_model_trained_for_the_dot_product_is_scored_by_it(library: SentenceTransformer) -> None:
    (entry,) = (e for e in entries() if e.name == "sentence-transformers/multi-qa-MiniLM-L6-dot-v1")
    texts, labels = ["The team won the match.", "Simmer the sauce."], ["sports", "cooking"]
    backbone = SentenceBackbone(entry, library)
    assert backbone.score_rule().similarity == "dot"
    ours = ZeroShotClassifier(backbone, labels=labels, templates="{}").predict_proba(texts)
    lengths = torch.tensor([[2.0], [0.5]])  # MiniLM's own are all 1
    theirs = (library.encode(texts, convert_to_tensor=True) @ library.encode(labels, convert_to_tensor=True).T).softmax(
        -1
    )
    assert np.abs(ours - theirs.numpy()).max() <= 1e-5
    features = torch.tensor(library.encode(texts)) * lengths
    longer = TextHead(torch.tensor(library.encode(labels)), backbone.score_rule()).logits(features)
    torch.testing.assert_close(longer, features @ torch.tensor(library.encode(labels)).T)


def test_tokens_are_what_the_model_reads(library: SentenceTransformer) -> None:
    backbone = local_backbone(library)
    texts = ["a cat", "a cat, and then " + "very " * 600 + "long"]
    found = backbone.tokens(texts)
    assert found[0] == library.tokenizer("a cat")["input_ids"]
    assert len(found[1]) == library.max_seq_length
    assert (
        found[1][:-1]
        == library.tokenizer(texts[1], truncation=True, max_length=library.max_seq_length)["input_ids"][:-1]
    )


@pytest.mark.full
def test_similarity_follows_people(shared_data: Path, library: SentenceTransformer) -> None:
    """A sanity check on real judgements of the STS tasks, where this model family reports correlations of this size."""
    with (shared_data / "sts_small.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::2]
    backbone = local_backbone(library)
    one, two = (backbone.encode_text([row[column] for row in rows]) for column in ("text", "text_b"))
    people = np.array([float(row["label"]) for row in rows])
    assert spearmanr(F.cosine_similarity(one, two).numpy(), people).statistic > 0.8
