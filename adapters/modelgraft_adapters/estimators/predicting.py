"""What a fitted adapter says of items: predictions, how strange the items are for it, and a warning where a whole batch is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from modelgraft import HeadSpec
from modelgraft.errors import UsageError
from modelgraft.learning import LearnedHead, Task

from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.data.arrays import each_item
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.calibrating import Calibrated, with_set
from modelgraft_adapters.estimators.habits import Estimator
from modelgraft_adapters.estimators.prediction import Prediction, checked_threshold, prediction
from modelgraft_adapters.media.texts import short
from modelgraft_adapters.shift.reference import LEAST_ITEMS, MOST_ITEMS, Reference, judge, make_reference
from modelgraft_adapters.shift.sides import drawn


class UnlikeTrainingWarning(UserWarning):
    """A batch of items is stranger than what an adapter was trained on, beyond chance."""


class Predicting(Calibrated, Estimator):
    """The part of `estimators.base.Adapter` that predicts."""

    _seen: np.ndarray | None = None
    """(K, D): features of training items that the reference is made of when it is first asked for; most fits are never asked."""
    _reference: Reference | None = None

    if TYPE_CHECKING:  # what `Adapter` has, and this part asks for

        @property
        def task(self) -> Task: ...
        @property
        def classes(self) -> tuple[str, ...]: ...
        @property
        def classes_(self) -> np.ndarray: ...
        @property
        def spec(self) -> HeadSpec: ...
        @property
        def head_name(self) -> str: ...
        @property
        def extractor(self) -> Any: ...
        @property
        def drawn(self) -> int: ...
        @property
        def _on_features(self) -> bool: ...
        @property
        def _head_device(self) -> torch.device: ...
        @property
        def _dtype(self) -> type[np.floating[Any]]: ...
        def _fitted(self) -> LearnedHead: ...
        def _read(self, X: Any, y: Any, part: str | None, groups: Any = None) -> Dataset: ...

    def __getstate__(self) -> dict[str, Any]:
        made = self.reference_
        return {**{n: v for n, v in super().__getstate__().items() if n != "_seen"}, "_reference": made}

    @property
    def reference_(self) -> Reference | None:
        """A small sketch of the training features, by which `ood_scores` are known and batches are compared with them; None of
        fewer than 50 items, of features that were given in the place of items, and of a backbone that was trained further (its
        features of what it was trained on are no sample of others')."""
        if self._seen is not None:
            self._reference, self._seen = make_reference(self._seen, self.drawn), None
        return self._reference

    def _remember(self, features: np.ndarray) -> None:
        """Keep what the reference is made of."""
        self._reference = self._seen = None
        if not self._on_features and features.ndim == 2 and len(features) >= LEAST_ITEMS:
            rng = np.random.default_rng(self.drawn)
            self._seen = np.array(features[drawn(len(features), MOST_ITEMS, rng)], np.float32)

    def ood_scores(self, X: Any) -> np.ndarray:
        """(N,) float64: for each item the share of training items that are at least as strange, by items that were held out.

        About uniform in (0, 1] for items like those of the training, near 0 for strange ones: a score up to 0.01 is as rare there
        as one in a hundred. NaN, and a warning, for an item that cannot be read.

        Raises:
            UsageError: the adapter has no reference (see `reference_`).
        """
        reference = self.check_reference()
        data = self._read(X, None, None)
        found = self.extractor.embed(data.items)
        scores = np.full(len(data), np.nan)
        scores[found.good] = reference.shares(found.features[found.good])
        _warn_unreadable(data, found.errors, 3)
        return scores

    def check_reference(self) -> Reference:
        """Return `reference_`.

        Raises:
            UsageError: there is none, or nothing was trained yet.
        """
        self._fitted()
        if (reference := self.reference_) is None:
            raise UsageError(
                "this adapter cannot say how strange items are, as it has no reference of what it was trained on: one of "
                f"fewer than {LEAST_ITEMS} items, on features in place of items, with a backbone that was trained further, or "
                "saved by an earlier version has none; 'modelgraft probe' with more items makes one that can"
            )
        return reference

    def classify(
        self,
        items: Iterable[Any],
        *,
        threshold: float | None = None,
        coverage: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Iterator[Prediction]:
        """A `Prediction` per item, in order, as they become known; one that cannot be read is a row with its reason.

        Args:
            threshold: no label where the best score is lower; multi-label: what a class must be over, in place of one half.
            coverage: each prediction has a set of classes that holds the true one so often (`predict_set`).
            tell: told after the last item if they are unlike the training data; None raises an `UnlikeTrainingWarning`.
        """
        head = self._fitted()
        threshold = checked_threshold(threshold)
        limit = None if coverage is None else self.set_limit(coverage)
        reference = self.reference_
        oods: list[float] = []
        given = self._read(items, None, None).items if self._on_features else each_item(items)
        for row in self.extractor.stream(given):
            if row.features is None:
                yield Prediction(row.item, None, None, {}, error=row.error)
                continue
            values = self._outputs(head, row.features[None])[0]
            found = prediction(row.item, values.tolist(), self.classes, self.task, threshold=threshold, note=row.note)
            if limit is not None:
                found = with_set(found, limit)
            if reference is not None:
                oods.append(float(reference.shares(row.features[None])[0]))
                found = replace(found, ood=oods[-1])
            yield found
        if reference is not None and (line := _unlike(np.array(oods), reference)):
            if tell is None:
                warnings.warn(line, UnlikeTrainingWarning, stacklevel=2)
            else:
                tell(line)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) float32, columns as `classes_`; a row of NaN, and a warning, for an item that cannot be read.

        Raises:
            UsageError: a regression has no probabilities.
        """
        self._fitted()
        if self.task == "regression":
            raise UsageError("a regression has no probabilities; use predict")
        return self._all_outputs(self._read(X, None, None))

    def predict(self, X: Any) -> np.ndarray:
        """single-label: (N,), the class of each item, of the type of `classes_`; where some cannot be read of object, with None
        for those. multi-label: (N, C) float32 of 0 and 1 (probability over one half). regression: (N, K) float64. Rows of NaN for
        items that cannot be read."""
        self._fitted()
        outputs = self._all_outputs(self._read(X, None, None))
        broken = np.isnan(outputs).any(axis=1)
        if self.task == "regression":
            return outputs
        if self.task == "multi-label":
            return np.where(broken[:, None], np.nan, outputs > 0.5).astype(np.float32)
        found = self.classes_[np.where(broken[:, None], 0, outputs).argmax(axis=1)]
        if broken.any():
            found = found.astype(object)
            found[broken] = None
        return found

    def _all_outputs(self, data: Dataset) -> np.ndarray:
        head = self._fitted()
        found = self.extractor.embed(data.items)
        good = found.good
        outputs = np.full((len(good), len(self.classes)), np.nan, self._dtype)
        outputs[good] = self._outputs(head, found.features[good])
        _warn_unreadable(data, found.errors, 4)
        reference = self.reference_
        if reference is not None and (line := _unlike(reference.shares(found.features[good]), reference)):
            warnings.warn(line, UnlikeTrainingWarning, stacklevel=3)
        return outputs

    def _outputs(self, head: LearnedHead, features: np.ndarray) -> np.ndarray:
        """(B, C): probabilities in float32, or of a regression the values in float64."""
        return self._tempered(self._raw_outputs(head, features))

    def _raw_outputs(self, head: LearnedHead, features: np.ndarray) -> np.ndarray:
        """As `_outputs`, without the temperature."""
        if not len(features):
            return np.zeros((0, len(self.classes)), self._dtype)
        return head_calls.outputs_of(
            head, features, len(self.classes), self.task, head_calls.head_owner(self.head_name), self._head_device
        )


def _unlike(oods: np.ndarray, reference: Reference) -> str:
    """A line on a batch that is unlike the training data, or none."""
    test = judge(oods, reference.items)
    if test is None or not test.unlike:
        return ""
    return (
        f"these {test.items:,} items are unlike the training data (p = {test.p_value:.1g}; "
        f"{100 * test.strange / test.items:.0f} % of them as strange as its strangest 1 %): scores that were measured there may "
        "not hold here; 'modelgraft gap' says more"
    )


def _warn_unreadable(data: Dataset, errors: Sequence[str | None], level: int) -> None:
    if found := [f"{short(data.identity(n))}: {e}" for n, e in enumerate(errors) if e is not None]:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        warnings.warn(f"{len(found)} of {len(errors)} items cannot be read: {found[0]}{more}", stacklevel=level)
