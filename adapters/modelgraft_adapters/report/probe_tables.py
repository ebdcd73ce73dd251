"""The tables of the report: the confusion matrix, the classes one by one, what makes it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelgraft_adapters.metrics.scores import wilson
from modelgraft_adapters.report.contents import ProbeReport
from modelgraft_adapters.report.probe_figures import percent
from modelgraft_adapters.report.thumbnails import heat_map

MOST_CLASSES: Final = 30
"""Of more classes the confusion matrix is a heat map without numbers."""
MOST_PAIRS: Final = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """Items of one class that were taken for another."""

    count: int
    share: float
    """Of the row's class."""
    right: bool
    title: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """The matrix whole (up to 30 classes) or as an image, and the pairs most often confused."""

    classes: tuple[str, ...]
    rows: list[list[Cell]] | None
    picture: str | None
    pairs: list[tuple[str, str, int, str]]
    """(class, taken for, items, share of the class)."""
    strangers: int
    """Test items of classes that were not trained on."""


def confusion(report: ProbeReport) -> Confusion | None:
    """Of single-label tasks."""
    if report.task != "single-label" or not len(report.evaluation.targets):
        return None
    matrix = report.evaluation.confusion
    names = report.classes
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(int(n) // len(names), int(n) % len(names)) for n in order if wrong.flat[n] > 0]
    small = len(names) <= MOST_CLASSES
    return Confusion(
        names,
        [
            [
                Cell(
                    int(matrix[r, c]),
                    round(float(shares[r, c]), 3),
                    r == c,
                    f"{names[r]} → {names[c]}: {int(matrix[r, c])}",
                )
                for c in range(len(names))
            ]
            for r in range(len(names))
        ]
        if small
        else None,
        None if small else heat_map(shares),
        [(names[r], names[c], int(matrix[r, c]), percent(float(shares[r, c]))) for r, c in pairs],
        int((report.evaluation.targets < 0).sum()),
    )


def class_table(report: ProbeReport) -> tuple[list[str], list[list[str]]]:
    """(column names, rows): precision and recall of each class; of multi-label tasks the average precision too."""
    if report.task == "single-label":
        matrix = report.evaluation.confusion
        given = np.bincount(report.evaluation.predicted, minlength=len(report.classes))
        rows = [
            [name, *_rates(int(matrix[n, n]), int(given[n]), int(matrix[n].sum()))]
            for n, name in enumerate(report.classes)
        ]
        return ["class", "test items", "recall", "95 % interval", "precision", "F1"], rows
    if report.task == "multi-label":
        from sklearn.metrics import average_precision_score

        targets, outputs = report.evaluation.targets > 0.5, report.evaluation.outputs
        rows = []
        for n, name in enumerate(report.classes):
            on, said = targets[:, n], outputs[:, n] > 0.5
            precision = float(average_precision_score(on, outputs[:, n])) if on.any() else math.nan
            rows.append([name, *_rates(int((on & said).sum()), int(said.sum()), int(on.sum())), percent(precision)])
        return ["class", "test items", "recall", "95 % interval", "precision", "F1", "average precision"], rows
    return [], []


def _rates(hits: int, said: int, there: int) -> list[str]:
    recall = hits / there if there else math.nan
    precision = hits / said if said else math.nan
    low, high = wilson(hits, there)
    f1 = 2 * hits / (said + there) if said + there else math.nan
    interval = f"{percent(low)} to {percent(high)}" if there else "–"
    return [str(there), percent(recall), interval, percent(precision), percent(f1)]


def flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows: (``model / revision``, text)."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        where = f"{before} / {name}" if before else str(name)
        if isinstance(value, Mapping):
            rows += flat(value, where)
        elif value is not None and value != [] and not (isinstance(value, list) and isinstance(value[0], Mapping)):
            rows.append((where, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else _plain(value)))
    return rows


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
