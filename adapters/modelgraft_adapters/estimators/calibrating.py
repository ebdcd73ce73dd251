"""Estimators whose probabilities were calibrated on held-out items: `metrics.calibration` for whatever classifies."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.estimators.prediction import Prediction
from modelgraft_adapters.metrics.calibration import Calibration, calibrate, conformal_threshold, prediction_sets

if TYPE_CHECKING:
    from modelgraft_adapters.estimators.frozen import FrozenAdapter


class Calibrated:
    """What calibrated classifiers have in common; they are calibrated by `calibrate`."""

    calibration_: Calibration | None = None
    """What held-out items said; None before."""

    if TYPE_CHECKING:

        def predict_proba(self, X: Any) -> np.ndarray: ...

    def predict_set(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Return sets of classes that hold the true one as often as is asked: (N, C) bool, columns as ``classes_``.

        Split conformal prediction: for items that come like those that were calibrated on, a set holds the true class with a
        probability of at least ``coverage``. A hard item's set is large, and empty where nothing is like it. Of an item that cannot
        be read nothing is known: its set has all classes.

        Raises:
            UsageError: not calibrated, or on too few items for such a coverage.
        """
        limit = self.set_limit(coverage)
        probabilities = self.predict_proba(X)
        known = ~np.isnan(probabilities).any(axis=1)
        found = np.ones(probabilities.shape, bool)
        found[known] = prediction_sets(probabilities[known], limit)
        return found

    def check_calibration(self) -> Calibration:
        """Return `calibration_`.

        Raises:
            UsageError: there is none.
        """
        if self.calibration_ is None:
            raise UsageError(
                "not calibrated: sets of classes take labelled items that were not trained on; call calibrate first, on the "
                "command line 'modelgraft calibrate', or 'modelgraft probe --calibrate'"
            )
        return self.calibration_

    def set_limit(self, coverage: float) -> float:
        """Return the strangeness up to which classes belong to sets of a coverage.

        Raises:
            UsageError: as `predict_set`.
        """
        return conformal_threshold(self.check_calibration().strangeness, coverage)

    def _tempered(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities if self.calibration_ is None else self.calibration_.tempered(probabilities)


def with_set(found: Prediction, limit: float) -> Prediction:
    """Return a prediction with the classes whose strangeness is at most ``limit``."""
    return replace(found, set=[name for name, value in found.scores.items() if 1 - value <= limit])


def part_to_calibrate_on(data: Dataset, split: str | None) -> Dataset:
    """Return the labelled items of a part: the one named, else ``val``, else all of data that are not split.

    Raises:
        UsageError: no such part, or none that is meant; no labelled item.
    """
    if split is None and data.split_names:
        if "val" not in data.split_names:
            there = ", ".join(data.split_names)
            raise UsageError(
                f"the data are split into {there}; say which part to calibrate on, one that was not trained on"
            )
        split = "val"
    if split is not None:
        if split not in data.split_names:
            raise UsageError(f"the data have no split {split!r}; there are: {', '.join(data.split_names) or 'none'}")
        data = data.part(split)
    data = data.take(data.labelled)
    if not len(data):
        raise UsageError("no item has a label to calibrate on")
    return data


def held_out_outputs(adapter: FrozenAdapter, features: np.ndarray, data: Dataset) -> np.ndarray:
    """Return the probabilities (N, C) float32 of each training item by a head that was trained without its fold.

    The head's own choices (its penalty, its number of neighbours) are those that were made on all items.

    Args:
        adapter: fitted on these.
        features: (N, D).
        data: the N labelled items.

    Raises:
        UsageError: no classes that exclude each other, a head that trains on unlabelled items too, too few items for folds.
    """
    check_single_label(adapter.task)
    if "unlabelled" in adapter.spec.needs:
        raise UsageError(
            f"the head {adapter.head_name!r} trains on unlabelled items too, and is calibrated on labelled items of their own: "
            "'modelgraft calibrate'"
        )
    assert data.targets is not None
    fold = folds(data.targets, data.task, adapter.n_folds, adapter.drawn, data.groups)
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise UsageError("too few items to hold some out: a class has only one; calibrate on other labelled items")
    outputs = np.zeros((len(data), len(adapter.classes)), np.float32)
    for number in numbers:
        train, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        twin = _twin(adapter, features[train], data.take(train))
        columns = np.array([adapter.classes.index(name) for name in twin.classes])
        outputs[np.ix_(held, columns)] = twin._raw_outputs(twin._fitted(), features[held])
    return outputs


def _twin(adapter: FrozenAdapter, features: np.ndarray, data: Dataset) -> FrozenAdapter:
    """The same head on fewer items, with what was chosen where it takes that as settings."""
    chosen = adapter.report_.get("chosen")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with the data was said of all of them
        try:
            return adapter.with_head(adapter.head_name, **{**adapter.settings, **(chosen or {})}).fit_features(
                features, data
            )
        except UsageError:  # it does not, or not with so few items
            return adapter.with_head(adapter.head_name, **adapter.settings).fit_features(features, data)


def calibrate_by_folds(adapter: FrozenAdapter, features: np.ndarray, data: Dataset) -> Calibration:
    """Return what the training items say of an adapter, each by a head that was trained without it. As `held_out_outputs`.

    The heads of the folds are trained on fewer items than the adapter's own, so that sets are a little larger than they need be.
    """
    assert data.targets is not None
    return calibrate(held_out_outputs(adapter, features, data), data.targets, f"folds of {len(data):,} training items")


def check_single_label(task: str) -> None:
    """Check that probabilities are of classes that exclude each other.

    Raises:
        UsageError: they are not.
    """
    if task != "single-label":
        raise UsageError(
            f"only probabilities of classes that exclude each other are calibrated, and this is a {task} task"
        )
