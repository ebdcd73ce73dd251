"""What the Sentence Transformers documentation states about its models: the facts, none of its text.

Sources, in https://github.com/huggingface/sentence-transformers at `VERSION`: T = docs/_static/html/
models_en_sentence_embeddings.html ("Original Models"), P = docs/sentence_transformer/pretrained_models.md, M = docs/
pretrained-models/msmarco-v{1,2,3,5}.md, N = nq-v1.md, W = wikipedia-sections-models.md, D = dpr.md.

Not here, because they are other things than dense text encoders: cross-encoders, sparse encoders, averaged word
embeddings, and the CLIP models (the open_clip provider has those weights with both towers).
"""

from __future__ import annotations

from typing import Final, NamedTuple

VERSION: Final = "2025-10-22, commit 85ec64559f4414aa536eca4bf53538291e0a333f"


class Row(NamedTuple):
    """A model of table T."""

    model: str
    tower: str
    sentence: float
    """Mean performance on encoding sentences, 14 datasets."""
    search: float
    """Mean performance on semantic search, 6 datasets."""
    speed: int
    """Sentences per second on a V100 GPU."""
    megabytes: int
    dim: int
    max_tokens: int
    similarity: str = "cosine"


TABLE: Final = (
    Row("all-MiniLM-L12-v1", "MiniLM-L12-H384", 68.83, 50.78, 7500, 120, 384, 256),
    Row("all-MiniLM-L12-v2", "MiniLM-L12-H384", 68.7, 50.82, 7500, 120, 384, 256),
    Row("all-MiniLM-L6-v1", "MiniLM-L6-H384", 68.03, 48.07, 14200, 80, 384, 128),
    Row("all-MiniLM-L6-v2", "MiniLM-L6-H384", 68.06, 49.54, 14200, 80, 384, 256),
    Row("all-distilroberta-v1", "distilroberta-base", 68.73, 50.94, 4000, 290, 768, 512),
    Row("all-mpnet-base-v1", "mpnet-base", 69.98, 54.69, 2800, 420, 768, 512),
    Row("all-mpnet-base-v2", "mpnet-base", 69.57, 57.02, 2800, 420, 768, 384),
    Row("all-roberta-large-v1", "roberta-large", 70.23, 53.05, 800, 1360, 1024, 256),
    Row(
        "distiluse-base-multilingual-cased-v1", "distilbert-base-multilingual-cased", 61.30, 29.87, 4000, 480, 512, 128
    ),
    Row(
        "distiluse-base-multilingual-cased-v2", "distilbert-base-multilingual-cased", 60.18, 27.35, 4000, 480, 512, 128
    ),
    Row("gtr-t5-base", "t5-base", 67.65, 51.15, 2500, 210, 768, 512),
    Row("gtr-t5-large", "t5-large", 69.90, 54.85, 800, 640, 768, 512),
    Row("gtr-t5-xl", "t5-3b", 69.88, 55.88, 230, 2370, 768, 512),
    Row("gtr-t5-xxl", "t5-11b", 70.73, 55.76, 50, 9230, 768, 512),
    Row("msmarco-bert-base-dot-v5", "bert-base-uncased", 62.68, 52.11, 2800, 420, 768, 512, "dot"),
    Row("msmarco-distilbert-base-tas-b", "distilbert-base-uncased", 62.57, 49.25, 4000, 250, 768, 512, "dot"),
    Row("msmarco-distilbert-dot-v5", "distilbert-base-uncased", 61.84, 49.47, 4000, 250, 768, 512, "dot"),
    Row("multi-qa-MiniLM-L6-cos-v1", "MiniLM-L6-H384", 64.33, 51.83, 14200, 80, 384, 512),
    Row("multi-qa-MiniLM-L6-dot-v1", "MiniLM-L6-H384", 63.90, 49.19, 14200, 80, 384, 512, "dot"),
    Row("multi-qa-distilbert-cos-v1", "distilbert-base-uncased", 65.98, 52.83, 4000, 250, 768, 512),
    Row("multi-qa-distilbert-dot-v1", "distilbert-base-uncased", 66.67, 52.51, 4000, 250, 768, 512, "dot"),
    Row("multi-qa-mpnet-base-cos-v1", "mpnet-base", 66.29, 57.46, 2800, 420, 768, 512),
    Row("multi-qa-mpnet-base-dot-v1", "mpnet-base", 66.76, 57.60, 2800, 420, 768, 512, "dot"),
    Row("paraphrase-MiniLM-L12-v2", "MiniLM-L12-H384", 66.01, 43.01, 7500, 120, 384, 256),
    Row("paraphrase-MiniLM-L3-v2", "MiniLM-L3-H384", 62.29, 39.19, 19000, 61, 384, 128),
    Row("paraphrase-MiniLM-L6-v2", "MiniLM-L6-H384", 64.82, 40.31, 14200, 80, 384, 128),
    Row("paraphrase-TinyBERT-L6-v2", "TinyBERT-L6-H768", 66.19, 41.07, 4500, 240, 768, 128),
    Row("paraphrase-albert-small-v2", "albert-small-v2", 64.46, 40.04, 5000, 43, 768, 256),
    Row("paraphrase-distilroberta-base-v2", "distilroberta-base", 66.27, 43.10, 4000, 290, 768, 256),
    Row("paraphrase-mpnet-base-v2", "mpnet-base", 67.97, 47.43, 2800, 420, 768, 512),
    Row("paraphrase-multilingual-MiniLM-L12-v2", "Multilingual-MiniLM-L12-H384", 64.25, 39.19, 7500, 420, 384, 128),
    Row("paraphrase-multilingual-mpnet-base-v2", "xlm-roberta-base", 65.83, 41.68, 2500, 970, 768, 128),
    Row("sentence-t5-base", "t5-base", 67.84, 44.63, 2500, 210, 768, 256),
    Row("sentence-t5-large", "t5-large", 68.74, 49.05, 800, 640, 768, 256),
    Row("sentence-t5-xl", "t5-3b", 69.23, 51.19, 230, 2370, 768, 256),
    Row("sentence-t5-xxl", "t5-11b", 70.88, 54.40, 50, 9230, 768, 256),
)


class Other(NamedTuple):
    """A model documented outside table T. ``repo`` defaults to the organisation's repository of that name."""

    model: str
    dim: int
    tower: str | None = None
    similarity: str = "cosine"
    repo: str | None = None
    note: str | None = None


_SUPERSEDED = "an earlier version; the v5 models of the same family score higher"
_DPR = "one half of a pair: passages go through ctx_encoder, questions through question_encoder"
_INSTRUCTOR = "trained with an instruction before each text; none is given here"

OTHERS: Final = (
    # P and M, version 5
    Other("msmarco-MiniLM-L12-cos-v5", 384, "MiniLM-L12-H384"),
    Other("msmarco-MiniLM-L6-cos-v5", 384, "MiniLM-L6-H384"),
    Other("msmarco-distilbert-cos-v5", 768, "distilbert-base-uncased"),
    # P
    Other("LaBSE", 768, "LaBSE", note="finds translations (109 languages); weaker at judging other similarity"),
    Other("allenai-specter", 768, note="for scientific papers: title and abstract"),
    Other("hkunlp/instructor-base", 768, repo="hkunlp/instructor-base", note=_INSTRUCTOR),
    Other("hkunlp/instructor-large", 768, repo="hkunlp/instructor-large", note=_INSTRUCTOR),
    Other("hkunlp/instructor-xl", 768, repo="hkunlp/instructor-xl", note=_INSTRUCTOR),
    # M, earlier versions
    Other("distilroberta-base-msmarco-v1", 768, "distilroberta-base", note=_SUPERSEDED),
    Other("msmarco-MiniLM-L-12-v3", 384, "MiniLM-L12-H384", note=_SUPERSEDED),
    Other("msmarco-MiniLM-L-6-v3", 384, "MiniLM-L6-H384", note=_SUPERSEDED),
    Other("msmarco-distilbert-base-dot-prod-v3", 768, similarity="dot", note=_SUPERSEDED),
    Other("msmarco-distilbert-base-v2", 768, "distilbert-base-uncased", note=_SUPERSEDED),
    Other("msmarco-distilbert-base-v3", 768, "distilbert-base-uncased", note=_SUPERSEDED),
    Other("msmarco-distilbert-base-v4", 768, "distilbert-base-uncased", note=_SUPERSEDED),
    Other("msmarco-distilroberta-base-v2", 768, "distilroberta-base", note=_SUPERSEDED),
    Other("msmarco-roberta-base-ance-firstp", 768, similarity="dot", note=_SUPERSEDED),
    Other("msmarco-roberta-base-v2", 768, "roberta-base", note=_SUPERSEDED),
    Other("msmarco-roberta-base-v3", 768, "roberta-base", note=_SUPERSEDED),
    # N, W, D
    Other("nq-distilbert-base-v1", 768, note="passages are encoded as a pair of title and text"),
    Other("bert-base-wikipedia-sections-mean-tokens", 768, note="for clustering; weak at judging similarity"),
    Other("facebook-dpr-ctx_encoder-multiset-base", 768, similarity="dot", note=_DPR),
    Other("facebook-dpr-ctx_encoder-single-nq-base", 768, similarity="dot", note=_DPR),
    Other("facebook-dpr-question_encoder-multiset-base", 768, similarity="dot", note=_DPR),
    Other("facebook-dpr-question_encoder-single-nq-base", 768, similarity="dot", note=_DPR),
)

DENSE_PARAMETERS: Final = {
    **dict.fromkeys(("distiluse-base-multilingual-cased-v1", "distiluse-base-multilingual-cased-v2"), 768 * 512 + 512),
    "LaBSE": 768 * 768 + 768,
    **dict.fromkeys(("gtr-t5-base", "sentence-t5-base"), 768 * 768),
    **{f"{family}-{size}": 1024 * 768 for family in ("gtr-t5", "sentence-t5") for size in ("large", "xl", "xxl")},
}
"""Parameters of the dense layer that follows the pooling, in the models that have one."""

SEARCH: Final = {
    "msmarco-MiniLM-L12-cos-v5": 43.89,
    "msmarco-MiniLM-L6-cos-v5": 42.16,
    "msmarco-distilbert-cos-v5": 44.98,
}
"""Semantic search (6 datasets) of models outside T, from P."""

MSMARCO: Final[dict[str, tuple[float | None, float | None, float | None]]] = {
    "msmarco-MiniLM-L6-cos-v5": (32.27, 67.46, 64.73),
    "msmarco-MiniLM-L12-cos-v5": (32.75, 65.14, 67.48),
    "msmarco-distilbert-cos-v5": (33.79, 70.24, 66.24),
    "multi-qa-MiniLM-L6-cos-v1": (None, 65.55, 64.66),
    "multi-qa-distilbert-cos-v1": (None, 67.59, 66.46),
    "multi-qa-mpnet-base-cos-v1": (None, 67.78, 69.87),
    "msmarco-distilbert-base-tas-b": (34.43, 71.04, 69.78),
    "msmarco-distilbert-dot-v5": (37.25, 70.14, 71.08),
    "msmarco-bert-base-dot-v5": (38.08, 70.51, 73.45),
    "multi-qa-MiniLM-L6-dot-v1": (None, 66.70, 65.98),
    "multi-qa-distilbert-dot-v1": (None, 68.05, 70.49),
    "multi-qa-mpnet-base-dot-v1": (None, 70.66, 71.18),
    "msmarco-MiniLM-L-6-v3": (32.27, 67.46, None),
    "msmarco-MiniLM-L-12-v3": (32.75, 65.14, None),
    "msmarco-distilbert-base-v3": (33.13, 69.02, None),
    "msmarco-distilbert-base-v4": (33.79, 70.24, None),
    "msmarco-roberta-base-v3": (33.01, 69.08, None),
    "msmarco-distilbert-base-dot-prod-v3": (33.04, 68.42, None),
    "msmarco-roberta-base-ance-firstp": (33.01, 67.84, None),
    "msmarco-distilroberta-base-v2": (28.55, 65.65, None),
    "msmarco-roberta-base-v2": (29.17, 67.18, None),
    "msmarco-distilbert-base-v2": (30.77, 68.35, None),
    "distilroberta-base-msmarco-v1": (23.28, None, None),
}
"""MRR@10 on MS MARCO dev; NDCG@10 on TREC-DL 2019 and 2020, reranking; from M."""
