"""What is stated of weights: nothing that was measured on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelgraft_adapters.scores import Evaluation


def moved_report(report: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """A report of weights that now lie at ``alpha`` between those training began with and those it ended with."""
    kept = {name: value for name, value in report.items() if name != "alpha"}
    return kept if alpha == 1 else {**kept, "alpha": alpha}


def mean_loss(found: Evaluation) -> float:
    """The log loss of an evaluation, of several labels an item over all of them; of a regression the mean absolute error. It is
    defined on any items, also where the main score is not."""
    named = {score.name: score.value for score in found.scores}
    if found.task == "multi-label":
        right = np.where(found.targets > 0.5, found.outputs, 1 - found.outputs).astype(np.float64)
        return float(-np.log(right.clip(1e-12, 1.0)).mean())
    return float(named["log loss" if found.task == "single-label" else "mean absolute error"])
