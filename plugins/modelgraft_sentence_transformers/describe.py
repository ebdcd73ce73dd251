"""Entries from the published facts."""

from __future__ import annotations

from functools import cache

from modelgraft.entry import Entry, Weights

from modelgraft_sentence_transformers.published import DENSE_PARAMETERS, MSMARCO, OTHERS, SEARCH, TABLE, Row
from modelgraft_sentence_transformers.towers import count_parameters
from modelgraft_sentence_transformers.weights import PROVIDER

DOT_NOTE = "trained for the dot product of its embeddings, and scored by it"
_count = cache(count_parameters)


def describe() -> list[Entry]:
    """An entry per documented model, sorted by name."""
    found = [
        _entry(row.model, row.dim, row.tower, row.similarity, max_tokens=row.max_tokens, metrics=_table_metrics(row))
        for row in TABLE
    ]
    found += [_entry(o.model, o.dim, o.tower, o.similarity, repo=o.repo, note=o.note) for o in OTHERS]
    return sorted(found, key=lambda entry: entry.name)


def _entry(
    model: str,
    dim: int,
    tower: str | None,
    similarity: str,
    *,
    repo: str | None = None,
    max_tokens: int | None = None,
    metrics: dict[str, float] | None = None,
    note: str | None = None,
) -> Entry:
    notes = [note] if note else []
    if similarity == "dot":
        notes.append(DOT_NOTE)
    return Entry(
        name=f"{PROVIDER}/{model}",
        modality="text",
        tasks=("zero-shot", "features"),
        params=None if tower is None else _count(tower) + DENSE_PARAMETERS.get(model, 0),
        embed_dim=dim,
        max_tokens=max_tokens,
        weights=Weights(repo=repo or f"{PROVIDER}/{model}"),
        aliases=(repo,) if repo else (),
        score="softmax",
        metrics={**(metrics or {}), **_search_metrics(model)},
        note="; ".join(notes) or None,
        loader={"similarity": similarity},
    )


def _table_metrics(row: Row) -> dict[str, float]:
    return {
        "sbert.net sentence embeddings (14 datasets)": row.sentence,
        "sbert.net semantic search (6 datasets)": row.search,
        "sbert.net sentences/s (V100)": float(row.speed),
        "sbert.net size (MB)": float(row.megabytes),
    }


def _search_metrics(model: str) -> dict[str, float]:
    out = {}
    if model in SEARCH:
        out["sbert.net semantic search (6 datasets)"] = SEARCH[model]
    names = ("MS MARCO dev MRR@10", "TREC-DL 2019 NDCG@10", "TREC-DL 2020 NDCG@10")
    for name, value in zip(names, MSMARCO.get(model, (None, None, None)), strict=True):
        if value is not None:
            out[f"sbert.net {name}"] = value
    return out
