"""What one value of a column says, wherever it comes from: nothing, a list, a whole number, true or false.

The same rules hold for the cells of text files, for Python and NumPy values, and for those of pandas, Arrow and ``datasets``.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from numbers import Number
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.names import clean, counted, some

SPELLED_MISSING: Final = frozenset(
    ("nan", "null", "<na>", "nat", "#n/a", "#ref!", "#value!", "#div/0!", "#name?", "#null!", "#num!")
)
"""How programs write that nothing stands in a cell of a text file."""
DOUBTFUL: Final = SPELLED_MISSING | {"none", "na", "n/a", "nil", "?", "-"}
"""Words that may be a name, or mean that there is none."""
_LONGEST_LIST: Final = 100_000
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?|[+-]?\.\d+")
_INTEGRAL: Final = re.compile(r"([+-]?\d+)\.0*")
_FOREIGN_NUMBER: Final = re.compile(r"[+-]?\d{1,3}(?:[., '\u00a0\u202f]\d{3})+(?:[.,]\d+)?|[+-]?\d+,\d+")


def is_missing(value: Any) -> bool:
    """Return whether a value is none: None, an empty string, or what NumPy, pandas, Arrow and `decimal` have for it."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    if hasattr(value, "as_py"):
        return is_missing(value.as_py())
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (Number, np.generic)) and bool(value != value)


def in_text_file(value: Any) -> Any:
    """Return a cell, None where a text file spells out that nothing stands there."""
    return None if isinstance(value, str) and value.strip().casefold() in SPELLED_MISSING else value


def doubtful(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Return a note on names that may mean that there is none: ``None``, ``NA``, ``?``."""
    found = sorted({name for name in names if name.strip().casefold() in DOUBTFUL})
    return (f"{what} {some(found)}: taken as written; leave the cell empty where there is none",) if found else ()


def texts_of(values: Sequence[Any], call: Callable[[int], str]) -> tuple[list[str], tuple[str, ...]]:
    """Return items that are texts, and notes on them; an empty text, which cannot be read, where none stands.

    Raises:
        UsageError: a value that is no text.
    """
    texts = []
    for index, value in enumerate(values):
        if isinstance(value, (list, tuple, dict, set, np.ndarray, bytes)):
            raise UsageError(f"{call(index)} is a {type(value).__name__}, not a text")
        empty = is_missing(in_text_file(value)) and not (isinstance(value, str) and not value.strip())
        texts.append("" if empty else str(value))
    return texts, no_items(sum(not text.strip() for text in texts), "a text")


def no_items(count: int, what: str) -> tuple[str, ...]:
    """Return a note on rows without an item."""
    return (f"{counted(count, 'row')} without {what}: never trained on, an error in results",) if count else ()


def names_of(values: Sequence[Any]) -> list[str]:
    """Return what labels are called, so that a label has one name however its column was stored.

    ``1``, ``1.0``, ``"1"`` and, in a column of numbers throughout, ``"1.0"`` are the class ``1``: a column of whole numbers becomes
    one of fractions where a value is missing. ``01`` stays ``01``. In a column of truth values ``true``, ``TRUE`` and True are
    ``True``; 1 is not.
    """
    names = [_name(value) for value in values]
    kinds = set(names)
    if all(name.casefold() in ("true", "false") for name in kinds):
        return [name.capitalize() for name in names]
    if all(_NUMBER.fullmatch(name) for name in kinds):
        short = {name: found[1] for name in kinds if (found := _INTEGRAL.fullmatch(name))}
        return ["0" if short.get(name) == "-0" else short.get(name, name) for name in names]
    return names


def _name(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return clean(str(value))


def alike(name: str) -> str:
    """Return what is left of a name without case, blanks, invisible characters and compatible forms."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in folded if not sign.isspace() and unicodedata.category(sign) not in ("Cf", "Cc"))


def lists_in_text(values: Sequence[Any], call: Callable[[int], str]) -> list[Any]:
    """Return the values, lists where they are strings that read as such: ``["a", "b"]`` of JSON, ``['a', 'b']`` of Python.

    Raises:
        UsageError: some are lists and others, in brackets too, are not.
    """
    framed = [n for n, value in enumerate(values) if isinstance(value, str) and _framed(value)]
    if not framed:
        return list(values)
    found = list(values)
    broken = None
    for index in framed:
        read = _read_list(values[index])
        if read is None:
            broken = index if broken is None else broken
        else:
            found[index] = read
    if not any(isinstance(found[index], list) for index in framed):
        return list(values)  # names in brackets, such as [unknown]
    if broken is not None:
        raise UsageError(f"the label of {call(broken)} does not read as a list, as others do: {values[broken][:60]!r}")
    if (plain := next((n for n, v in enumerate(found) if isinstance(v, str) and v.strip()), None)) is not None:
        raise UsageError(
            f"some labels read as lists, such as {values[framed[0]][:60]!r}, and that of {call(plain)} does not: "
            f"{found[plain][:60]!r}"
        )
    return found


def _framed(text: str) -> bool:
    text = text.strip()
    return len(text) <= _LONGEST_LIST and (text[:1], text[-1:]) in (("[", "]"), ("(", ")"), ("{", "}"))


def _read_list(text: str) -> list[Any] | None:
    """A list of plain values; also NumPy's ``[0 1 1]``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            words = text.strip()[1:-1].split()
            numbers = text.strip()[0] == "[" and all(_NUMBER.fullmatch(word) for word in words)
            found = [float(word) for word in words] if words and numbers else None
    if isinstance(found, (set, frozenset)):
        found = sorted(found, key=str)
    if not isinstance(found, (list, tuple)):
        return None
    return list(found) if all(value is None or isinstance(value, (str, int, float)) for value in found) else None


def multi_hot(values: Sequence[Any], call: Callable[[int], str]) -> np.ndarray | None:
    """Return the matrix that lists of 0 and 1 are, a column for each class; a row of NaN where none stands.

    Two lists or more of one length, two or longer, of nothing but 0 and 1, are such a matrix: as lists of class names they would
    say one class twice, or all of them of every item.

    Returns:
        (N, C) float64, or None where the values are not such lists.

    Raises:
        UsageError: lists of 0 and 1 that name one of them twice, of different length.
    """
    rows = [value for value in values if isinstance(value, list)]
    if not rows or any(value is not None and not isinstance(value, list) for value in values):
        return None
    if not all(_is_bit(value) for row in rows for value in row):
        numbers = len(rows[0]) > 1 and len(set(map(len, rows))) == 1 and all(_is_number(v) for row in rows for v in row)
        if numbers and any(value % 1 for row in rows for value in row):
            raise UsageError(
                f"the labels are lists of numbers that are not 0 or 1, such as {rows[0][:4]}; say task='regression' if they are "
                "numbers to predict"
            )
        return None
    widths = {len(row) for row in rows}
    repeated = any(len(row) > len(set(row)) for row in rows)
    if len(widths) > 1 and repeated:
        first = next(n for n, value in enumerate(values) if isinstance(value, list) and len(value) != len(rows[0]))
        raise UsageError(
            f"the labels are lists of 0 and 1 of different length ({call(first)} has {len(values[first])}, others {len(rows[0])}); "
            "each has one number for each class"
        )
    if len(widths) > 1 or widths == {0} or widths == {1} or (len(rows) < 2 and not repeated):
        return None
    width = widths.pop()
    return np.array([[np.nan] * width if value is None else [float(bit) for bit in value] for value in values])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))


def _is_bit(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.integer, np.floating, np.bool_)) and value in (0, 1)


def is_foreign_number(text: Any) -> bool:
    """Return whether a string reads as a number with a decimal comma, or with marks between the thousands."""
    return isinstance(text, str) and _FOREIGN_NUMBER.fullmatch(text.strip()) is not None
