"""Words to ids: any text has an encoding, and what is a guess is known to be one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft_embedded.tokenizer import MAX_WORDS, Tokenizer

WORDS = ["a", "photo", "of", "dog", "box", "puppy", "glass", "cafe"]
TOKENIZER = Tokenizer(WORDS, 100)


@pytest.mark.full
@given(st.text())
def test_every_text_has_ids_in_range(text: str) -> None:
    encoded = TOKENIZER.encode(text)
    assert 1 <= len(encoded) <= MAX_WORDS
    assert all(pieces for pieces in encoded)
    assert all(0 <= number < len(WORDS) + 100 for pieces in encoded for number in pieces)


@given(st.text())
def test_unknown_words_are_those_spelled_out(text: str) -> None:
    words = TOKENIZER.split(text)
    unknown = TOKENIZER.unknown_words(text)
    assert set(unknown) == {word for word in words if TOKENIZER.word_id(word) is None}
    assert len(set(unknown)) == len(unknown)
    for word, pieces in zip(words, TOKENIZER.encode(text), strict=False):
        assert (min(pieces) >= len(WORDS)) == (word in unknown)


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_case_and_punctuation_do_not_matter(words: list[str]) -> None:
    plain = TOKENIZER.encode(" ".join(words))
    assert TOKENIZER.encode(", ".join(word.upper() for word in words) + ".") == plain
    assert TOKENIZER.encode("-".join(words)) == plain


@pytest.mark.parametrize(
    ("text", "known"),
    [("dogs", "dog"), ("Boxes!", "box"), ("puppies", "puppy"), ("glass", "glass"), ("café", "cafe")],
)
def test_plurals_and_accents(text: str, known: str) -> None:
    assert TOKENIZER.encode(text) == [[WORDS.index(known)]]
    assert TOKENIZER.unknown_words(text) == []


def test_unknown_words_in_order_without_repeats() -> None:
    assert TOKENIZER.unknown_words("a qwxz dog, a vbnk qwxz") == ["qwxz", "vbnk"]
    assert TOKENIZER.unknown_words("") == []
    assert TOKENIZER.unknown_words("狗 dog") == ["狗"]


def test_letter_groups_are_the_same_in_every_process() -> None:
    assert TOKENIZER.pieces("ab") == [52, 51, 88, 88]


def test_a_text_is_cut_at_the_most_words() -> None:
    assert len(TOKENIZER.encode("dog " * 100)) == MAX_WORDS
