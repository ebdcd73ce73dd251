"""Labels as the user has them (words, numbers, lists, missing) to targets and class names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.data.cells import (
    doubtful,
    is_foreign_number,
    is_missing,
    lists_in_text,
    multi_hot,
    names_of,
)
from modelgraft_adapters.data.names import counted, some

MANY_VALUES: Final = 20
"""Labels that are fractions and take more values than this are taken for measurements, not for classes."""
_WHOLE: Final = re.compile(r"-?\d{1,18}")
TASKS: Final = ("single-label", "multi-label", "regression")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Labels as a `Dataset` holds them."""

    task: Task
    targets: np.ndarray
    """As `Dataset.targets`."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]


Call = Callable[[int], str]
"""Index of an item -> what to call it in a message."""


def encode(
    raw: Sequence[Any] | np.ndarray,
    task: Task | None = None,
    *,
    separator: str | None = None,
    classes: Sequence[str] | None = None,
    call: Call = lambda index: f"item {index}",
) -> Encoded:
    """Targets of N labels.

    Rules. A label is missing as `cells.is_missing` has it. Classes are called what was written, whatever the type of the column
    (`cells.names_of`): 0, 0.0 and "0" are the class ``0``; blanks around a name are dropped. Classes are sorted, by value if all
    are whole numbers. Strings that read as lists are lists. Without ``task``: lists (or a ``separator``, or a matrix of 0 and 1,
    be it an array or lists of one length, whose columns are the classes) make a multi-label task; numbers with fractions and more
    than `MANY_VALUES` values are refused, because only the user knows whether they are measurements; all else is single-label. In
    a multi-label task an empty list, or a lone separator, is an item that has none of the classes.

    Args:
        raw: N labels: str, int, bool, float, or lists of them; or an array (N,) or (N, C).
        task: what the labels are.
        separator: what parts the labels in one string: ``"|"`` for ``cat|dog``.
        classes: the classes in the order to number them; sorted if None. Of a regression the names of the columns.
        call: what messages call an item.

    Raises:
        UsageError: labels that do not fit the task, a label that is not in ``classes``, an unknown task.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"no task {task!r}; there are: {', '.join(TASKS)}")
    if isinstance(raw, np.ndarray) and raw.ndim > 2:
        raise UsageError(f"labels of shape {raw.shape}; one label per item, or an array (N, C)")
    if task != "regression" and isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.shape[1] > 1:
        return _indicators(raw, task, classes)
    values = list(raw.tolist() if isinstance(raw, np.ndarray) else raw)
    if isinstance(raw, np.ndarray) and raw.ndim == 2 and task != "regression":
        values = [row[0] for row in values]
    values = [None if is_missing(value) else _plain(value) for value in values]
    values = values if separator else lists_in_text(values, call)
    if task == "regression":
        return _numbers(values, classes, call)
    if task != "single-label" and (matrix := multi_hot(values, call)) is not None:
        return _indicators(matrix, task, classes)
    if task is None:
        task = "multi-label" if separator or any(isinstance(value, list) for value in values) else "single-label"
        if task == "single-label":
            _refuse_measurements(values)
    return _multi(values, separator, classes, call) if task == "multi-label" else _single(values, classes, call)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted; by value if all of them are whole numbers, so that class 10 comes after class 9."""
    distinct = set(names)
    if all(_WHOLE.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def _plain(value: Any) -> Any:
    """A label as a plain Python value; arrays, tuples and sets as lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return list(value) if isinstance(value, tuple) else value


def _check_name(value: Any, where: str) -> None:
    if isinstance(value, float) and math.isinf(value):
        raise UsageError(f"the label of {where} is {value}, no class; None where it is not known")
    if isinstance(value, (dict, list)):
        raise UsageError(
            f"the label of {where} is a {type(value).__name__}, not a class name; task='multi-label' reads lists"
        )


def _refuse_measurements(values: list[Any]) -> None:
    numbers = []
    foreign = None
    for value in values:
        if value is None:
            continue
        if isinstance(value, bool):
            return
        try:
            if is_foreign_number(value) and "," in value:
                foreign, value = value, value.replace(",", ".", 1)
            numbers.append(float(value))
        except (TypeError, ValueError, OverflowError):
            return
    distinct = set(numbers)
    # Beyond 20 values, or where hardly a value comes twice, a fraction is a measurement and no class.
    many = len(distinct) > MANY_VALUES or (len(distinct) > 2 and 2 * len(distinct) > len(numbers))
    if many and foreign is not None:
        raise UsageError(f"the labels read as numbers with commas ({foreign!r}); write them with a decimal point alone")
    if many and any(not number.is_integer() for number in distinct):
        raise UsageError(
            f"the labels are {len(distinct):,} different numbers with fractions; "
            "say task='regression', or task='single-label' if each number is a class"
        )


def _numbering(
    found: Iterable[str], given: Sequence[str] | None, first: Callable[[str], str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    names = set(found)
    order = class_order(names) if given is None else tuple(given)
    if len(set(order)) < len(order):
        raise UsageError(f"classes given twice: {some(name for name, n in Counter(order).items() if n > 1)}")
    for stranger in sorted(names - set(order)):
        raise UsageError(f"the label {stranger!r} ({first(stranger)}) is not among the {len(order)} classes given")
    return order, {name: number for number, name in enumerate(order)}


def _named(labels: list[Any], classes: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """What labels and classes are called, by one rule."""
    names = names_of([*labels, *(classes or ())])
    return names[: len(labels)], None if classes is None else names[len(labels) :]


def _single(values: list[Any], classes: Sequence[str] | None, call: Call) -> Encoded:
    there = [index for index, value in enumerate(values) if value is not None]
    for index in there:
        _check_name(values[index], call(index))
    names, given = _named([values[index] for index in there], classes)
    order, number = _numbering(names, given, lambda name: call(there[names.index(name)]))
    targets = np.full(len(values), -1, np.int64)
    targets[there] = [number[name] for name in names]
    return Encoded(
        "single-label",
        targets,
        order,
        (
            *_notes(values, len(values) - len(there)),
            *_unparted(names),
            *doubtful(order, "classes called"),
            *_withheld(order),
        ),
    )


def _withheld(order: Sequence[str]) -> tuple[str, ...]:
    """A note on the class -1 beside 0 and 1: some write a label so that is not known."""
    if not {"-1", "0", "1"} <= set(order):
        return ()
    return ("-1 is a class, as 0 and 1 are; leave the label empty where it means that there is none",)


def _unparted(names: list[str]) -> tuple[str, ...]:
    """A note on names that look like several in one field."""
    distinct = set(names)
    for sign in ("|", ";", ","):
        joined = [name for name in distinct if sign in name]
        parts = {part.strip() for name in joined for part in name.split(sign)}
        if joined and parts <= distinct:
            return (
                f"labels such as {some(sorted(joined), 1)} are classes of their own; label_separator={sign!r} parts them",
            )
    return ()


def _multi(values: list[Any], separator: str | None, classes: Sequence[str] | None, call: Call) -> Encoded:
    rows: list[list[Any] | None] = []
    for index, value in enumerate(values):
        if value is None:
            rows.append(None)
            continue
        if isinstance(value, str):
            value = value.split(separator) if separator else [value]
        elif not isinstance(value, list):
            value = [value]
        row = [label for label in value if not is_missing(label)]
        for label in row:
            _check_name(label, call(index))
        rows.append(row)
    owners = [index for index, row in enumerate(rows) for _ in row or ()]
    names, given = _named([label for row in rows for label in row or ()], classes)
    order, number = _numbering(names, given, lambda name: call(owners[names.index(name)]))
    targets = np.zeros((len(rows), len(order)), np.float32)
    targets[[row is None for row in rows]] = np.nan
    targets[owners, [number[name] for name in names]] = 1
    flat = [label for value in values if isinstance(value, list) for label in value]
    notes = _notes(flat, sum(row is None for row in rows))
    return Encoded("multi-label", targets, order, (*notes, *doubtful(order, "classes called")))


def _indicators(raw: np.ndarray, task: Task | None, classes: Sequence[str] | None) -> Encoded:
    if task == "single-label":
        raise UsageError(f"labels of shape {raw.shape} for a single-label task; one label per item")
    try:
        targets = raw.astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"labels of shape {raw.shape} that are no numbers; multi-label takes lists of names") from None
    missing = np.isnan(targets).any(axis=1)
    if not np.isin(targets[~missing], (0, 1)).all():
        raise UsageError(f"labels of shape {raw.shape} that are not 0 or 1; say task='regression' if they are numbers")
    targets[missing] = np.nan
    names = tuple(map(str, classes if classes is not None else range(raw.shape[1])))
    if len(names) != raw.shape[1]:
        raise UsageError(f"{len(names)} classes given for labels of shape {raw.shape}")
    return Encoded("multi-label", targets, names, _notes((), int(missing.sum())))


def _numbers(values: list[Any], names: Sequence[str] | None, call: Call) -> Encoded:
    rows = [value if isinstance(value, list) else None if value is None else [value] for value in values]
    widths = Counter(len(row) for row in rows if row is not None)
    if len(widths) > 1:
        raise UsageError(f"numbers to predict come in rows of different length: {', '.join(map(str, sorted(widths)))}")
    width = next(iter(widths), 1)
    targets = np.full((len(rows), width), np.nan, np.float64)
    for index, row in enumerate(rows):
        if row is None or any(is_missing(value) for value in row):
            continue
        try:
            targets[index] = [float(value) for value in row]
        except (TypeError, ValueError, OverflowError):
            marks = any(map(is_foreign_number, row))
            needs = "write numbers with a decimal point and no other mark" if marks else "a regression needs numbers"
            raise UsageError(f"the label of {call(index)} is no number: {some(row)}; {needs}") from None
        if not (np.abs(targets[index]) <= np.finfo(np.float32).max).all():
            raise UsageError(f"the label of {call(index)} is not finite in float32: {some(row)}")
    names = tuple(names) if names else ("value",) if width == 1 else tuple(f"value {n}" for n in range(width))
    if len(names) != width:
        raise UsageError(f"{len(names)} names given for {width} columns of numbers")
    notes = _notes((), int(np.isnan(targets).any(axis=1).sum()))
    return Encoded("regression", targets, names, (*notes, *_rounded(rows, call)))


def _rounded(rows: list[list[Any] | None], call: Call) -> tuple[str, ...]:
    """A note on whole numbers that float64 does not hold, such as numbers that are names."""
    found = [n for n, row in enumerate(rows) if any(isinstance(v, int) and int(float(v)) != v for v in row or ())]
    if not found:
        return ()
    return (
        f"{counted(len(found), 'label')} beyond 2**53 rounded to what float64 holds, the first of {call(found[0])}: "
        f"{some(rows[found[0]] or ())}; numbers that are names are classes (task='single-label')",
    )


def _notes(values: Iterable[Any], missing: int) -> tuple[str, ...]:
    notes = []
    present = [value for value in values if value is not None]
    if missing:
        notes.append(f"{counted(missing, 'item')} without a label: never trained on or scored, only predicted")
    kinds = sorted({type(value).__name__ for value in present} - {"list"})
    if len(kinds) > 1 and kinds != ["float", "int"]:
        notes.append(f"labels of several types ({', '.join(kinds)}): each is taken as it is written")
    if padded := sum(isinstance(value, str) and value != value.strip() for value in present):
        notes.append(f"{counted(padded, 'label')} with blanks around: the blanks are dropped")
    return tuple(notes)
