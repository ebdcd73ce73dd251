"""What the heads of this package share: checks of what they are given, settings, vectors of length 1, saving."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, TextClasses
from torch import nn

ABSENT = -1e4
"""The logit of a class that had no example: below every other, and finite."""
SHARPEST = 1e3
"""The largest factor a cosine is multiplied by for a logit: so no logit gets near `ABSENT`, or beyond float32."""
TILE = 2**24
"""Numbers in the largest intermediate matrix: 64 MB in float32."""


class FittedHead(nn.Module):
    """A head whose tensors are buffers and whose settings are plain JSON types: so it moves, saves and comes back alike.

    Args:
        tensors: name -> tensor; each becomes an attribute.
        settings: all else that prediction takes, with ``task`` and ``report``.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach())
        self.settings = dict(settings)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(tensors, settings): all it takes to make the head again."""
        return {name: tensor.contiguous() for name, tensor in self.named_buffers()}, dict(self.settings)

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Self:
        """The head that gave this `state`."""
        return cls(tensors, settings)

    def report(self) -> dict[str, Any]:
        """``chosen``, ``curve`` and ``notes``, as `modelgraft.learning.LearnedHead.report` has them."""
        return dict(self.settings["report"])

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D) on the head's device."""
        raise NotImplementedError

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: softmax of the logits, or for multi-label tasks their sigmoid."""
        logits = self.logits(features)
        return logits.sigmoid() if self.settings["task"] == "multi-label" else logits.softmax(dim=-1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As `logits`."""
        return self.logits(features)


def checked(examples: Examples, head: str, tasks: Sequence[str] = ("single-label",)) -> Examples:
    """``examples``, if a head can train on them.

    Raises:
        UsageError: a task that is not one of ``tasks``, no item, numbers that are not finite, targets that are no class.
    """
    if examples.task not in tasks:
        raise UsageError(
            f"the head {head!r} does not take {examples.task} tasks, only {', '.join(tasks)}; take another head"
        )
    _check_features(examples)
    _check_weights(examples)
    _check_item_weights(examples)
    if examples.folds.shape != (len(examples.features),) or examples.folds.is_floating_point():
        raise UsageError(
            f"{len(examples.features)} items and folds of shape {tuple(examples.folds.shape)}; give a whole number each"
        )
    if not len(examples.features):
        raise UsageError(f"the head {head!r} has no example to train on; give it labelled items")
    if len(examples.targets) != len(examples.features):
        raise UsageError(f"{len(examples.features)} items and {len(examples.targets)} targets; give one for each")
    _check_targets(examples)
    return examples


def _check_features(examples: Examples) -> None:
    for what, features in (("features", examples.features), ("features without labels", examples.unlabelled)):
        if features is None:
            continue
        if features.ndim != 2:
            raise UsageError(f"the {what} have the shape {tuple(features.shape)}, not (items, numbers)")
        broken = (~torch.isfinite(features).all(dim=1)).nonzero().flatten()
        if len(broken):
            raise UsageError(
                f"the {what} of {len(broken)} of {len(features)} items (the first: item {int(broken[0])}) are not finite "
                "numbers; leave these items out"
            )


def _check_weights(examples: Examples) -> None:
    weights = examples.class_weights
    if weights is not None:
        if weights.shape != (len(examples.classes),):
            raise UsageError(
                f"{tuple(weights.shape)} class weights for {len(examples.classes)} classes; give one for each"
            )
        if not bool((weights >= 0).all()) or not bool(torch.isfinite(weights).all()):
            bad = int((~(weights >= 0) | ~torch.isfinite(weights)).nonzero()[0])
            raise UsageError(
                f"the class weight of {examples.classes[bad]!r} is {float(weights[bad])}; give finite numbers of at least 0"
            )


def _check_item_weights(examples: Examples) -> None:
    weights = examples.item_weights
    if weights is None:
        return
    if examples.task == "regression":
        raise UsageError("items that count unlike are of classification; a regression weighs all alike")
    if weights.shape != (len(examples.features),):
        raise UsageError(f"{tuple(weights.shape)} item weights for {len(examples.features)} items; give one for each")
    if not bool(torch.isfinite(weights).all()) or not bool((weights >= 0).all()) or not bool((weights > 0).any()):
        raise UsageError("item weights are finite numbers of at least 0, and some above 0")


def _check_targets(examples: Examples) -> None:
    weights = examples.class_weights
    if examples.task == "single-label":
        targets = examples.targets
        if int(targets.min()) < 0 or int(targets.max()) >= len(examples.classes):
            raise UsageError(
                f"targets from {int(targets.min())} to {int(targets.max())} for {len(examples.classes)} classes"
            )
        if weights is not None and not bool((weights[targets] > 0).any()):
            raise UsageError(
                "the class weights of all items are 0: there is nothing to train on; give some a weight above 0"
            )
    elif examples.targets.ndim != 2 or examples.targets.shape[1] != len(examples.classes):
        raise UsageError(
            f"targets of shape {tuple(examples.targets.shape)} for {len(examples.features)} items and "
            f"{len(examples.classes)} columns"
        )
    elif not torch.isfinite(examples.targets).all():
        raise UsageError("some targets are not finite numbers; leave these items out")


def text_of(examples: Examples, head: str) -> TextClasses:
    """The class embeddings.

    Raises:
        UsageError: there are none, or they are of other classes or another space than the features.
    """
    text = examples.text
    if text is None:
        raise UsageError(
            f"the head {head!r} needs a model that also embeds texts (a dual encoder); take another model or head"
        )
    if text.weight.shape != (len(examples.classes), examples.features.shape[1]):
        raise UsageError(
            f"class embeddings of shape {tuple(text.weight.shape)} for {len(examples.classes)} classes and features of "
            f"{examples.features.shape[1]} numbers"
        )
    return text


def unlabelled_of(examples: Examples, head: str) -> torch.Tensor:
    """(M, D) float32, the items without a label.

    Raises:
        UsageError: there are none.
    """
    if examples.unlabelled is None or not len(examples.unlabelled):
        raise UsageError(
            f"the head {head!r} needs items without a label beside the labelled ones; give some or take another head"
        )
    if examples.unlabelled.shape[1] != examples.features.shape[1]:
        raise UsageError(
            f"labelled items of {examples.features.shape[1]} numbers and unlabelled ones of {examples.unlabelled.shape[1]}"
        )
    return examples.unlabelled


class Given:
    """The settings a user gave: each is asked for once, and what nobody asks for does not exist.

    Args:
        head: its name, for messages.
        settings: name -> value; None stands for "choose".
        known: every setting the head has.

    Raises:
        UsageError: a setting that does not exist.
    """

    def __init__(self, head: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
        self.head = head
        self.values = {name: value for name, value in settings.items() if value is not None}
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}" if known else "it has none"
                )
                raise UsageError(f"the head {head!r} has no setting {name!r}; {hint}")

    def number(
        self, name: str, low: float, high: float = float("inf"), *, below: bool = False, above: bool = False
    ) -> float | None:
        """A finite number in [low, high]; ``above``: not low itself, ``below``: not high itself. None where it is not given.

        Python's and numpy's numbers are taken; True, False and texts are none.
        """
        value = self.values.get(name)
        if value is None:
            return None
        number = _finite(value)
        if not (low < number if above else low <= number) or not (number < high if below else number <= high):
            bounds = f"{'above' if above else 'at least'} {low:g}"
            if high != math.inf:
                bounds += f" and {'below' if below else 'at most'} {high:g}"
            raise UsageError(f"{name}={value!r:.100} for the head {self.head!r}: give a finite number {bounds}")
        return number

    def numbers(self, name: str, low: float) -> list[float] | None:
        """At least one finite number above ``low``, in a list or the like; None where it is not given."""
        value = self.values.get(name)
        if value is None:
            return None
        try:
            found = [] if isinstance(value, str) else [_finite(one) for one in value]
        except TypeError:  # a single number
            found = []
        if not found or not all(number > low for number in found):
            raise UsageError(
                f"{name}={value!r:.100} for the head {self.head!r}: give a list of finite numbers above {low:g}"
            )
        return found

    def whole(self, name: str, low: int) -> int | None:
        """A whole number of at least ``low``; None where it is not given."""
        number = self.number(name, low)
        if number is not None and number != int(number):
            raise UsageError(f"{name}={self.values[name]!r} for the head {self.head!r}: give a whole number")
        return None if number is None else int(number)

    def one_of(self, name: str, words: Sequence[str]) -> str | None:
        """One of ``words``; None where it is not given."""
        value = self.values.get(name)
        if value is not None and value not in words:
            raise UsageError(f"{name}={value!r} for the head {self.head!r}: give one of {', '.join(words)}")
        return value


def overshot(head: FittedHead, examples: Examples, given: Given) -> list[str]:
    """A line for the user where a rate that was given taught a single-label head less than the most frequent class says."""
    if examples.task != "single-label" or "rate" not in given.values:
        return []
    right = float((head.logits(examples.features).argmax(dim=1) == examples.targets).float().mean())
    counts = torch.bincount(examples.targets)
    most = float(counts.max()) / len(examples.targets)
    if right >= most:
        return []
    return [
        f"with rate={given.values['rate']:g} the head is right on {right:.0%} of the items it trained on, fewer than 'always "
        f"{examples.classes[int(counts.argmax())]}' ({most:.0%}); take a lower rate"
    ]


def _finite(value: Any) -> float:
    """A number as a float; NaN for what is no finite number. True is a slip of the pen, not 1."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """(..., D) of length 1 in the dtype given; of any scale: what would over- or underflow when squared is scaled first. A
    vector of zeros stays one."""
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    return nn.functional.normalize(vectors / torch.where(largest > 0, largest, 1.0), dim=-1)


def one_hot(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """(N, C) float32 of class numbers (N,) int64."""
    return nn.functional.one_hot(targets, classes).float()


def tiles(rows: int, width: int) -> list[slice]:
    """Slices of ``rows`` such that a tile of ``width`` columns has at most `TILE` numbers (and at least one row)."""
    step = max(1, TILE // max(1, width))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def item_weights(examples: Examples) -> torch.Tensor | None:
    """(N,) float32: the weight of each item's class; None where all items count alike. Single-label tasks."""
    return None if examples.class_weights is None else examples.class_weights[examples.targets]
