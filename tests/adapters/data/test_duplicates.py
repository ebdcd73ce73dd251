"""Items of the test part that training has too, found in real data with known copies, and not found where there are none."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft.errors import UsageError
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.duplicates import (
    Pair,
    by_embedding,
    contradictions,
    difference_hash,
    near_duplicates,
    report,
)
from modelgraft_adapters.data.reading import read_data
from PIL import Image, ImageEnhance


def _jpeg(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=30)
    return Image.open(out)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality": _jpeg,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
}


@pytest.fixture(scope="module")
def flowers(shared_data: Path) -> Dataset:
    return read_data(shared_data / "flowers5.tar")


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_changed_photographs_are_found(flowers: Dataset, change: str) -> None:
    train = flowers.train.take(range(0, 500, 4))
    changed = [CHANGES[change](Image.open(io.BytesIO(item.read_bytes())).convert("RGB")) for item in train.items]
    pairs = near_duplicates(train, replace(train, items=changed))
    assert {pair.kind for pair in pairs} == {"picture"}
    assert len(pairs) >= 0.97 * len(train)
    assert sum(pair.train_index == pair.test_index for pair in pairs) >= len(pairs) - 1


@pytest.mark.full
@pytest.mark.parametrize("name", ["flowers5", "ants_bees", "pacs", "cifar10"])
def test_different_photographs_are_not(shared_data: Path, name: str) -> None:
    data = read_data(shared_data / f"{name}.tar")
    assert near_duplicates(data.train, data.test) == []


@pytest.mark.full
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "usps"])
def test_drawings_that_look_alike_are_hardly_taken_for_copies(shared_data: Path, name: str) -> None:
    data = read_data(shared_data / f"{name}.tar")
    assert len(near_duplicates(data.train, data.test)) <= 0.02 * len(data.test)


def test_equal_files_come_first(flowers: Dataset) -> None:
    train, test = flowers.train.take(range(20)), flowers.train.take([7, 3])
    assert near_duplicates(train, test) == [Pair(7, 0, 0.0, "content"), Pair(3, 1, 0.0, "content")]


def test_flat_and_unreadable_pictures_are_no_copies(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    items = [Image.new("RGB", (40, 40), colour) for colour in ("white", "black")]
    train = Dataset([*items, str(tmp_path / "gone.jpg"), str(tmp_path / "broken.jpg")], "image")
    test = Dataset([Image.new("RGB", (50, 50), "white"), Image.new("RGB", (40, 40), "grey")], "image")
    assert near_duplicates(train, test) == []
    step = np.full((40, 40), 100, np.uint8)
    step[:, 20:] = 101  # one grey level is noise: all scans of empty pages would be copies of each other
    page = np.full((48, 48), 30, np.uint8)
    page[:, 24:] = 31
    assert near_duplicates(Dataset([step], "image"), Dataset([page], "image")) == []
    assert near_duplicates(train, train) == [
        Pair(0, 0, 0.0, "content"),
        Pair(1, 1, 0.0, "content"),
    ]  # a file that is no image counts as unread, also where its bytes are equal


def test_the_hash_is_its_formula() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8))
    across = np.asarray(image.resize((9, 8), Image.Resampling.BOX)).astype(int)
    down = np.asarray(image.resize((8, 9), Image.Resampling.BOX)).astype(int)
    bits = [across[y, x] < across[y, x + 1] for y in range(8) for x in range(8)]
    bits += [down[y, x] < down[y + 1, x] for y in range(8) for x in range(8)]
    want = [int("".join(str(int(bit)) for bit in bits[start : start + 64]), 2) for start in (0, 64)]
    assert difference_hash(image).tolist() == want
    assert difference_hash(image).dtype == np.uint64


def test_texts_by_their_words() -> None:
    train = Dataset(
        ["", "What are the Twin Cities ?", "the quick brown fox jumps over the lazy dog today", "a b"], "text"
    )
    test = Dataset(
        [
            "a b",
            "what are  the TWIN cities",
            "the quick brown fox jumps over the lazy dog",
            "lazy dog jumps over the quick brown fox today the",
            "",
            "b a",
        ],
        "text",
    )
    pairs = near_duplicates(train, test)
    assert [(pair.train_index, pair.test_index, pair.kind) for pair in pairs] == [
        (3, 0, "content"),
        (1, 1, "words"),
        (2, 2, "text"),
    ]
    assert pairs[2].distance == pytest.approx(1 - 7 / 8)


def _jaccard(a: str, b: str) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[n : n + 3]) for n in range(max(1, len(words) - 2))}

    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


texts = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=12)


@settings(deadline=None)
@given(texts, texts, st.sampled_from([0.3, 0.5, 0.75, 0.8, 1.0]))
def test_the_index_of_shingles_finds_what_comparing_all_finds(train: list[str], test: list[str], least: float) -> None:
    pairs = near_duplicates(Dataset(train, "text"), Dataset(test, "text"), min_jaccard=least)
    best = [max(_jaccard(text, other) for other in train) for text in test]
    assert [pair.test_index for pair in pairs] == [n for n, value in enumerate(best) if value >= least]
    for pair in pairs:
        assert pair.distance == pytest.approx(1 - best[pair.test_index])
        assert _jaccard(train[pair.train_index], test[pair.test_index]) == pytest.approx(best[pair.test_index])


def test_real_texts(shared_data: Path) -> None:
    data = read_data(shared_data / "trec.csv")
    pairs = near_duplicates(data.train, data.test)
    found = {data.test.items[pair.test_index]: data.train.items[pair.train_index] for pair in pairs}
    assert found["What are the twin cities ?"] == "What are the Twin Cities ?"
    assert report(pairs, len(data.test)) == (
        "2 test items (0.8 %) are in the training data (1 the same, 1 nearly): the score may flatter"
    )
    assert report([], 10) is None


def test_by_embedding_takes_the_nearest() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(size=(300, 16)).astype(np.float32)
    test = np.concatenate(
        [train[[5, 9]] * 3 + 0.01, rng.normal(size=(50, 16)), np.zeros((1, 16)), np.full((1, 16), np.nan)]
    )
    pairs = by_embedding(train, test)
    assert [(pair.train_index, pair.test_index) for pair in pairs] == [(5, 0), (9, 1)]
    cosine = train[5] @ test[0] / np.linalg.norm(train[5]) / np.linalg.norm(test[0])
    assert pairs[0].distance == pytest.approx(1 - cosine, abs=1e-6)
    assert by_embedding(train[:0], test) == []
    with pytest.raises(UsageError, match="cannot be compared"):
        by_embedding(train, test[:, :3])


def test_contradictions(flowers: Dataset) -> None:
    data = read_data(
        ["Good film!", "good film", "bad", "bad", "", "", "good  FILM"], ["p", "n", "n", "n", "p", "n", None]
    )
    assert contradictions(data) == [(0, 1)]
    twice = flowers.take([0, 1, 0])
    assert twice.targets is not None
    assert contradictions(twice) == []
    twice.targets[2] = 4
    assert contradictions(twice) == [(0, 2)]
    assert contradictions(read_data(["a", "a"])) == []


def test_one_modality() -> None:
    with pytest.raises(UsageError, match="images and texts"):
        near_duplicates(Dataset([Image.new("L", (2, 2))], "image"), Dataset(["a"], "text"))
