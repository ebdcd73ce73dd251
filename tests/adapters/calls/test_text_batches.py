"""Texts of like length go together, results come in the order of the texts, and memory stays what it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st
from modelgraft_adapters.calls.stream import stream
from modelgraft_adapters.calls.text_batches import BYTES, MORE, WINDOWS, by_length, windows
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.features.store import FeatureStore


@given(st.lists(st.text(max_size=3000), max_size=80), st.integers(1, 16), st.booleans())
def test_every_text_is_in_one_batch_and_none_is_too_large(texts: list[str], size: int, exactly: bool) -> None:
    batches = by_length(texts, size, exactly=exactly)
    assert sorted(itertools.chain(*batches)) == list(range(len(texts)))
    lengths = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    assert [lengths[n] for batch in batches for n in batch] == sorted(lengths, reverse=True)
    for batch in batches:
        longest = max(lengths[n] for n in batch)
        assert 0 < len(batch) <= (size if exactly else MORE * size)
        assert len(batch) == 1 or len(batch) * longest <= size * BYTES


def test_windows_begin_with_one_batch_and_grow() -> None:
    first = list(itertools.islice(windows(8), 9))
    assert first == [8, 16, 32, 64, 128, 256, 256, 256, 256] and first[-1] == 8 * WINDOWS


def test_results_are_in_the_order_of_the_items_whatever_the_batches() -> None:
    seen: list[list[str]] = []

    def infer(texts: list[str]) -> torch.Tensor:
        seen.append(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    texts = ["x" * (n * 7 % 50) for n in range(300)]
    rows = list(
        stream(
            texts,
            lambda text: (text, None),
            infer,
            batch_size=4,
            workers=1,
            grouped=lambda part: by_length(part, 4),
        )
    )
    assert [row.item for row in rows] == texts
    assert [row.row.item() for row in rows if row.row is not None] == [float(len(text)) for text in texts]
    assert len(seen) < 300 / 4 and max(map(len, seen)) == MORE * 4


def test_the_first_results_come_after_one_batch() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"text {read}"

    rows = stream(
        endless(),
        lambda text: (text, None),
        lambda texts: torch.zeros(len(texts), 1),
        batch_size=4,
        workers=1,
        grouped=lambda part: by_length(part, 4),
    )
    next(rows)
    assert read <= 12


def test_features_and_answers_are_those_of_one_text_at_a_time(tmp_path) -> None:
    words = ["cat", "a cup of coffee", "rocket on its way to the moon", "an orange flower in the garden"]
    texts = [words[n % 4] * (1 + n * 5 % 13) for n in range(90)]
    store = FeatureStore({"model": "x"}, tmp_path / "store")
    found = FeatureExtractor("embedded/sprig", modality="text", store=store).embed(texts)
    alone = FeatureExtractor("embedded/sprig", modality="text", batch_size=1, store=False).embed(texts)
    assert torch.allclose(torch.from_numpy(found.features), torch.from_numpy(alone.features), atol=1e-5)
    again = FeatureExtractor("embedded/sprig", modality="text", store=store).embed(texts)
    assert again.encoded == 0 and (again.features == found.features).all()
