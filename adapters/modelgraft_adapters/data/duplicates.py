"""Items of the test part that the training part has too, whole or nearly: a score on them says little.

Three ways, from sure to likely: equal content; images by a difference hash, texts by their words; any items by embeddings.
Each test item is paired with the nearest training item alone, so that what is reported is bounded by the test part.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft.threads import thread_pool
from PIL import Image

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import counted
from modelgraft_adapters.media.files import open_regular
from modelgraft_adapters.media.images import read_image

HASH_BITS: Final = 128
"""Bits of `difference_hash`: 64 across and 64 down."""
THUMBNAIL: Final = 16
"""Side of the thumbnail that two images with near hashes must also agree in."""
TILE: Final = 1 << 22
"""Distances that are held at once: memory is bounded whatever the number of items."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A test item and the training item it repeats."""

    train_index: int
    test_index: int
    distance: float
    """content, words: 0. image: bits that differ, of 128. text: 1 - Jaccard index. embedding: 1 - cosine."""
    kind: Literal["content", "picture", "words", "text", "embedding"]
    """Same bytes; images that look alike; same words; nearly the same words; near embeddings."""


def near_duplicates(
    train: Dataset, test: Dataset, *, max_bits: int = 16, min_correlation: float = 0.99, min_jaccard: float = 0.8
) -> list[Pair]:
    """Test items that are in the training data, the nearest training item of each, in the order of the test items.

    Images: equal files; else at most ``max_bits`` of the 128 bits of `difference_hash` differ and the two 16 x 16 grey
    thumbnails correlate by ``min_correlation`` or more (a hash alone takes drawings on white for each other). It finds the
    same image in another size, format, quality, brightness or in grey; not crops, turns or mirror images: `by_embedding`
    is for those. Texts: equal; equal words whatever their case, accents' form and punctuation; else a Jaccard index of their
    3-word shingles (Broder 1997) of ``min_jaccard`` or more, found exactly. Items that cannot be read have no pair.

    Cost: every image is decoded once; n x m hashes are compared in tiles (a few ns each), texts by an index of rare shingles.

    Raises:
        UsageError: the two are not of one modality.
    """
    if train.modality != test.modality:
        raise UsageError(f"{train.modality}s and {test.modality}s have no duplicates of each other")
    if train.modality == "text":
        return _texts(train.items, test.items, min_jaccard)
    return _pictures(train.items, test.items, max_bits, min_correlation)


def by_embedding(features_train: np.ndarray, features_test: np.ndarray, threshold: float = 0.98) -> list[Pair]:
    """Test items whose embedding has a cosine of ``threshold`` or more with a training item's; the nearest of each.

    Args:
        features_train: (N, D) floats. Rows of NaN (items that failed) and of zeros have no pair.
        features_test: (M, D).
        threshold: a good value depends on the model: look at the pairs.

    Raises:
        UsageError: the widths differ.
    """
    if features_train.ndim != 2 or features_test.ndim != 2 or features_train.shape[1] != features_test.shape[1]:
        raise UsageError(f"features of shapes {features_train.shape} and {features_test.shape} cannot be compared")
    if not len(features_train):
        return []
    known = _unit(features_train)
    pairs = []
    for start in range(0, len(features_test), step := max(1, TILE // len(known))):
        cosine = _unit(features_test[start : start + step]) @ known.T
        nearest = cosine.argmax(axis=1)
        best = cosine[np.arange(len(cosine)), nearest]
        pairs += [
            Pair(int(nearest[row]), start + int(row), max(0.0, 1 - float(best[row])), "embedding")
            for row in np.flatnonzero(best >= threshold)
        ]
    return pairs


def contradictions(dataset: Dataset) -> list[tuple[int, ...]]:
    """Groups of labelled items with equal content (texts: equal words) and different labels, each in rising order."""
    keys: dict[Any, list[int]] = {}
    labelled = dataset.labelled
    contents = (
        map(_words, dataset.items)
        if dataset.modality == "text"
        else (seen.digest if seen else None for seen in _looked_at(dataset.items, content_only=True))
    )
    for index, key in enumerate(contents):
        if key and labelled[index]:
            keys.setdefault(key, []).append(index)
    assert dataset.targets is not None or not keys
    return [
        tuple(group)
        for group in keys.values()
        if len(group) > 1 and len(np.unique(np.asarray(dataset.targets)[group], axis=0)) > 1
    ]


def report(pairs: Sequence[Pair], test_items: int) -> str | None:
    """A line for the user; None where there is nothing to say."""
    if not pairs:
        return None
    exact = sum(pair.kind == "content" for pair in pairs)
    share = 100 * len(pairs) / max(test_items, 1)
    return (
        f"{counted(len(pairs), 'test item')} ({share:.1f} %) {'is' if len(pairs) == 1 else 'are'} in the training data "
        f"({exact} the same, {len(pairs) - exact} nearly): the score may flatter"
    )


def difference_hash(image: Image.Image) -> np.ndarray:
    """(2,) uint64: 64 bits across and 64 bits down.

    The image in grey is resized to 9 x 8 (bit = a sample is darker than its right neighbour) and to 8 x 9 (darker than the
    one below). After N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013.
    """
    grey = image.convert("L")
    # Resizing reduces by whole factors first (``reducing_gap``): large images cost little.
    across = np.asarray(grey.resize((9, 8), Image.Resampling.BOX, reducing_gap=3), np.int16)
    down = np.asarray(grey.resize((8, 9), Image.Resampling.BOX, reducing_gap=3), np.int16)
    bits = np.concatenate([(across[:, :-1] < across[:, 1:]).ravel(), (down[:-1] < down[1:]).ravel()])
    return np.packbits(bits).view(">u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class _Seen:
    digest: bytes
    bits: np.ndarray | None = None
    thumbnail: np.ndarray | None = None
    """(256,) float32 of mean 0 and length 1; zeros for a flat image."""


def _look(item: Any, content_only: bool) -> _Seen | None:
    """What is compared of an image; None if it cannot be read."""
    try:
        if isinstance(item, (str, os.PathLike)):
            with open_regular(item) as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        elif isinstance(item, Image.Image) or not hasattr(item, "read_bytes"):
            pixels = np.asarray(item)
            stated = f"{pixels.shape} {pixels.dtype}".encode()
            digest = hashlib.blake2b(stated + np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
        else:
            digest = hashlib.blake2b(item.read_bytes(), digest_size=16).digest()
        if content_only:
            return _Seen(digest)
        image, _ = read_image(item)
    except (OSError, ValueError, UnreadableItemError):
        return None
    grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=3)
    values = np.asarray(grey, np.float32).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    # Below one grey level of spread there is nothing to compare: a flat image repeats none but its own file.
    return _Seen(digest, difference_hash(image), values / length if length > THUMBNAIL else np.zeros_like(values))


def _looked_at(items: Sequence[Any], content_only: bool = False) -> Iterator[_Seen | None]:
    with thread_pool(min(8, os.cpu_count() or 1), "modelgraft-hash") as pool:
        for start in range(0, len(items), 1024):  # a pool of its own keeps all results it is given to do
            block = [items[n] for n in range(start, min(start + 1024, len(items)))]
            yield from pool.map(lambda item: _look(item, content_only), block)


def _pictures(train: Sequence[Any], test: Sequence[Any], max_bits: int, min_correlation: float) -> list[Pair]:
    known, asked = list(_looked_at(train)), list(_looked_at(test))
    first: dict[bytes, int] = {}
    for index, seen in enumerate(known):
        if seen:
            first.setdefault(seen.digest, index)
    pairs = {
        index: Pair(first[seen.digest], index, 0.0, "content")
        for index, seen in enumerate(asked)
        if seen and seen.digest in first
    }
    columns = [index for index, seen in enumerate(known) if seen]
    rows = [index for index, seen in enumerate(asked) if seen and index not in pairs]
    if not columns or not rows:
        return [pairs[index] for index in sorted(pairs)]
    train_bits, train_small = _stacked([known[index] for index in columns])
    test_bits, test_small = _stacked([asked[index] for index in rows])
    for start in range(0, len(rows), step := max(1, TILE // len(columns))):
        part = test_bits[start : start + step]
        bits = np.zeros((len(part), len(columns)), np.uint8)
        for word in range(part.shape[1]):
            bits += np.bitwise_count(part[:, word, None] ^ train_bits[None, :, word])
        near_rows, near_columns = np.nonzero(bits <= max_bits)
        for begin in range(0, len(near_rows), 1 << 16):
            r, c = near_rows[begin : begin + (1 << 16)], near_columns[begin : begin + (1 << 16)]
            alike = np.einsum("ij,ij->i", test_small[start + r], train_small[c]) >= min_correlation
            for row, column in zip(r[alike].tolist(), c[alike].tolist(), strict=True):
                index, distance = rows[start + row], float(bits[row, column])
                if index not in pairs or distance < pairs[index].distance:
                    pairs[index] = Pair(columns[column], index, distance, "picture")
    return [pairs[index] for index in sorted(pairs)]


def _stacked(seen: Sequence[_Seen | None]) -> tuple[np.ndarray, np.ndarray]:
    bits = np.stack([one.bits for one in seen if one is not None and one.bits is not None])
    small = np.stack([one.thumbnail for one in seen if one is not None and one.thumbnail is not None])
    return bits, small


def _unit(features: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(np.asarray(features, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 0, length, 1)


def _words(text: str) -> tuple[str, ...]:
    """The words of a text: compatible forms made one (NFKC), case folded, punctuation dropped."""
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _texts(train: Sequence[str], test: Sequence[str], min_jaccard: float) -> list[Pair]:
    same: dict[str, int] = {}
    for index, text in enumerate(train):
        same.setdefault(text, index)
    known = [_words(text) for text in train]
    alike: dict[tuple[str, ...], int] = {}
    for index, words in enumerate(known):
        if words:
            alike.setdefault(words, index)
    pairs: dict[int, Pair] = {}
    left: dict[tuple[str, ...], list[int]] = {}
    for index, text in enumerate(test):
        words = _words(text)
        if text.strip() and text in same:
            pairs[index] = Pair(same[text], index, 0.0, "content")
        elif words in alike:
            pairs[index] = Pair(alike[words], index, 0.0, "words")
        elif words:
            left.setdefault(words, []).append(index)
    for asked, found, distance in _similar(list(alike), list(left), min_jaccard):
        for index in left[asked]:
            pairs[index] = Pair(alike[found], index, distance, "text")
    return [pairs[index] for index in sorted(pairs)]


def _similar(
    known: list[tuple[str, ...]], asked: list[tuple[str, ...]], least: float
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], float]]:
    """Of each asked text the known one with the largest Jaccard index of shingles, if it is ``least`` or more.

    Exact, by prefix filtering (Bayardo, Ma and Srikant, WWW 2007): with shingles in one order, the rarest first, two sets of a
    Jaccard index t share one among the first n - ceil(t n) + 1 of each. Rare shingles have short lists, so few pairs are left.
    """
    sets = _shingles([*known, *asked])
    lists: dict[int, list[int]] = {}
    for index in range(len(known)):
        for shingle in _prefix(sets[index], least):
            lists.setdefault(shingle, []).append(index)
    for index in range(len(known), len(sets)):
        mine = sets[index]
        own = set(mine.tolist())
        best, found = 0.0, -1
        for candidate in sorted({other for shingle in _prefix(mine, least) for other in lists.get(shingle, ())}):
            other = sets[candidate]
            if min(len(other), len(mine)) < least * max(len(other), len(mine)):
                continue
            both = len(own.intersection(other.tolist()))
            index_of_both = both / (len(own) + len(other) - both)
            if index_of_both > best:
                best, found = index_of_both, candidate
        if found >= 0 and best >= least:
            yield asked[index - len(known)], known[found], 1 - best


def _prefix(shingles: np.ndarray, least: float) -> list[int]:
    size = len(shingles)
    # The small number keeps a product such as 0.8 * 5 = 4.000000000000001 from shortening the prefix.
    return shingles[: size - int(np.ceil(least * size - 1e-9)) + 1].tolist()


def _shingles(texts: list[tuple[str, ...]]) -> list[np.ndarray]:
    """Of each text its distinct 3-word shingles (a shorter text is one shingle) as ranks, the rarest shingle first."""
    number: dict[str, int] = {}
    parts = []
    for words in texts:
        ids = np.array([number.setdefault(word, len(number) + 1) for word in words], np.uint64) & np.uint64(0x1FFFFF)
        ids = np.concatenate([ids, np.zeros(max(0, 3 - len(ids)), np.uint64)])
        # 21 bits a word: exact up to two million different words.
        parts.append(np.unique(ids[:-2] << np.uint64(42) | ids[1:-1] << np.uint64(21) | ids[2:]))
    _, inverse, counts = np.unique(np.concatenate(parts), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ends = np.cumsum([len(part) for part in parts])
    return [np.sort(rows) for rows in np.split(rank[inverse], ends[:-1])]
