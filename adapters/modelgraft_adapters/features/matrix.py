"""Features that are there already: a matrix in the place of items, for adapters that are given no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch
from modelgraft import Entry
from modelgraft.devices import device_of
from modelgraft.errors import UsageError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.encoding import encode
from modelgraft_adapters.data.grouping import with_groups
from modelgraft_adapters.data.own_labels import own_notes, own_order
from modelgraft_adapters.features.extractor import Embedded, Row


class WrongValues(UsageError, ValueError):
    """A matrix, or its labels, that nothing can be trained on: what scikit-learn's own estimators raise ValueError for."""


@contextmanager
def told_as_value_error(really: bool) -> Iterator[None]:
    """Raise a `UsageError` as a ValueError too, where the data are a matrix: code for scikit-learn's estimators expects it."""
    try:
        yield
    except UsageError as error:
        if not really or isinstance(error, ValueError):
            raise
        raise WrongValues(str(error)) from error


class FeatureMatrix:
    """What a `FeatureExtractor` is for items, for rows of a matrix (N, D): they are their own features.

    Args:
        device: where heads are trained.
    """

    modality = "features"
    layer = None
    encoded = 0

    def __init__(self, device: Any = None) -> None:
        self.device: torch.device = device_of(device)

    @property
    def entry(self) -> Entry:
        """None is there: it raises."""
        self._refuse()

    @property
    def backbone(self) -> Any:
        """None is there: it raises."""
        self._refuse()

    @property
    def card(self) -> dict[str, Any]:
        """None is there: it raises."""
        self._refuse()

    def embed(self, items: Sequence[Any], progress: Callable[[int, int], None] | None = None) -> Embedded:
        """The rows themselves."""
        rows = np.stack([np.asarray(row, np.float32) for row in items]) if len(items) else np.zeros((0, 0), np.float32)
        return Embedded(rows, (None,) * len(rows), (), 0, {})

    def stream(self, items: Sequence[Any]) -> Iterator[Row]:
        """A `Row` per row."""
        return (Row(row, np.asarray(row, np.float32), None, None) for row in items)

    def take_notes(self) -> list[str]:
        """Nothing is to be said."""
        return []

    def _refuse(self) -> NoReturn:
        raise UsageError("this adapter has no model: it was given features (model=None); pickle it, or name a model")


def read_matrix(adapter: Any, X: Any, y: Any, *, learn: bool, groups: Any = None) -> Dataset:
    """A matrix (N, D) of finite numbers with its N labels, checked as scikit-learn does.

    Args:
        adapter: whose ``n_features_in_`` and ``feature_names_in_`` are set, or compared with.
        y: labels of classes (N,), None for one that is not known; or (N, C) of 0 and 1. None where they are not asked for.
        learn: whether the adapter trains on them; then there must be labels.
        groups: (N,): rows of one group stay on one side of every split that is drawn.

    Raises:
        ValueError, TypeError: as scikit-learn's estimators.
        UsageError: items in place of features.
    """
    if isinstance(X, Dataset) or (
        isinstance(X, (list, tuple)) and X and not hasattr(X[0], "__len__") and not np.isscalar(X[0])
    ):
        raise WrongValues("an adapter without a model reads a matrix of features (N, D); for items give it a model")
    if learn and y is None:
        raise WrongValues(
            f"This {type(adapter).__name__} estimator requires y to be passed, but the target y is None; give y, the labels"
        )
    if np.ma.is_masked(X):
        raise WrongValues(
            "X has masked numbers, and there is no answer without them; fill them in, or leave these rows out"
        )
    features = _validated(adapter, X, reset=learn, dtype=np.float32, ensure_min_samples=1)
    if learn and len(features) == 1:
        raise WrongValues("nothing to train: 1 sample; two classes are needed")
    if y is None:
        return Dataset(features, "features")  # type: ignore[arg-type]
    labels = np.asarray(y)
    check_consistent_length(features, labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    if labels.dtype.kind in "fc":
        assert_all_finite(labels, input_name="y")
    if labels.dtype != object:
        check_classification_targets(labels)
    encoded = encode(labels)
    targets, names, values, notes = encoded.targets, encoded.classes, None, encoded.notes
    if encoded.task == "single-label":
        targets, names, values = own_order(targets, names, labels, False)
        notes += own_notes(list(labels), values)
    data = Dataset(features, "features", encoded.task, targets, names, notes=notes, values=values)  # type: ignore[arg-type]
    return data if groups is None else with_groups(data, groups)


def _validated(adapter: Any, X: Any, **checks: Any) -> np.ndarray:
    """Have scikit-learn check features and their names; before 1.6 that was a method of the estimator."""
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:
        found: np.ndarray = adapter._validate_data(X, **checks)
        return found
    return np.asarray(validate_data(adapter, X, **checks))
