"""What a score is to be compared with: what needs no model."""

from __future__ import annotations

import numpy as np

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.metrics.scores import Evaluation, Score, wilson


def chance_of(train: Dataset, evaluation: Evaluation) -> Score:
    """Of the training items' most frequent class, its share among the test items."""
    if evaluation.task != "single-label" or train.targets is None:
        return Score("none", float("nan"), float("nan"), float("nan"))
    frequent = int(np.bincount(train.targets).argmax())
    name = train.classes[frequent]
    place = evaluation.classes.index(name)
    hits = int((evaluation.targets == place).sum())
    count = len(evaluation.targets)
    return Score(f"always {name!r}", hits / max(count, 1), *wilson(hits, count))
