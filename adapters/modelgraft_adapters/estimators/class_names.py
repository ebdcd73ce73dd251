"""The names of classes that somebody chooses from: each once, each a text, and told where a model reads two of them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Final

from modelgraft.errors import UsageError

from modelgraft_adapters.media.texts import reason_against

_SHOWN: Final = 3
_ROUNDING: Final = 1e-5
"""How far embeddings of length 1 lie apart that differ by their place in a batch alone."""


def check_labels(labels: Iterable[Any]) -> list[str]:
    """Return labels as texts, each of which stands there once; whole numbers as they are written.

    Raises:
        UsageError: none; one that is no text or blank; repeated ones, named with their places from 1.
    """
    if isinstance(labels, str):
        raise UsageError("labels must be a list of texts, not one text")
    found = [str(label) if isinstance(label, Integral) else label for label in labels]
    places: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(found, 1):
        if isinstance(label, str) and not label.strip():
            raise UsageError(f"label {number:,} is blank")
        if (reason := reason_against(label)) is not None:
            raise UsageError(f"label {number:,} ({label!r}) cannot be read: {reason}")
        places[str(label)].append(number)
    if not found:
        raise UsageError("no labels: zero-shot classification needs the names of the classes to choose from")
    if repeated := {label: where for label, where in places.items() if len(where) > 1}:
        shown = "; ".join(f"{label!r} (labels {_listed(where)})" for label, where in list(repeated.items())[:_SHOWN])
        more = f" and {len(repeated) - _SHOWN:,} more" if len(repeated) > _SHOWN else ""
        raise UsageError(f"labels given twice: {shown}{more}; name each class once, or so that they differ")
    return list(places)


def _listed(numbers: Sequence[int]) -> str:
    first = [f"{number:,}" for number in numbers[:_SHOWN]]
    return ", ".join(first) + (" ..." if len(numbers) > _SHOWN else "")


def alike(labels: Sequence[str], readings: Sequence[Any]) -> list[str]:
    """Return a line for labels that a model reads alike, so that they share what is one class's score; none where all differ.

    Args:
        readings: for each label what the model reads of it; alike if equal.
    """
    groups: dict[Any, list[str]] = defaultdict(list)
    for label, reading in zip(labels, readings, strict=True):
        groups[reading].append(label)
    same = [group for group in groups.values() if len(group) > 1]
    if not same:
        return []
    shown = "; ".join(_together(group) for group in same[:_SHOWN])
    more = f"; and {len(same) - _SHOWN:,} more such groups" if len(same) > _SHOWN else ""
    return [f"the model reads these labels as one text, and their scores share what is one class's: {shown}{more}"]


def readings(backbone: Any, texts: Sequence[Sequence[str]], weight: Any) -> list[Any]:
    """Return what a model reads of each class: the numbers of its texts, where it says them; else its embedding.

    Args:
        texts: for each class its texts.
        weight: (C, D) float tensor, the class embeddings.
    """
    from modelgraft.contract import Tokenises

    from modelgraft_adapters.calls import plugin_calls

    if not isinstance(backbone, Tokenises):
        return _near(weight.double().cpu().numpy())
    first = plugin_calls.tokens(backbone, [group[0] for group in texts])
    seen: dict[Any, list[int]] = defaultdict(list)
    for number, row in enumerate(first):
        seen[tuple(row)].append(number)
    found: list[Any] = list(range(len(texts)))
    for numbers in seen.values():
        if len(numbers) > 1:  # the others differ already
            for number in numbers:
                rows = plugin_calls.tokens(backbone, texts[number])
                found[number] = tuple(sorted(map(tuple, rows)))
    return found


def _near(rows: Any) -> list[int]:
    """A number for each of the rows (C, D), the same for those that differ by rounding: neighbours on a random line."""
    import numpy as np

    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    order = np.argsort(rows @ np.random.default_rng(0).normal(size=rows.shape[1]))
    apart = np.linalg.norm(np.diff(rows[order], axis=0), axis=1) > _ROUNDING
    found = np.empty(len(rows), int)
    found[order] = np.concatenate([[0], np.cumsum(apart)])
    return list(map(int, found))


def _together(group: Sequence[str]) -> str:
    names = [repr(_short(name)) for name in group[:_SHOWN]]
    if len(group) > _SHOWN:
        return f"{', '.join(names)} and {len(group) - _SHOWN:,} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
