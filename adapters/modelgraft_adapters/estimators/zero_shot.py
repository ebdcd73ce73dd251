"""Zero-shot classification: images or texts by the names of their classes, with no training."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Final, Self

import numpy as np
from modelgraft import Entry
from modelgraft.errors import UsageError
from sklearn.base import ClassifierMixin

from modelgraft_adapters.calls.pickling import Packed
from modelgraft_adapters.data.cells import is_missing
from modelgraft_adapters.data.names import some
from modelgraft_adapters.data.own_labels import own_array, places
from modelgraft_adapters.defaults import checked_model
from modelgraft_adapters.estimators.habits import Estimator
from modelgraft_adapters.estimators.zero_shot_core import ZeroShot, checked_names
from modelgraft_adapters.media.texts import short

_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?")


class ZeroShotClassifier(ClassifierMixin, Estimator, ZeroShot):  # type: ignore[misc]
    """Classify images (dual encoders: CLIP, SigLIP, CoCa ...) or texts (sentence encoders) by label names.

    The class of a label is the mean embedding of its prompts; a score is the model's own softmax or sigmoid of the scaled
    cosine (Radford et al. 2021; Zhai et al. 2023; for texts Yin et al. 2019 with sentence embeddings).

    Args:
        model: a name (see `modelgraft.resolve`) or a loaded backbone.
        labels: class names, each once: texts, or whole numbers that are read as they are written.
        templates: one template, a list, or the name of an ensemble (``imagenet-80``, ``simple``, ``none`` ...); None takes what
            the model asks for, else ``a photo of a {}.`` for images and ``This example is {}.`` for texts.
        descriptions: for some labels, texts that describe them; they take the templates' place for that label.
        threshold: abstain (label None) where the best score is lower.
        device, dtype: as for `modelgraft.load`; ignored for a loaded backbone.
        batch_size: items per forward pass; None chooses by device.
        workers: decoding threads; None chooses.
        engine: what runs the model in place of torch (`modelgraft.list_engines`), if it gives the same embeddings; None is torch.

    Attributes:
        classes_: the labels, array (C,), in the order given: the columns of `predict_proba`.
        backbone, head: the loaded model and the classes' embeddings, made when first asked for.
        notes_: lines a user should see once: labels cut, not known to the model, or read alike.

    Raises:
        UsageError: no labels, a label twice, a model that cannot classify by name.
    """

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.target_tags.required = False
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name != "_ready"}
        named = isinstance(checked_model(self.model), (str, Entry))
        return state if named else {**state, "model": Packed.of(self.model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(self.model, Packed):
            self.model = self.model.unpacked()

    @property
    def classes_(self) -> np.ndarray:
        """(C,): the labels, in the order given."""
        own = own_array(list(self.labels))
        return np.array(checked_names(self.labels)) if own is None else own

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Learn nothing; the model is loaded, so that the first prediction does not wait for it."""
        self._made()
        return self

    def predict_proba(self, items: Iterable[Any]) -> np.ndarray:
        """Scores (N, C) float32, columns as `classes_`. A row of NaN, and a warning, for an item that cannot be read."""
        rows, errors = [], []
        for outcome in self._probabilities(items):
            if outcome.row is None:
                errors.append(f"{short(outcome.item)}: {outcome.error}")
                rows.append(np.full(len(self.labels), np.nan, np.float32))
            else:
                rows.append(outcome.row.numpy())
        for note in self.take_notes():
            warnings.warn(note, stacklevel=2)
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            warnings.warn(f"{len(errors)} of {len(rows)} items cannot be read: {errors[0]}{more}", stacklevel=2)
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def predict(self, items: Iterable[Any]) -> np.ndarray:
        """The best label of each item, array (N,) of object; None where it abstains or the item cannot be read."""
        scores = self.predict_proba(items)
        known = ~np.isnan(scores).any(axis=1)
        known[known] = True if self.threshold is None else scores[known].max(axis=1) >= self.threshold
        found = self.classes_[np.where(known[:, None], scores, 0).argmax(axis=1)]
        if not known.all():
            found = found.astype(object)
            found[~known] = None
        return found

    def score(self, items: Iterable[Any], y: Sequence[Any] | None = None, sample_weight: Any = None) -> float:
        """Accuracy against the true labels ``y``; an abstention, and an item that cannot be read, count as wrong.

        Args:
            y: the labels, or their numbers, 0 to C - 1, where no label can be meant by a number; None for one that is not known.
            sample_weight: (N,), how much each item counts.

        Raises:
            UsageError: no ``y``, one of another length or without a label, numbers that are ambiguous or too large.
        """
        if y is None:
            raise UsageError("no labels to score against; give y")
        if isinstance(y, (str, bytes)) or not hasattr(y, "__len__"):
            raise UsageError(f"y={y!r}: a list with the label of each item is needed")
        predicted = self.predict(items)
        if len(predicted) != len(y):
            raise UsageError(f"{len(predicted)} items and {len(y)} labels")
        truth = self._numbers(list(y))
        known = np.array([number is not None for number in truth], bool)
        if not known.any():
            raise UsageError("no item has a label to score against")
        there = {label: n for n, label in enumerate(self.classes_.tolist())}
        right = np.array([p is not None and there[p] == t for p, t in zip(predicted.tolist(), truth, strict=True)])
        weights = None if sample_weight is None else np.asarray(sample_weight, float)[known]
        return float(np.average(right[known], weights=weights))

    def _numbers(self, y: list[Any]) -> list[int | None]:
        """Which class each label is; -1 for one that is no class, None for one that is missing."""
        names = checked_names(self.labels)
        there = places(names, own_array(list(self.labels)))
        given = [None if is_missing(label) else label for label in y]
        present = [label for label in given if label is not None]
        own = all(isinstance(label, str) for label in self.labels)
        if own and present and all(isinstance(label, Integral) and not isinstance(label, bool) for label in present):
            if written := [name for name in names if _NUMBER.fullmatch(name.strip())]:
                raise UsageError(
                    f"y has numbers, and there are labels that are some: {some(written)}; give y as the labels are"
                )
            if strangers := [label for label in present if not 0 <= label < len(names)]:
                raise UsageError(
                    f"y has the number {strangers[0]}; the {len(names)} labels have the numbers 0 to {len(names) - 1}"
                )
            return [None if label is None else int(label) for label in given]
        found = [None if label is None else there.get(_own(label), -1) for label in given]
        if present and not any(number is not None and number >= 0 for number in found):
            warnings.warn(f"none of y ({some(present)}) is one of the labels ({some(names)})", stacklevel=3)
        return found


def _own(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label
