"""A head trained on the features of a frozen backbone: what linear probes, k-NN, prototypes and few-shot heads have in common.

The backbone is run once per item and never trained; its features come from the feature store. All heads are found by name,
so a third party's head is used in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from modelgraft import Entry, TextClasses, load_head
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import training_facts
from modelgraft_adapters.data.grouping import few_groups
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.defaults import is_whole
from modelgraft_adapters.estimators.base import Adapter
from modelgraft_adapters.estimators.habits import anew
from modelgraft_adapters.estimators.head_inputs import ClassWeight, make_examples, text_classes, wants_text
from modelgraft_adapters.estimators.restoring import load_as
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.features.matrix import told_as_value_error


class FrozenAdapter(Adapter):
    """A pretrained backbone, frozen, and a head that is trained. Images and texts alike.

    >>> photos, kinds = ["docs/photos/cat.jpg", "docs/photos/rocket.jpg"], ["animal", "machine"]
    >>> probe = FrozenAdapter("embedded/sprig", head="knn").fit(photos, kinds)
    >>> probe.predict(photos).tolist()
    ['animal', 'machine']

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone. None: X is no list of items but a matrix of
            features (N, D), as for scikit-learn's own estimators; labels are classes then.
        head: the name of a head (``modelgraft.list_heads()``).
        layer: where the features are taken; None is the model's own embedding.
        n_folds: parts of the training data that hyper-parameters are chosen by; the test split is never looked at.
        class_weight: ``balanced`` (n / (C * count), as scikit-learn's), or class -> factor; None weighs items alike.
        templates: for heads that start from the classes' names, as `ZeroShotClassifier`'s.
        seed: of folds and of heads that draw at random.
        device, dtype, batch_size, workers, engine, store: as `FeatureExtractor`'s.
        settings: the head's own; what is not given is chosen by the folds.

    Attributes:
        classes_: array (C,), the columns of `predict_proba`: the labels' own values in the order of ``numpy.unique``, as
            scikit-learn's; of a regression the names of its columns.
        head_: the trained head.
        report_: what the head chose, and how well it was found.
        notes_: lines a user should see once.
        extractor: where the features come from.

    Raises:
        UsageError: no such model or head.
    """

    def __init__(
        self,
        model: Any = None,
        head: str = "linear",
        *,
        layer: str | None = None,
        modality: Literal["image", "text"] | None = None,
        n_folds: int = 5,
        class_weight: ClassWeight = None,
        templates: str | Sequence[str] | None = None,
        seed: int | None = 0,
        device: Any = None,
        dtype: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
        store: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            model,
            head,
            layer=layer,
            modality=modality,
            class_weight=class_weight,
            seed=seed,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            store=store,
        )
        self.n_folds = n_folds
        self.templates = templates
        self._keep(settings)
        checked_folds(n_folds)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self.n_folds = checked_folds(self.n_folds)

    @anew
    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None, groups: Any = None) -> None:
        """Train the head.

        Args:
            X: a `Dataset`, whatever `read_data` reads (a folder, a table, shards), or items. Of data that are split only the split
                ``train`` is looked at.
            y: labels of items.
            unlabelled: items or data without labels, for semi-supervised heads; None takes the items of the training data that have
                none.
            groups: of items, what belongs together (patient, author, video), one for each: kept in one fold.

        Raises:
            UsageError: data that nothing can be trained on, a task or setting that the head does not have.
        """
        with told_as_value_error(self._on_features):
            data = self._read(X, y, "train", groups)
            plain = data.take(~data.labelled)
            data = check_for_training(data)
            data = data.take(data.labelled)
            if data.task not in self.spec.tasks:
                raise UsageError(
                    f"the head {self.head_name!r} takes {', '.join(self.spec.tasks)} tasks; these data are {data.task}"
                )
            found = self.extractor.embed(data.items)
            good = found.good
            if not good.any():
                raise ModelgraftError(
                    f"none of the {len(good)} training items could be read: {next(filter(None, found.errors))}"
                )
            notes = [*found.notes, *unreadable(data, found)]
            extra = self._unlabelled(unlabelled, plain)
            self._learn(found.features[good], data.take(good), extra)
            self.notes_ = list(dict.fromkeys([*data.notes, *notes, *self.notes_]))

    @anew
    def fit_features(
        self,
        features: np.ndarray,
        data: Dataset,
        unlabelled: np.ndarray | None = None,
        item_weights: np.ndarray | None = None,
    ) -> None:
        """As `fit`, on features (N, D) that were taken before with `extractor`: no item is read.

        Args:
            item_weights: (N,), a factor on the loss of each item, for heads that use such.
        """
        self._settled = data.modality
        if item_weights is not None and "item-weights" not in self.spec.uses:
            raise UsageError(
                f"the head {self.head_name!r} weighs all items alike; the head 'linear' takes item weights"
            )
        self._learn(features, data, unlabelled, item_weights)

    def _learn(
        self,
        features: np.ndarray,
        data: Dataset,
        unlabelled: np.ndarray | None,
        item_weights: np.ndarray | None = None,
    ) -> None:
        """All that a fit finds but for the notes on items; the twin of a fit alone is asked."""
        keep = np.flatnonzero(data.labelled)
        features, data = features[keep], check_for_training(data.take(keep))
        self.task, self.classes, self.values_, self.notes_ = data.task, data.classes, data.values, list(data.notes)
        examples = make_examples(
            features,
            data,
            device=self._head_device,
            n_folds=self.n_folds,
            seed=self.drawn,
            class_weight=self.class_weight,
            text=self._text() if wants_text(self.spec, None if self._on_features else self.entry) else None,
            unlabelled=unlabelled,
            item_weights=None if item_weights is None else item_weights[keep],
        )
        if "unlabelled" in self.spec.needs and examples.unlabelled is None:
            raise UsageError(
                f"the head {self.head_name!r} trains on unlabelled items too; give them (--unlabelled, or rows without a label)"
            )
        self._trained_on, self._data = data.places, data
        self.notes_ += few_groups(data.groups, self.n_folds, data.group_column)
        kind = load_head(self.head_name)
        self.head_, self.report_ = head_calls.fit_head(self.head_name, kind, examples, self.settings)
        self.notes_ += self.report_.get("notes", [])
        self.trained_on_ = training_facts(data, features.shape[1], 0 if unlabelled is None else len(unlabelled))
        self.record_ = self._recorded()
        self._spec, self._extractor = self.spec, self.extractor
        self._remember(features)

    @staticmethod
    def load(
        name: str | Path | Entry,
        *,
        backbone: Any = None,
        model: Any = None,
        device: Any = None,
        dtype: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
        store: Any = None,
    ) -> FrozenAdapter:
        """Return a saved adapter, ready to predict. Needs no training data.

        Args:
            name: its folder, or anything that the registry resolves to one (``hub:user/repo``, a registered name).
            backbone: where it is not to be found by the name in the card: a name, a folder, an entry, or a loaded backbone. Its
                weights must be those that the head was trained on.
            model: another word for ``backbone``.
            device, dtype, batch_size, workers, engine, store: as `FeatureExtractor`'s; ``dtype`` None is the one of training.

        Raises:
            UsageError: there is no such adapter, or it is no adapter.
            ModelgraftError: it is damaged, its head is not installed, or its backbone is not the one it was trained on.
        """
        where = {"device": device, "dtype": dtype, "engine": engine, "store": store}
        options = {**where, "batch_size": batch_size, "workers": workers}
        found: FrozenAdapter = load_as(FrozenAdapter, name, backbone=backbone, model=model, options=options)
        return found

    def with_head(self, head: str, **settings: Any) -> FrozenAdapter:
        """The same backbone, features and options with another head, not fitted."""
        named = {name: value for name, value in self._parameters().items() if name in _NAMED}
        other = FrozenAdapter(**{**named, "head": head}, **settings)
        other._settled = self.extractor.modality
        other._made = {"model": other.model, **other.extractor_options}, self.extractor
        return other

    def _recorded(self) -> dict[str, Any]:
        return {**super()._recorded(), "n_folds": self.n_folds, "templates": self.templates}

    def _unlabelled(self, given: Any, plain: Dataset) -> np.ndarray | None:
        if given is None and "unlabelled" not in self.spec.needs:
            return None  # what nobody trains on is not read
        data = plain if given is None else self._read(given, None, "unlabelled")
        if not len(data):
            return None
        found = self.extractor.embed(data.items)
        return found.features[found.good]

    def _text(self) -> TextClasses:
        return text_classes(self.extractor.backbone, self.classes, self.templates, self._head_device)


def unreadable(data: Dataset, found: Embedded) -> list[str]:
    """A line on the items without features, if there are some."""
    broken = [n for n, error in enumerate(found.errors) if error is not None]
    if not broken:
        return []
    first = f"{data.identity(broken[0])}: {found.errors[broken[0]]}"
    return [f"{len(broken)} of {len(data)} items could not be read and are left out; the first: {first}"]


def checked_folds(n_folds: Any) -> int:
    """Return the number of folds.

    Raises:
        UsageError: no whole number of 2 or more.
    """
    if not is_whole(n_folds) or n_folds < 2:
        raise UsageError(
            f"n_folds={n_folds!r}: a whole number, 2 or more; hyper-parameters are chosen on parts held out of training"
        )
    return int(n_folds)


_NAMED: Final = [
    name for name in inspect.signature(FrozenAdapter.__init__).parameters if name not in ("self", "settings")
]
