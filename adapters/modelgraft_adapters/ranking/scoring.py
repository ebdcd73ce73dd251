"""The scores of one candidate on features that are there: what it got right, item by item, and figures without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from modelgraft import load_head
from modelgraft.errors import UsageError
from modelgraft.learning import Examples

from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.data.sampling import nested_order
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.relevance import gaussian_overlap, leep, log_evidence_of_labels, nce, shrunk_h_score

COUNTED: Final = ("probe", "knn")
"""Accuracies over folds: known item by item, so that differences have intervals."""
WITHOUT_TRAINING: Final = ("logme", "h-score", "gbc")
OF_SOURCE: Final = ("leep", "nce")
"""From the model's own classes: these take a second pass through the model."""
SCORES: Final = (*COUNTED, *WITHOUT_TRAINING, *OF_SOURCE)
NAMES: Final = {
    "probe": "accuracy of a linear probe",
    "knn": "accuracy of k-NN",
    "logme": "LogME",
    "h-score": "shrunk H-score",
    "gbc": "GBC",
    "leep": "LEEP",
    "nce": "NCE",
}
FOLDS: Final = 5
STRENGTHS: Final = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of C, for features whose mean squared distance from their mean is 1."""
SIZES: Final = (1 / 8, 1 / 4, 1 / 2)
"""Of the training part of a fold: where the learning curve is taken, beside all of it."""


@dataclass(slots=True)
class Scored:
    """What was found."""

    values: dict[str, float] = field(default_factory=dict)
    """Score -> figure, larger is better; only those that are defined."""
    right: dict[str, np.ndarray] = field(default_factory=dict)
    """Of `COUNTED`: (N,) bool."""
    missing: dict[str, str] = field(default_factory=dict)
    """Score -> why it is not there."""
    curve: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """Labels that were trained on -> (N,) bool, by the probe, fewest first."""


def score_features(
    features: np.ndarray,
    targets: np.ndarray,
    scores: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    curve: bool = False,
    source: np.ndarray | None = None,
) -> Scored:
    """Score features (N, D) against class numbers (N,), of which at least one class has two items.

    ``probe`` chooses C by five folds and predicts each fold by what was trained on the others, at that C; ``knn`` chooses k within
    the training part of each fold. The figures without training see all N items.

    Args:
        scores: some of `SCORES`.
        groups: (N,) what stays on one side of every fold.
        seed: of the folds.
        curve: find the probe's learning curve too.
        source: (N, Z) what the model predicts for its own classes, for LEEP and NCE.

    Raises:
        UsageError: nothing to make folds of, features that are not finite, unknown scores.
    """
    if unknown := [name for name in scores if name not in SCORES]:
        raise UsageError(f"no score {unknown[0]!r}; there are {', '.join(SCORES)}")
    if not np.isfinite(features).all():
        raise UsageError("features that are not finite; leave those items out")
    _, numbers = np.unique(targets, return_inverse=True)
    fold = folds(numbers, "single-label", FOLDS, seed, groups)
    if not fold.any():
        raise UsageError(
            f"{len(numbers)} items cannot be put into folds: no class has two items, or all are of one group"
        )
    rows = _scaled(features)
    found = Scored()
    bench = _Bench(torch.from_numpy(rows), torch.from_numpy(numbers.astype(np.int64)), fold, seed, groups)
    if "knn" in scores:
        found.right["knn"] = bench.by_fold("knn", {})
    if "probe" in scores or curve:
        strength = bench.strength()
        found.right["probe"] = bench.by_fold("linear", {"C": strength})
        if curve:
            found.curve = [*bench.fewer({"C": strength}), (bench.trained_on(), found.right["probe"])]
    found.values |= {name: float(right.mean()) for name, right in found.right.items()}
    several = np.bincount(numbers)[numbers] > 1
    alone: dict[str, Callable[[], float]] = {
        "logme": lambda: log_evidence_of_labels(features, numbers),
        "h-score": lambda: shrunk_h_score(rows, numbers),
        "gbc": lambda: gaussian_overlap(rows[several], numbers[several]),
    }
    if source is not None:
        alone |= {"leep": lambda: leep(source, numbers), "nce": lambda: nce(source.argmax(axis=1), numbers)}
    for name in scores:
        if name in COUNTED:
            continue
        if name not in alone:
            found.missing[name] = "the model has no classes of its own"
            continue
        try:
            value = alone[name]()
        except UsageError as error:
            found.missing[name] = str(error)
            continue
        if math.isfinite(value):
            found.values[name] = value
        else:
            found.missing[name] = "not defined by these items"
    return found


def _scaled(features: np.ndarray) -> np.ndarray:
    """Features (N, D) float32 less their mean, of mean squared length 1: one grid of C serves all models."""
    rows = features.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    size = math.sqrt(float((rows**2).sum(axis=1).mean()))
    if not size > 0:
        raise UsageError("the features of all items are one and the same: they say nothing of any label")
    return np.ascontiguousarray(rows / size, np.float32)


class _Bench:
    """Heads on parts of one set of features."""

    def __init__(
        self, rows: torch.Tensor, targets: torch.Tensor, fold: np.ndarray, seed: int, groups: np.ndarray | None
    ) -> None:
        self.rows, self.targets, self.fold, self.seed, self.groups = rows, targets, fold, seed, groups
        self.classes = tuple(map(str, range(int(targets.max()) + 1)))

    def _examples(self, index: np.ndarray, inner: bool) -> Examples:
        where = torch.from_numpy(index)
        targets = self.targets[where]
        groups = None if self.groups is None else self.groups[index]
        inside = np.zeros(len(index), np.int64)
        if inner:
            inside = folds(targets.numpy(), "single-label", FOLDS, self.seed, groups)
        return Examples(
            self.rows[where], targets, "single-label", self.classes, torch.from_numpy(inside), seed=self.seed
        )

    def strength(self) -> float:
        """The C that is best over the folds."""
        everything = Examples(
            self.rows, self.targets, "single-label", self.classes, torch.from_numpy(self.fold), seed=self.seed
        )
        _, report = head_calls.fit_head("linear", load_head("linear"), everything, {"Cs": STRENGTHS})
        return float(report["chosen"]["C"])

    def by_fold(self, head: str, settings: dict[str, Any], share: float = 1.0) -> np.ndarray:
        """(N,) bool: each item by what was trained on the other folds, or on a stratified part of them."""
        right = np.zeros(len(self.rows), bool)
        for number in range(int(self.fold.max()) + 1):
            held, inside = np.flatnonzero(self.fold == number), np.flatnonzero(self.fold != number)
            if share < 1:
                targets = self.targets.numpy()[inside]
                inside = inside[nested_order(targets, self.seed)[: max(2, round(share * len(inside)))]]
            targets = self.targets.numpy()
            if len(np.unique(targets[inside])) < 2:  # nothing to train; it knows the one class
                right[held] = targets[held] == targets[inside[0]]
                continue
            examples = self._examples(inside, not settings)
            fitted, _ = head_calls.fit_head(head, load_head(head), examples, settings)
            outputs = head_calls.outputs_of(
                fitted,
                self.rows.numpy()[held],
                len(self.classes),
                "single-label",
                head_calls.head_owner(head),
                torch.device("cpu"),
            )
            right[held] = outputs.argmax(axis=1) == targets[held]
        return right

    def trained_on(self) -> int:
        """Items that a fold is predicted by, the mean."""
        count = int(self.fold.max()) + 1
        return round(len(self.rows) * (count - 1) / count)

    def fewer(self, settings: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
        """The learning curve below all labels."""
        return [(round(s * self.trained_on()), self.by_fold("linear", settings, s)) for s in SIZES]
