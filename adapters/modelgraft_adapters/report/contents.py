"""What a report of a probe holds, before it is a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelgraft.learning import Task

from modelgraft_adapters.metrics.scores import Evaluation, Score
from modelgraft_adapters.metrics.spread import CurvePoint


@dataclass(frozen=True, slots=True)
class HardExample:
    """A test item with a high loss."""

    identity: str
    truth: str
    predicted: str
    loss: float
    """Nats (single-label: of its class; multi-label: the sum over the classes); of a regression root mean squared errors."""
    picture: str | None = None
    """A JPEG of at most 128 x 128 pixels as a ``data:`` URI."""
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """A test item that the training data have too."""

    test: str
    train: str
    kind: str
    distance: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """By phase: ``embedding``, ``learning``, ``testing`` ..., in the order to show."""
    items: int = 0
    encoded: int = 0
    """Items, and how many of them went through the model; the others were in the feature store."""
    peak_mib: float | None = None
    """Of the process."""
    gpu_mib: float | None = None

    @property
    def items_per_second(self) -> float | None:
        """Items through the model per second of the phase ``embedding``; None where none went."""
        seconds = self.seconds.get("embedding", 0.0)
        return self.encoded / seconds if self.encoded and seconds > 0 else None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Everything that the page of `build_report` shows."""

    data_name: str
    model: str
    head: str
    modality: str
    evaluation: Evaluation
    trained_on: int
    """Labelled items that were trained on."""
    zero_shot: Score | None = None
    """The main score by the names of the classes alone, on the same test items; None where the model cannot."""
    majority: tuple[str, float] | None = None
    """What always saying the most frequent class of training is called, and what it scores."""
    curve: Sequence[CurvePoint] = ()
    found: Mapping[str, Any] = field(default_factory=dict)
    """The head's report (`modelgraft.learning.LearnedHead.report`)."""
    hardest: Sequence[HardExample] = ()
    repeats: Sequence[Repeat] = ()
    notes: Sequence[str] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Identity -> reason, of training and test items."""
    cost: Cost = field(default_factory=Cost)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What makes it again, as plain JSON types."""
    command: str | None = None
    created: str | None = None

    @property
    def task(self) -> Task:
        """Of the evaluation."""
        return self.evaluation.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the adapter."""
        return self.evaluation.classes
