"""What is stated of weights: nothing that was measured on others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from modelgraft.errors import ModelgraftError

from modelgraft_adapters.estimators.head_inputs import head_spec
from modelgraft_adapters.estimators.saved_state import state_of
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.metrics.scores import Evaluation
from modelgraft_adapters.saved.writing import rehearse

if TYPE_CHECKING:
    from modelgraft_adapters.estimators.base import Adapter


def check_savable(adapter: Adapter, backbone: Any, settings: Settings, needed: bool) -> list[str]:
    """What stands in the way of saving an adapter that is about to be trained; it has its task, classes and data.

    Args:
        needed: it is to be saved: then it is refused.

    Returns:
        a line, or none.

    Raises:
        ModelgraftError: it could not be saved.
    """
    from modelgraft_adapters.finetuning.methods import linear_head

    trial = object.__new__(type(adapter))
    trial.__dict__.update(vars(adapter))
    count, width = len(adapter.classes), backbone.embed_dim
    trial.head_, trial.spec = (
        linear_head(torch.zeros(count, width), torch.zeros(count), adapter.task, settings),
        head_spec("linear"),
    )
    trial.trained_on_ = {"width": width, "sha256": "0" * 64}  # which takes as long as reading all items
    try:
        rehearse(state_of(trial))
    except ModelgraftError as error:
        if needed:
            raise type(error)(f"nothing was trained, as it could not be saved: {error}") from error
        return [f"this adapter will predict, and cannot be saved: {error}"]
    return []


OF_THE_RUN: Final = ("run_", "_way", "_tasks", "_head", "plan_", "course_", "probe_", "start_", "end_")
"""What a fitted tuner does not take along when it is pickled or copied: the loop, with the items that were trained on, and the
weights it began with. The copy predicts, is evaluated and is saved; only where it was fitted can weights be moved
(`weight_averaging`)."""


def moved_report(report: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """A report of weights that now lie at ``alpha`` between those training began with and those it ended with."""
    kept = {name: value for name, value in report.items() if name != "alpha"}
    return kept if alpha == 1 else {**kept, "alpha": alpha}


def mean_loss(found: Evaluation) -> float:
    """The log loss of an evaluation, of several labels an item over all of them; of a regression the mean absolute error. It is
    defined where the main score is not; infinite where no item is of a class that was trained."""
    named = {score.name: score.value for score in found.scores}
    if found.task == "multi-label":
        right = np.where(found.targets > 0.5, found.outputs, 1 - found.outputs).astype(np.float64)
        return float(-np.log(right.clip(1e-12, 1.0)).mean())
    return float(named.get("log loss" if found.task == "single-label" else "mean absolute error", math.inf))
