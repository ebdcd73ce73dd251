"""Data with the labels of several tasks: the same items once for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.reading import read_data


def read_tasks(
    X: Any, ys: Any, modality: Literal["image", "text"] | None = None, groups: Any = None
) -> dict[str, Dataset]:
    """The same items once for each task.

    Args:
        X: items, with ``ys`` a mapping of tasks to their labels (None where an item has none); or a table, with ``ys`` the names of
            the columns of labels; or, without ``ys``, a mapping of tasks to a `Dataset` each, of the same items: so whatever
            `read_data` settles can be settled for each task.
        groups: as `read_data`'s.

    Raises:
        UsageError: no tasks, data that are not of the same items, or as `read_data`.
    """
    if groups is not None and not isinstance(ys, Mapping):
        raise UsageError(
            "groups= goes with a list or array of items; a table's are named by group_column= of read_data"
        )
    if ys is None:
        if not isinstance(X, Mapping) or not all(isinstance(one, Dataset) for one in X.values()):
            raise UsageError(
                "several tasks need the labels of each: a mapping task -> labels, the label columns of a table, or a mapping "
                "task -> Dataset"
            )
        found = {str(name): data for name, data in X.items()}
    elif isinstance(ys, Mapping):
        found = {str(name): _of_task(str(name), X, y, modality=modality, groups=groups) for name, y in ys.items()}
    elif isinstance(ys, (list, tuple)) and all(isinstance(name, str) for name in ys):
        found = {name: _of_task(name, X, modality=modality, label_column=name) for name in ys}
    else:
        raise UsageError(
            "labels of several tasks are a mapping task -> labels, or the names of a table's label columns"
        )
    if not found:
        raise UsageError("no task to train or to test")
    first_name, first = next(iter(found.items()))
    for name, data in found.items():
        alike = len(data) == len(first) and data.modality == first.modality and data.split_names == first.split_names
        if not alike or any(data.identity(n) != first.identity(n) for n in range(len(first))):
            raise UsageError(f"the tasks {first_name!r} and {name!r} are not of the same items in the same order")
    return found


def _of_task(task: str, *given: Any, **options: Any) -> Dataset:
    try:
        return read_data(*given, **options)
    except UsageError as error:
        raise UsageError(f"the task {task!r}: {error}") from None


def training_parts(data: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The items of the split ``train`` that have a label of any task, checked task by task."""
    found = {}
    for name, one in data.items():
        part = one.part("train") if one.split_names else one
        try:
            found[name] = check_for_training(part)
        except UsageError as error:
            raise UsageError(f"the task {name!r}: {error}") from None
    some = np.any([one.labelled for one in found.values()], axis=0)
    return {name: one.take(some) for name, one in found.items()}
