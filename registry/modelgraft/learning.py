"""What a head that trains on features and the adapters promise each other. Types only: importing this imports no torch.

A head is a class that a plugin announces with `modelgraft.HeadSpec`. Nothing has to be subclassed. It sees features, never a
model or a file: so one head serves images and texts, and every provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from modelgraft.contract import ScoreRule

if TYPE_CHECKING:
    import torch

__all__ = [
    "Examples",
    "LearnedHead",
    "Task",
    "TextClasses",
    "listening",
    "progress",
]

Task = Literal["single-label", "multi-label", "regression"]
"""One class per item; any number of classes per item, each alone; numbers."""

_listener: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("_listener", default=None)


@contextmanager
def listening(listener: Callable[[str, int, int], None] | None) -> Iterator[None]:
    """Tell ``listener`` what heads do within a ``with``: what it is, how much is done, how much there is. None hears nothing."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def progress(what: str, done: int, total: int) -> None:
    """Say how far a head has got with ``what``: ``done`` of ``total``, in steps that take about as long as one another.

    A head that takes long calls it now and then; a user at a terminal then sees how much is left.
    """
    if (listener := _listener.get()) is not None:
        listener(what, done, total)


@dataclass(frozen=True, slots=True)
class TextClasses:
    """The classes as the text tower of a dual encoder has them: what zero-shot classification starts from."""

    weight: torch.Tensor
    """(C, D) float32, a class a row, in the space of the features; of length 1 where ``rule.similarity`` is the cosine."""
    rule: ScoreRule


@dataclass(frozen=True, slots=True)
class Examples:
    """What a head trains on: the train split and nothing else. Every tensor is on one device."""

    features: torch.Tensor
    """(N, D) float32, as the backbone gives them: not normalised, not centred."""
    targets: torch.Tensor
    """single-label: (N,) int64, class numbers. multi-label: (N, C) float32, 0 or 1. regression: (N, K) float64."""
    task: Task
    classes: tuple[str, ...]
    """C names; of a regression the K names of its columns."""
    folds: torch.Tensor
    """(N,) int64: the fold of each item, 0 ... F-1, stratified; hyper-parameters are chosen on a fold by what was trained on the
    others. One and the same number everywhere: there is nothing to choose by (too few items)."""
    seed: int = 0
    class_weights: torch.Tensor | None = None
    """(C,) float32, a factor on the loss of the items of each class; None weighs all items alike."""
    text: TextClasses | None = None
    """Given for dual encoders."""
    unlabelled: torch.Tensor | None = None
    """(M, D) float32: items of the same kind without a label; semi-supervised heads train on them too."""
    item_weights: torch.Tensor | None = None
    """(N,) float32, a factor on the loss of each item, beside that of its class; given only to heads that say ``item-weights``
    among what they use (`modelgraft.HeadSpec`)."""


@runtime_checkable
class LearnedHead(Protocol):
    """A head that is fitted to `Examples`, can be saved and made again. (`modelgraft.Head` is what all heads have.)"""

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """A head fitted to ``examples``, on their device; hyper-parameters that ``settings`` leaves open are chosen by the folds.

        Deterministic in ``examples.seed``.

        Raises:
            UsageError: a setting that does not exist or cannot be, a task the head cannot do.
        """
        ...

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D) on the head's device; of a regression the predicted values, which may be float64."""
        ...

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 in [0, 1]; rows sum to 1 for single-label tasks. Not asked for in a regression."""
        ...

    def to(self, device: torch.device) -> Self:
        """The head on another device."""
        ...

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(tensors, settings): all it takes to make the head again; settings are plain JSON types."""
        ...

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Self:
        """The head that gave this `state`."""
        ...

    def report(self) -> dict[str, Any]:
        """What was chosen and how well it was found, as plain JSON types: shown to the user and kept in the card.

        Keys that the reports know: ``chosen`` (setting -> value), ``curve`` (a list of ``{setting: value, "score": mean,
        "low": ..., "high": ...}`` over the folds), ``certificate`` (bound on the distance to the optimum), ``notes``
        (lines for the user).
        """
        ...
