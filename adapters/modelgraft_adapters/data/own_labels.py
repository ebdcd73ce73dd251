"""Labels as the user wrote them, beside the names that classes go by here: `predict` answers in the user's own type and order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

KINDS: Final = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}
"""Kinds of NumPy arrays that labels are kept in, and what each is called."""

_WHOLE: Final = re.compile(r"(-?\d{1,18})\.0+")


def own_order(
    targets: np.ndarray, names: tuple[str, ...], raw: Sequence[Any] | np.ndarray, given: bool
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray | None]:
    """Number classes in the order of ``numpy.unique`` of the labels, as scikit-learn does, and keep the labels' own values.

    Args:
        targets: (N,) int64, the class of each label; -1 for none.
        names: the classes.
        raw: the N labels.
        given: whether the user stated the order of the classes, which stays.

    Returns:
        targets, names, and the classes' values (C,), in one order; None for values that are the names, or of several types.
    """
    known = np.flatnonzero(targets >= 0)
    labels = own_array([raw[n] for n in known.tolist()])
    if labels is None:
        return targets, names, None
    values, first, turned = np.unique(labels, return_index=True, return_inverse=True)
    of_value = targets[known[first]]
    if len(set(of_value.tolist())) < len(values) or not np.array_equal(of_value[turned], targets[known]):
        return targets, names, None  # two labels go by one name
    if len(values) < len(names) or given:
        order = np.arange(len(names))
        if len(values) < len(names):
            return targets, names, None
        values = values[np.argsort(of_value)]
    else:
        order = of_value
    number = np.full(len(names) + 1, -1, np.int64)  # the last one is for -1, no label
    number[order] = np.arange(len(order))
    names = tuple(names[n] for n in order)
    return number[targets], names, None if values.dtype.kind == "U" and tuple(values.tolist()) == names else values


def own_array(labels: Sequence[Any]) -> np.ndarray | None:
    """Return labels as an array of their own type; None where they are of several types, or of one that no array holds."""
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    kinds = {bool if isinstance(one, bool) else int if isinstance(one, int) else type(one) for one in plain}
    if not labels or not (len(kinds) == 1 or kinds == {int, float}) or not kinds <= {bool, int, float, str}:
        return None
    found = np.array(labels if len({type(label) for label in labels}) == 1 else plain)
    return found if found.dtype.kind in KINDS and found.ndim == 1 else None


def own_notes(labels: Sequence[Any], values: np.ndarray | None) -> tuple[str, ...]:
    """Return a line where answers are not of the labels' own type."""
    if values is not None:
        return ()
    kinds = sorted({type(label).__name__ for label in labels if not isinstance(label, (str, type(None)))} - {"float"})
    return (f"labels of the type {', '.join(kinds)}: answers are their names, as texts",) if kinds else ()


def places(names: Sequence[str], values: np.ndarray | None) -> dict[Any, int]:
    """Return the number of each class by its name, and by its own value where it has one: 1, 1.0 and True are one value."""
    found: dict[Any, int] = {name: n for n, name in enumerate(names)}
    if values is not None:
        found.update({value: n for n, value in enumerate(values.tolist())})
    return found


def place_of(name: str, value: Any, there: Mapping[Any, int]) -> int:
    """Return the number of a class among others, by its value where it has one, else by its name; -1 where it is not there."""
    if value is not None and value in there:
        return there[value]
    whole = _WHOLE.fullmatch(name)  # a column of whole numbers becomes one of fractions where a value is missing
    return there.get(name, there.get(whole[1], -1) if whole else -1)
