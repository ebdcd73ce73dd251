"""How many texts of a run are longer than the model reads: counted over all of them, wherever their features come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelgraft.contract import Limited
from modelgraft.errors import PluginError
from modelgraft.guard import plugin_code

from modelgraft_adapters.calls import plugin_calls


class CutTexts:
    """Counts texts, and those that were cut.

    Args:
        counts: whether there is anything to count; images are not cut.
    """

    def __init__(self, counts: bool = True) -> None:
        self.counts = counts
        self._texts = self._cut = self._longest = 0
        self._limit = 0

    def take(self, texts: Sequence[Any], lengths: Mapping[Any, tuple[int, int]]) -> None:
        """Count texts.

        Args:
            texts: anything that tells them apart.
            lengths: of those that are cut their tokens, and how many are read.
        """
        self._texts += len(texts)
        for text in texts:
            if (told := lengths.get(text)) is not None:
                self._cut += 1
                self._longest, self._limit = max(self._longest, told[0]), told[1]

    def notes(self) -> list[str]:
        """Return what a user should know of it, a line or none."""
        if not self._cut:
            return []
        are = "is" if self._cut == 1 else "are"
        return [
            f"{self._cut:,} of {self._texts:,} texts {are} longer than the {self._limit:,} tokens that are read, and cut "
            f"(the longest has {self._longest:,})"
        ]


def cut_lengths(backbone: Any, texts: Sequence[str]) -> list[tuple[int, int] | None]:
    """Return of each text that is longer than is read its tokens and how many are read, else None. Errors as `encode_texts`."""
    name = backbone.entry.name
    if not isinstance(backbone, Limited):
        return [None] * len(texts)
    with plugin_code(plugin_calls.owner(backbone), f"asking how long texts are with {name}"):
        limit = backbone.text_limit
        if limit is None:
            return [None] * len(texts)
        # To ask costs a tokenisation, which a text cannot need that has fewer characters than tokens are read. (Of ASCII alone: no
        # normalisation makes more of it. Half of them, for what tokenisers may add.)
        around = int(backbone.text_lengths([""])[0]) if len(texts) > 1 else int(limit)
        room = (int(limit) - around) // 2
        places = [place for place, text in enumerate(texts) if len(text) > room or not text.isascii()]
        lengths = (
            [int(length) for length in backbone.text_lengths([texts[place] for place in places])] if places else []
        )
    if len(lengths) != len(places):
        raise PluginError(
            f"plugin {plugin_calls.owner(backbone)} is wrong: {name} gives {len(lengths)} lengths for "
            f"{len(places)} texts; tell its author"
        )
    found: list[tuple[int, int] | None] = [None] * len(texts)
    for place, length in zip(places, lengths, strict=True):
        if length > limit:
            found[place] = (length, int(limit))
    return found
