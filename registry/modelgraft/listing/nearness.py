"""Names near to what a user wrote, for "did you mean". By shared letter groups: the order of a name's parts does not matter.

``dinov2-base`` and ``vit_base_patch14_dinov2`` are the same model to a person and far apart by edit distance.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

_RERANKED: Final = 60  # candidates that the slower comparison looks at
_LEAST: Final = 0.42
"""Below this nothing is near: three wrong suggestions are worse than none."""


def near(wanted: str, spellings: Mapping[str, Iterable[str]]) -> list[tuple[str, float]]:
    """Names near a misspelt one, best first, each with a score from 0 to 1.

    Args:
        spellings: what a name may be written as -> the names.
    """
    texts: dict[str, dict[str, None]] = {}
    for spelling, names in spellings.items():
        texts.setdefault(squashed(spelling), {}).update(dict.fromkeys(names))
    holders: dict[str, list[str]] = {}
    for text in texts:
        for group in _groups(text):
            holders.setdefault(group, []).append(text)
    # The organisation of a hub id says little, and the model part alone is often what is near.
    parts = {squashed(wanted), squashed(wanted.rpartition("/")[2])} - {""}
    best: dict[str, float] = {}
    for part in parts:
        for text, score in _compare(part, holders, len(texts)):
            for name in texts[text]:
                best[name] = max(score, best.get(name, 0.0))
    return sorted(((n, s) for n, s in best.items() if s >= _LEAST), key=lambda found: (-found[1], found[0]))


def squashed(text: str) -> str:
    """Letters and digits alone, lower-cased: how a name's parts are joined is where spellings differ most."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _groups(text: str) -> set[str]:
    return {text[n : n + size] for size in (2, 3) for n in range(len(text) - size + 1)} or {text}


def _compare(wanted: str, holders: Mapping[str, list[str]], of: int) -> list[tuple[str, float]]:
    """(spelling, score) of the best candidates. A group that few spellings have weighs more: 'dino' says more than 'base'."""
    weights = {group: math.log(1 + of / len(holders[group])) for group in holders}
    unheard = math.log(1 + of)
    groups = _groups(wanted)
    whole = sum(weights.get(group, unheard) for group in groups)
    shared: Counter[str] = Counter()
    for group in groups:
        for text in holders.get(group, ()):
            shared[text] += weights[group]  # type: ignore[assignment]
    rough = []
    for text, weight in shared.items():
        own = sum(weights[group] for group in _groups(text)) if weight > 0.2 * whole else math.inf
        # Twice as much on what the user wrote being there as on nothing else being there: names have tags, users leave them out.
        recall, precision = weight / whole, weight / own
        rough.append((5 * recall * precision / (recall + 4 * precision) if precision else 0.0, text))
    rough.sort(reverse=True)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    out = []
    for score, text in rough[:_RERANKED]:
        matcher.set_seq1(text)
        out.append((text, 0.6 * score + 0.4 * matcher.ratio()))
    return out
