"""A fitted adapter as plain data: all that is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from modelgraft import Entry
from modelgraft.learning import Task

from modelgraft_adapters.metrics.calibration import Calibration
from modelgraft_adapters.shift.reference import Reference


@dataclass(frozen=True, slots=True, eq=False)
class SavedState:
    """What `saved.writing.write` is given."""

    task: Task
    classes: tuple[str, ...]
    values: np.ndarray | None
    """(C,): the classes as the labels that were trained on are; None where they are the names."""
    entry: Entry
    """Of the backbone."""
    pretrained: Mapping[str, Any]
    """Identity of the pretrained backbone: weights, preprocessing, provider (`features.identity`)."""
    features: Mapping[str, Any]
    """Where the features are taken: modality, layer, dtype, device, reading, width."""
    versions: Mapping[str, str]
    head: str
    tensors: Mapping[str, torch.Tensor]
    """The head's."""
    settings: Mapping[str, Any]
    """The head's."""
    trained: Mapping[str, torch.Tensor]
    """Of the backbone, as they are stored (`saved.tensors`); empty of a frozen one."""
    low_rank: Mapping[str, Any]
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None
    notes: tuple[str, ...]
    reference: Reference | None = None
    """Of the training features; None where there is none."""
    calibration: Calibration | None = None
