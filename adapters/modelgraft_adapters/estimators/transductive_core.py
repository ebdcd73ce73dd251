"""Zero-shot answers for a whole batch of unlabelled items: what `TransductiveZeroShotClassifier` does, without scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import torch
from modelgraft import Entry, load_head
from modelgraft.contract import TextBackbone
from modelgraft.errors import UsageError

from modelgraft_adapters.calls.stream import Outcome
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.defaults import IMAGE_MODEL
from modelgraft_adapters.estimators.label_embeddings import embed_labels
from modelgraft_adapters.estimators.prediction import Prediction, prediction
from modelgraft_adapters.estimators.zero_shot_core import ZeroShot, checked_names
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.transductive.checks import checked_pull
from modelgraft_adapters.transductive.class_means import ClassMeans, class_means
from modelgraft_adapters.transductive.class_shares import PULL, ClassFactors, estimated_shares, even_shares
from modelgraft_adapters.transductive.naming import LEAST, checked_method
from modelgraft_adapters.transductive.prompt_weights import prompt_weights, weighted_classes

FEW: Final = 10
"""Items per label under which shares and means of classes are little more than chance."""
ROWS: Final = 256
"""Items that are answered at once when they come in a stream."""


@dataclass(frozen=True, slots=True)
class WeightedPrompts:
    """Weights of the templates, and what they make of the classes."""

    weights: np.ndarray
    """(T,) float64, sum 1."""
    classes: np.ndarray
    """(C, D) float64 of length 1."""


@dataclass(frozen=True, slots=True)
class FittedRule:
    """What was fitted to a batch."""

    names: tuple[str, ...]
    method: str
    rule: ClassFactors | ClassMeans | WeightedPrompts | None
    """None where there was nothing to fit to: the answers are the plain ones."""
    items: int
    """Readable items that the rule was fitted to."""
    changed: int
    """Of these, how many have another first class than by plain zero-shot."""
    notes: tuple[str, ...]


class Transductive(ZeroShot):
    """Fit a rule to unlabelled items, then answer. Arguments and errors are `TransductiveZeroShotClassifier`'s."""

    fitted_: FittedRule | None = None

    def __init__(
        self,
        model: str | Entry | TextBackbone = IMAGE_MODEL,
        labels: Sequence[Any] = (),
        *,
        method: str,
        pull: float = PULL,
        templates: str | Sequence[str] | None = None,
        descriptions: Mapping[Any, Sequence[str]] | None = None,
        threshold: float | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
    ) -> None:
        self.method = method
        self.pull = pull
        super().__init__(
            model,
            labels,
            templates=templates,
            descriptions=descriptions,
            threshold=threshold,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
        )

    def _texts(self) -> list[list[str]]:
        checked_method(self.method)
        checked_pull(self.pull)
        if self.method == "prompt-weights" and self.descriptions:
            raise UsageError(
                "prompt-weights weighs templates, and descriptions take their place; leave one of them out"
            )
        return super()._texts()

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Fit to unlabelled items: items as for `predict`, or data as `read_data` gives them. Labels are not looked at.

        Raises:
            UsageError: no items; a model that scores each label alone, or that the method does not read.
        """
        if X is None:
            raise UsageError("nothing to fit to; give fit the unlabelled items")
        self._fits()
        found = self._extractor().embed(X.items if isinstance(X, Dataset) else X)
        return self.fit_features(found.features[found.good])

    def fit_features(self, features: np.ndarray) -> Self:
        """Fit to embeddings (N, D) of the model, as `fit` from items.

        Raises:
            UsageError: as `fit`; features of another width or that are not finite.
        """
        self._fits()
        names, features = tuple(checked_names(self.labels)), self._matrix(features)
        items = len(features)
        if items < LEAST:
            self.fitted_ = FittedRule(names, self.method, None, items, 0, (_too_few(items),))
            return self
        plain = super().scores(features)
        rule, notes = self._rule(features, plain)
        if self.method != "prompt-weights" and items < FEW * len(names):
            notes = (
                *notes,
                f"{items:,} items are few for {len(names):,} labels: these answers can well be worse than plain ones",
            )
        fitted = FittedRule(names, self.method, rule, items, 0, notes)
        changed = int((self._answer(fitted, features).argmax(axis=1) != plain.argmax(axis=1)).sum())
        self.fitted_ = replace(fitted, changed=changed)
        return self

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the scores (N, C) float32 of embeddings (N, D) of its model, by the fitted rule.

        Raises:
            UsageError: not fitted yet, or to other labels; features of another width or that are not finite.
        """
        return self._answer(self._checked(), self._matrix(features))

    def classify_together(
        self, items: Sequence[Any], progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Prediction]:
        """Fit to the items and yield a `Prediction` for each, in order, once all have been read.

        Args:
            items: as for `classify`.
            progress: told (items read, items there are).
        """
        self._fits()
        items = list(items)
        extractor = self._extractor()
        rows, features = [], [np.zeros((0, int(self.backbone.embed_dim)), np.float32)]
        for row in extractor.stream(items):
            if row.features is not None:
                features.append(row.features[None])
            rows.append((row.item, row.error, row.note))
            if progress is not None:
                progress(len(rows), len(items))
        batch = np.concatenate(features)
        self.fit_features(batch)
        self._said = [*extractor.take_notes(), *self._checked().notes]
        scores, names = iter(self.scores(batch).tolist()), checked_names(self.labels)
        for item, error, note in rows:
            if error is not None:
                yield Prediction(item, None, None, {}, error=error)
            else:
                yield prediction(item, next(scores), names, threshold=self.threshold, note=note)

    def calibrate(self, X: Any, y: Any = None, *, split: str | None = None) -> Self:
        """Refuse: a temperature of plain answers says nothing of these, whose meaning differs from batch to batch.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "transductive answers cannot be calibrated, they depend on the batch; calibrate plain zero-shot (ZeroShotClassifier)"
        )

    def _rule(
        self, features: np.ndarray, plain: np.ndarray
    ) -> tuple[ClassFactors | ClassMeans | WeightedPrompts, tuple[str, ...]]:
        if self.method == "prompt-weights":
            texts = self._by_template()
            weights = prompt_weights(features, texts, float(self.head.rule.scale))
            single = ("one template: there is nothing to weigh, the answers are plain zero-shot",)
            return WeightedPrompts(weights, weighted_classes(texts, weights)), single if len(weights) == 1 else ()
        if self.method == "even-shares":
            factors = even_shares(plain)
            return factors, _unsettled(factors.settled)
        if self.method == "shares":
            factors = estimated_shares(plain, pull=self.pull)
            return factors, _unsettled(factors.settled)
        means = class_means(features, plain, pull=self.pull)
        return means, _unsettled(means.settled)

    @torch.inference_mode()
    def _answer(self, fitted: FittedRule, features: np.ndarray) -> np.ndarray:
        """Scores (N, C) float32 of embeddings (N, D)."""
        rule = fitted.rule
        if not len(features):
            return np.zeros((0, len(fitted.names)), np.float32)
        if isinstance(rule, WeightedPrompts):
            head = load_head("text")(torch.from_numpy(rule.classes), self.head.rule)
            return np.asarray(head.probabilities(torch.from_numpy(features)).numpy())
        plain = super().scores(features)
        if rule is None:
            return plain
        found = rule.apply(plain) if isinstance(rule, ClassFactors) else rule.apply(features, plain)
        return np.asarray(found, np.float32)

    def _matrix(self, features: np.ndarray) -> np.ndarray:
        """Embeddings of the model as float32, checked."""
        found = np.ascontiguousarray(features, np.float32)
        if found.ndim != 2 or found.shape[1] != self.backbone.embed_dim:
            raise UsageError(
                f"the features have the shape {found.shape}, and {self.entry.name} gives (items, {self.backbone.embed_dim})"
            )
        if broken := int((~np.isfinite(found).all(axis=1)).sum()):
            raise UsageError(
                f"the features of {broken} of {len(found)} items are not finite numbers; leave these items out"
            )
        return found

    def _by_template(self) -> np.ndarray:
        """(C, T, D): the embedding of each label in each template."""
        groups = self._texts()
        with torch.inference_mode():
            found = embed_labels(self.backbone, [[text] for group in groups for text in group])
        return found.cpu().numpy().reshape(len(groups), len(groups[0]), -1)

    def _fits(self) -> None:
        """What can be wrong with the model for these methods. It is loaded here."""
        self._texts()
        rule = self.head.rule
        if rule.kind != "softmax":
            raise UsageError(
                f"{self.entry.name} scores each label by itself, not against the others; transductive methods take a model that "
                "chooses among the labels (softmax)"
            )
        if rule.similarity != "cosine" and self.method in ("prompt-weights", "class-means"):
            raise UsageError(
                f"{self.method} measures by the cosine, and {self.entry.name} by the dot product; take shares or even-shares"
            )

    def _checked(self) -> FittedRule:
        if self.fitted_ is None:
            raise self._not_fitted()
        if self.fitted_.names != tuple(checked_names(self.labels)):
            raise UsageError("the labels have changed since the fit; call fit again")
        return self.fitted_

    def _not_fitted(self) -> UsageError:
        return UsageError("not fitted to a batch yet; call fit with all items")

    def _extractor(self) -> FeatureExtractor:
        return FeatureExtractor(
            self.backbone,
            modality=self.modality,
            dtype=self.dtype if self.engine else None,
            batch_size=self.batch_size,
            workers=self.workers,
            engine=self.engine,
            store=False,
        )

    def _probabilities(self, items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        self._checked()
        extractor = self._extractor()
        held: list[Outcome[Any]] = []
        features: list[np.ndarray] = []

        def answered() -> Iterator[Outcome[Any]]:
            scores = iter(torch.from_numpy(self.scores(np.stack(features))) if features else ())
            for outcome in held:
                outcome.row = next(scores) if outcome.error is None else None
                yield outcome
            held.clear()
            features.clear()

        for row in extractor.stream(items):
            held.append(Outcome(row.item, None, row.note, row.error))
            if row.features is not None:
                features.append(row.features)
            if len(held) >= ROWS:
                yield from answered()
        yield from answered()
        self._said = extractor.take_notes()


def _too_few(items: int) -> str:
    there = "1 readable item" if items == 1 else f"{items} readable items"
    return f"{there}: too few to be a batch, the answers are plain zero-shot"


def _unsettled(settled: bool) -> tuple[str, ...]:
    return () if settled else ("the steps did not come to rest; the answers are those of the last one",)
