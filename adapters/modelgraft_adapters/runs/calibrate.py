"""Adapters calibrated: on labelled items of their own, or by the folds of the training items, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.base import Adapter
from modelgraft_adapters.estimators.calibrating import calibrate_by_folds
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.estimators.head_inputs import aligned_targets
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.calibration import Worth, calibrate, cross_fitted, worth_of


@dataclass(frozen=True, slots=True)
class Calibrating:
    """What calibrating an adapter found."""

    model: str
    source: str
    """Where the items came from that it was calibrated on."""
    temperature: float
    worth: Worth
    on: str
    """Which items the worth was measured on."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        about = {"model": self.model, "source": self.source, "temperature": self.temperature}
        return {**about, "measured_on": self.on, **self.worth.record()}


def run_calibrate(adapter: Adapter, data: Any, split: str | None = None, coverage: float = 0.9) -> Calibrating:
    """Calibrate an adapter on labelled items that it was not trained on, and say what that is worth, by parts of them.

    Args:
        data: a `Dataset`, or whatever `read_data` reads.
        split: the part of data that are split; None takes ``val``.
        coverage: of the sets that are counted.

    Raises:
        UsageError: as `Adapter.calibrate`.
    """
    outputs, targets = adapter.to_calibrate_on(data, split=split)
    calibration = adapter.calibration_ = calibrate(outputs, targets)
    worth = cross_fitted(outputs, targets, coverage, adapter.drawn)
    on = "parts of these items, each by the others"
    return Calibrating(adapter.entry.name, calibration.source, calibration.temperature, worth, on)


def calibrate_in_probe(
    adapter: FrozenAdapter, features: np.ndarray, train: Dataset, tested: Embedded, test: Dataset, coverage: float = 0.9
) -> Calibrating:
    """Calibrate a fitted adapter by the folds of its training items, and say what that is worth on the test items.

    Args:
        features: (N, D) of the training items.

    Raises:
        UsageError: as `calibrating.held_out_outputs`.
    """
    good = np.flatnonzero(tested.good & test.labelled)
    outputs = adapter._raw_outputs(adapter._fitted(), tested.features[good])
    targets = aligned_targets(test.take(good), adapter.classes, adapter.task, adapter.values_)
    calibration = adapter.calibration_ = calibrate_by_folds(adapter, features, train)
    worth = worth_of(calibration, outputs, targets, coverage)
    return Calibrating(adapter.entry.name, calibration.source, calibration.temperature, worth, "the test items")
