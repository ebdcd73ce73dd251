"""Words to ids for the text tower: whole words from a fixed list, hashed letter groups for all others."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+")
_CASES = (("ies", "y"), ("es", ""), ("s", ""))
MAX_WORDS = 32


class Tokenizer:
    """Splits a text into lower-case words and numbers each one.

    Ids ``0 .. len(words) - 1`` are known words; ids from ``len(words)`` on are hash buckets of letter groups.
    A known word becomes one id, an unknown word the ids of its letter groups, whose vectors the text tower
    averages. So every text has an embedding, and `unknown_words` tells which parts of it are guesses.
    """

    def __init__(self, words: Sequence[str], buckets: int) -> None:
        self.words = list(words)
        self.buckets = buckets
        self._ids = {word: number for number, word in enumerate(self.words)}

    @staticmethod
    def split(text: str) -> list[str]:
        """The words of a text, in order: lower case, accents and punctuation removed."""
        if not text.isascii():
            # "café" and "cafe" are one word; combining marks are what NFKD splits off
            decomposed = unicodedata.normalize("NFKD", text)
            text = "".join(char for char in decomposed if not unicodedata.combining(char))
        return _WORD.findall(text.lower())

    def word_id(self, word: str) -> int | None:
        """The id of a word of `split`, or of its singular; None where neither is known."""
        number = self._ids.get(word)
        if number is None and len(word) > 3 and word[-1] == "s":
            for ending, singular in _CASES:
                if word.endswith(ending):
                    number = self._ids.get(word[: len(word) - len(ending)] + singular)
                    if number is not None:
                        return number
        return number

    def pieces(self, word: str) -> list[int]:
        """Bucket ids of the groups of 3 to 5 letters of ``<word>``; never empty."""
        marked = f"<{word[:40]}>"
        base = len(self.words)
        # crc32 and not hash(): the same in every process
        return [
            base + zlib.crc32(marked[start : start + size].encode()) % self.buckets
            for size in (3, 4, 5)
            for start in range(max(1, len(marked) - size + 1))
        ]

    def encode(self, text: str) -> list[list[int]]:
        """One list of ids per word (a single id if the word is known); at most `MAX_WORDS` words.

        A text without any word (empty, only punctuation) is the one empty word.
        """
        words = self.split(text)[:MAX_WORDS] or [""]
        encoded = []
        for word in words:
            number = self.word_id(word)
            encoded.append(self.pieces(word) if number is None else [number])
        return encoded

    def unknown_words(self, text: str) -> list[str]:
        """The words of the text that are not in the list, without repeats, in order."""
        return list(dict.fromkeys(word for word in self.split(text) if self.word_id(word) is None))

    def knows(self, texts: Iterable[str]) -> bool:
        """Whether every text has at least one known word."""
        return all(any(self.word_id(word) is not None for word in self.split(text)) for text in texts)
