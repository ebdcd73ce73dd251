"""Zero-shot classification of a whole batch, with scikit-learn's habits."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.estimators.habits import NotFitted
from modelgraft_adapters.estimators.transductive_core import Transductive
from modelgraft_adapters.estimators.zero_shot import ZeroShotClassifier


class TransductiveZeroShotClassifier(Transductive, ZeroShotClassifier):
    """Classify by label names, fitted to all unlabelled items at once. No label of an item is looked at.

    ``fit`` reads the batch; the answer for an item then depends on it and on what was fitted, so that ``predict`` takes
    any items. ``fit(X).predict_proba(X)`` is the transductive answer. None of the methods is always better than
    `ZeroShotClassifier`: docs/zero-shot.md says where each hurts.

    Args:
        model, labels, templates, descriptions, threshold, device, dtype, batch_size, workers, engine: as for `ZeroShotClassifier`.
        method: ``shares`` (how frequent each class is, Saerens et al. 2002), ``even-shares`` (each class equally frequent, for who
            knows that), ``class-means`` (a Gaussian for each class, as in TransCLIP, Zanella et al. 2024) or ``prompt-weights``
            (which templates tell the items apart, Allingham et al. 2023).
        pull: how much even shares weigh against the items, in ``shares`` and ``class-means``; 0 is the published estimate.

    Attributes:
        fitted_: method, rule, number of items, how many of their answers changed, and notes.
        shares_: (C,) the mean probability of each class among the items of ``fit``, where the method estimates that; else None.
        prompt_weights_: (T,) the weight of each template; None of the other methods.

    Raises:
        UsageError: as `ZeroShotClassifier`; no such method; a model that scores each label by itself (sigmoid), or, for
            ``prompt-weights`` and ``class-means``, one that measures by the dot product.
    """

    def __sklearn_is_fitted__(self) -> bool:
        return self.fitted_ is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags

    @property
    def shares_(self) -> np.ndarray | None:
        """(C,) float64 or None."""
        return getattr(self._checked().rule, "shares", None)

    @property
    def prompt_weights_(self) -> np.ndarray | None:
        """(T,) float64 or None."""
        return getattr(self._checked().rule, "weights", None)

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Fit to unlabelled items: items as for `predict`, or data as `read_data` gives them. Labels are not looked at.

        Raises:
            UsageError: no items; a model that scores each label alone, or that the method does not read.
        """
        return Transductive.fit(self, X, y)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the best label of each item, as ``fit(X).predict(X)``, with every item embedded once.

        Args:
            X: items as for `predict`. Labels are not looked at.
        """
        found = [row.label for row in self.classify_together(list(X))]
        names: dict[Any, Any] = {None: None, **{str(label): label for label in self.classes_.tolist()}}
        return np.array([names[name] for name in found], object if None in found else self.classes_.dtype)

    def _not_fitted(self) -> UsageError:
        return NotFitted("not fitted to a batch yet; call fit with all items")
