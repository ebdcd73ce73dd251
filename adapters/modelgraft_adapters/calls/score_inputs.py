"""Whether outputs, targets and features are what scores are of: shapes, finite numbers, classes that there are, probabilities."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from modelgraft.learning import Task

UNIT: Final = 1e-3
"""How far a probability may lie beyond [0, 1], and a row of them from the sum 1: half precision rounds."""
LARGEST: Final = 1e307
"""Numbers beyond it have differences beyond float64."""


def checked_inputs(task: Task, classes: int, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return targets, class numbers as int64, and outputs (N, ``classes``), if they can be scored.

    Raises:
        UsageError: they cannot; it names the first item that is wrong.
    """
    targets, outputs = np.asarray(targets), np.asarray(outputs)
    wanted = (len(targets), classes)
    if targets.ndim == 0 or outputs.shape != wanted or (task == "single-label") != (targets.ndim == 1):
        needs = "a class number" if task == "single-label" else f"{classes} numbers"
        raise UsageError(
            f"outputs of shape {outputs.shape} for targets of shape {targets.shape} and {classes} classes; a {task} task takes "
            f"{needs} and {classes} outputs for each item"
        )
    if task != "single-label" and targets.shape != wanted:
        raise UsageError(f"targets of shape {targets.shape} for outputs of shape {outputs.shape}; they take the same")
    if targets.dtype.kind not in "biuf" or outputs.dtype.kind not in "biuf":
        raise UsageError(f"targets of {targets.dtype} and outputs of {outputs.dtype}; scores are of numbers")
    if wrong := not_outputs(outputs, task):
        raise UsageError(f"the outputs to score hold {wrong}")
    if task == "single-label":
        return _class_numbers(targets, classes), outputs
    if task == "multi-label":
        _refuse(~np.isin(targets, (0, 1)).all(axis=1), targets, "neither 0 nor 1")
    else:
        _refuse(
            ~np.asarray(np.abs(targets.astype(np.float64)) <= LARGEST).all(axis=1), targets, "not finite, or too large"
        )
    return targets, outputs


def check_finite_rows(features: np.ndarray, whose: str = "") -> None:
    """Check that features (N, D) are finite numbers.

    Args:
        whose: of which items, for the message.

    Raises:
        UsageError: some are not; it says of how many items, and of which first.
    """
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        of = f" of {whose}" if whose else ""
        raise UsageError(
            f"the features of {len(broken)} of {len(features)} items{of} (the first: item {broken[0]}) are not finite numbers; "
            "leave these items out"
        )


def not_outputs(outputs: np.ndarray, task: Task | str) -> str:
    """Say why numbers (N, C) are no probabilities, or of a regression no values; empty where they are."""
    if not np.isfinite(outputs).all():
        return "numbers that are not finite"
    if not outputs.size:
        return ""
    if task == "regression":
        return "" if float(np.abs(outputs).max()) <= LARGEST else "numbers that are too large"
    low, high = float(outputs.min()), float(outputs.max())
    if low < -UNIT or high > 1 + UNIT:
        return f"probabilities from {low:.3g} to {high:.3g}"
    sums = outputs.sum(axis=1, dtype=np.float64)
    worst = float(sums[np.abs(sums - 1).argmax()])
    if task == "single-label" and abs(worst - 1) > UNIT * max(1.0, outputs.shape[1] ** 0.5):
        return f"probabilities that sum to {worst:.3g}, not to 1"
    return ""


def _class_numbers(targets: np.ndarray, classes: int) -> np.ndarray:
    whole = np.isfinite(targets) if targets.dtype.kind == "f" else np.ones(len(targets), bool)
    whole[whole] = targets[whole] == np.floor(targets[whole].astype(np.float64))
    there = whole.copy()
    there[whole] = (targets[whole].astype(np.float64) >= -1) & (targets[whole].astype(np.float64) < classes)
    _refuse(~there, targets, f"no class number from 0 to {classes - 1}, nor -1 for a class that was not trained")
    return targets.astype(np.int64)


def _refuse(wrong: Any, targets: np.ndarray, what: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise UsageError(f"the target of item {first} is {what}: {targets[first].tolist()!r:.100}")
