"""A head for a domain that nobody labelled: trained on labelled items of another, with the target's items at hand.

Every method moves, weighs or adds to what the head is trained on (`modelgraft_adapters.alignment`) and leaves the target's
features as they are. So what comes out is a plain head on a plain backbone: it is saved, loaded, pushed and asked like every
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from modelgraft import load_head
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.learning import Examples, progress

from modelgraft_adapters.alignment.checks import checked_domains
from modelgraft_adapters.alignment.density_ratio import CLIP, importance
from modelgraft_adapters.alignment.moments import coral, mean_shift
from modelgraft_adapters.alignment.naming import AUTO, CANDIDATES, METHODS, SOURCE_ONLY, checked_method
from modelgraft_adapters.alignment.subspace import subspace_alignment
from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.estimators.frozen import FrozenAdapter, unreadable
from modelgraft_adapters.estimators.habits import anew
from modelgraft_adapters.estimators.probes import OneHead
from modelgraft_adapters.estimators.reverse_validation import Seen, choose, votes_of_neighbours
from modelgraft_adapters.features.matrix import told_as_value_error


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a method has the head train on."""

    features: np.ndarray
    """(N, D) float32: the source's items."""
    weights: np.ndarray | None = None
    """(N,): factors on their losses."""
    unlabelled: np.ndarray | None = None
    """(M, D) float32: items without a label that are trained on too."""
    found: dict[str, Any] = field(default_factory=dict)
    """What is known of the domains, as plain JSON types."""

    @property
    def head(self) -> str:
        """The name of the head that trains on it."""
        return "linear" if self.unlabelled is None else "pseudo-label"


class DomainAdapter(OneHead):
    """A linear head trained on labelled items of a source, for a target of which there are items without labels.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 2
    >>> X = rng.normal(size=(200, 3)) + 4 * y[:, None]
    >>> target = X[:100] * [2, 1, 1] + 7
    >>> adapter = DomainAdapter(method="coral", C=1.0).fit(X, y, target)
    >>> bool(adapter.score(target, y[:100]) > 0.9)
    True

    Args:
        model: a name, an entry, or a loaded backbone; None: X is a matrix of features (N, D).
        method: ``source-only`` (nothing is done: the yardstick), ``mean-shift``, ``coral``, ``subspace``, ``importance``,
            ``self-training`` (after a mean shift the head ``pseudo-label``, with the target's items for unlabelled ones), or
            ``auto``, which takes the one that `reverse_validation.choose` finds best without a label of the target, and
            source-only where it is in doubt.
        C: inverse strength of the linear head's penalty; None chooses by folds of the source. Self-training has a scale of its
            own, and always chooses.
        Cs: what to choose among; None is `LinearProbe`'s.
        shrinkage: of ``coral``; None is Ledoit and Wolf's.
        dimension: of ``subspace``; None is the directions with 90 % of the variance.
        clip: the largest weight of ``importance``, in means.
        options: as `FrozenAdapter`'s.

    Attributes:
        method_: the method that was taken.
        report_: as `FrozenAdapter`'s; ``adaptation`` says what was done, and of ``auto`` what it saw.
    """

    _own = ("C", "Cs")
    _transient = ("_candidates",)
    method_: str = ""
    _candidates: Mapping[str, FrozenAdapter] = MappingProxyType({})

    def __init__(
        self,
        model: Any = None,
        method: str = AUTO,
        *,
        C: float | None = None,
        Cs: Sequence[float] | None = None,
        shrinkage: float | None = None,
        dimension: int | None = None,
        clip: float = CLIP,
        **options: Any,
    ) -> None:
        super().__init__(model, "linear", **options)
        self.method = method
        self.C = C
        self.Cs = Cs
        self.shrinkage = shrinkage
        self.dimension = dimension
        self.clip = clip
        checked_method(method)

    @anew
    def fit(self, X: Any, y: Any = None, X_target: Any = None, *, groups: Any = None) -> None:  # type: ignore[override]
        """Train the head for the target.

        Args:
            X: the source, as `FrozenAdapter.fit` takes data; of data that are split the split ``train``.
            y: labels of its items.
            X_target: the target: data or items; of data that are split the split ``train``. Their labels, if they have some, are
                not looked at.
            groups: as `FrozenAdapter.fit`.

        Raises:
            UsageError: a source that nothing can be trained on, no target, images for texts, another task than one class an item.
            ModelgraftError: no item of a domain could be read.
        """
        with told_as_value_error(self._on_features):
            data = self._read(X, y, "train", groups)
            if X_target is None:
                raise UsageError("no items of the target: give X_target, items of the other domain without labels")
            target = self._target(X_target, data.modality)
            data = check_for_training(data)
            data = data.take(data.labelled)
            found, other = self.extractor.embed(data.items), self.extractor.embed(target.items)
            for name, embedded in (("source", found), ("target", other)):
                if not embedded.good.any():
                    first = next(filter(None, embedded.errors), "there are none")
                    raise ModelgraftError(
                        f"none of the {len(embedded.good)} items of the {name} could be read: {first}"
                    )
            notes = [*found.notes, *other.notes, *unreadable(data, found), *unreadable(target, other)]
            self._adapt(found.features[found.good], data.take(found.good), other.features[other.good])
            self.notes_ = list(dict.fromkeys([*data.notes, *notes, *self.notes_]))

    @anew
    def fit_features(  # type: ignore[override]
        self, features: np.ndarray, data: Dataset, unlabelled: np.ndarray | None = None
    ) -> None:
        """As `fit`, on features (N, D) of the source and (M, D) of the target (``unlabelled``) that were taken before."""
        self._settled = data.modality
        if unlabelled is None:
            raise UsageError("no features of the target: give unlabelled, those of items of the other domain")
        keep = np.flatnonzero(data.labelled)
        self._adapt(features[keep], check_for_training(data.take(keep)), unlabelled)

    def _target(self, given: Any, modality: str) -> Dataset:
        """The items of the target, without what is known of them."""
        if isinstance(given, (list, tuple)) and not len(given):
            raise UsageError("no items of the target: X_target is empty")
        data = self._read(given, None, None)
        if "train" in data.split_names:
            data = data.part("train")
        if not len(data):
            raise UsageError("no items of the target: X_target is empty")
        if data.modality != modality:
            raise UsageError(
                f"the source holds {modality}s and the target {data.modality}s; domains are adapted within one kind"
            )
        return replace(data, targets=None, split=None)

    def _adapt(self, features: np.ndarray, data: Dataset, target: np.ndarray) -> None:
        if data.task != "single-label":
            raise UsageError(f"domains are adapted for one class an item; these data are {data.task}")
        checked_domains(features, target)
        method = checked_method(self.method)
        wanted = CANDIDATES if method == AUTO else (method,)
        fitted: dict[str, tuple[FrozenAdapter, TrainingSet]] = {}
        for number, name in enumerate(wanted):
            progress("adapting", number, len(wanted))
            fitted[name] = self.candidate(name, features, data, target)
        progress("adapting", len(wanted), len(wanted))
        done: dict[str, Any] = {"target_items": len(target)}
        if method == AUTO:
            choice = choose(
                {name: self._way_back(name, fitted, data, target) for name in fitted}, SOURCE_ONLY, self.drawn
            )
            method, done = choice.method, {**done, "chosen_by": choice.record()}
        self._become(method, fitted[method], done)
        self._remember(target)  # which is what it is to predict on
        self._candidates = {name: adapter for name, (adapter, _) in fitted.items()}

    def candidate(
        self, method: str, features: np.ndarray, data: Dataset, target: np.ndarray
    ) -> tuple[FrozenAdapter, TrainingSet]:
        """Return a head trained in one way, and what it was trained on; arguments as `fit_features`, all items labelled."""
        made = self.training_set(method, features, target)
        settings: Mapping[str, Any] = self.settings if made.head == "linear" else {}
        adapter = self.with_head(made.head, **settings)
        if made.weights is not None:
            return adapter.fit_features(made.features, data, None, made.weights), made
        return adapter.fit_features(made.features, data, made.unlabelled), made

    def candidates(self) -> dict[str, FrozenAdapter]:
        """Return every head that the fit trained, by its method: of ``auto`` all that it chose among. They are not pickled."""
        self._fitted()
        return dict(self._candidates)

    def training_set(self, method: str, features: np.ndarray, target: np.ndarray) -> TrainingSet:
        """Return what a method makes of the features of the source (N, D) and of the target (M, D).

        Raises:
            UsageError: as the methods of `modelgraft_adapters.alignment`; no such method.
        """
        plain = np.ascontiguousarray(features, np.float32)
        if method == "mean-shift":
            return TrainingSet(mean_shift(features, target).astype(np.float32))
        if method == "coral":
            return TrainingSet(coral(features, target, self.shrinkage).astype(np.float32))
        if method == "subspace":
            return TrainingSet(subspace_alignment(features, target, self.dimension).astype(np.float32))
        if method == "importance":
            found = importance(features, target, seed=self.drawn, clip=self.clip)
            known = {"effective_items": found.effective, "separable": found.separable}
            return TrainingSet(plain, found.weights, found=known)
        if method == "self-training":
            shifted = mean_shift(features, target).astype(np.float32)
            return TrainingSet(shifted, unlabelled=np.ascontiguousarray(target, np.float32))
        if method == SOURCE_ONLY:
            return TrainingSet(plain)
        raise UsageError(f"no way of adapting {method!r}; there are {', '.join(METHODS)}")

    def _way_back(
        self, name: str, fitted: Mapping[str, tuple[FrozenAdapter, TrainingSet]], data: Dataset, target: np.ndarray
    ) -> Seen:
        """Label the target by a method, train on that, and ask of the source; and ask each item's neighbours."""
        adapter, made = fitted[name]
        assert adapter.head_ is not None and data.targets is not None
        named = adapter._outputs(adapter.head_, np.ascontiguousarray(target, np.float32)).argmax(axis=1)
        votes = votes_of_neighbours(target, named)
        seen, targets = np.unique(named, return_inverse=True)
        if len(seen) == 1:
            return Seen(data.targets == seen[0], named, votes)
        device = self._head_device
        examples = Examples(
            torch.from_numpy(np.array(target, np.float32)).to(device),
            torch.from_numpy(targets).to(device),
            "single-label",
            tuple(data.classes[number] for number in seen),
            torch.zeros(len(target), dtype=torch.int64, device=device),
            seed=self.drawn,
        )
        # At the strength that the source chose: the way back is as stiff as the way there.
        strength = (adapter if made.head == "linear" else fitted[SOURCE_ONLY][0]).report_["chosen"]["C"]
        head, _ = head_calls.fit_head("linear", load_head("linear"), examples, {"C": strength})
        owner = head_calls.head_owner("linear")
        outputs = head_calls.outputs_of(head, made.features, len(seen), "single-label", owner, device)
        return Seen(seen[outputs.argmax(axis=1)] == data.targets, named, votes)

    def _become(self, method: str, candidate: tuple[FrozenAdapter, TrainingSet], done: dict[str, Any]) -> None:
        """Take over what one candidate found; that of the others is thrown away."""
        adapter, made = candidate
        self.task_, self.names_, self.values_ = adapter.task_, adapter.names_, adapter.values_
        self.head_, self.record_, self._spec = adapter.head_, adapter.record_, adapter.spec
        self._trained_on, self._data, self._extractor = adapter._trained_on, adapter._data, adapter._extractor
        self.method_ = method
        self.report_ = {**adapter.report_, "adaptation": {"method": method, **done, **made.found}}
        self.trained_on_ = {**adapter.trained_on_, "unlabelled": 0 if method == SOURCE_ONLY else done["target_items"]}
        count = f"{done['target_items']:,} items of the target without labels"
        line = (
            f"not adapted (source-only); {count} were looked at"
            if method == SOURCE_ONLY
            else f"adapted to {count} by {method}"
        )
        self.notes_ = [line, *adapter.notes_]
