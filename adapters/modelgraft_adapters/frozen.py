"""A head learnt on the features of a frozen backbone: what linear probes, k-NN, prototypes and few-shot heads have in common.

The backbone is run once per item and never trained; its features come from the feature store. All heads are found by name,
so a third party's head is used in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from modelgraft import TextClasses, load_head
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters import plugin_calls
from modelgraft_adapters.adapter import Adapter
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import training_facts
from modelgraft_adapters.data.grouping import few_groups
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.examples import head_spec, make_examples, text_classes, wants_text
from modelgraft_adapters.features.embedding import Embedded


class FrozenAdapter(Adapter):
    """A pretrained backbone, frozen, and a head that is learnt. Pictures and texts alike.

    >>> probe = FrozenAdapter("timm/resnet50", head="linear").fit("flowers/")      # doctest: +SKIP
    >>> print(probe.evaluate("flowers/"))                                          # doctest: +SKIP

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone.
        head: the name of a head (``modelgraft.list_heads()``).
        layer: where the features are taken; None is the model's own embedding.
        n_folds: parts of the training data that hyper-parameters are chosen by; the test split is never looked at.
        class_weight: ``balanced`` (n / (C * count), as scikit-learn's), or class -> factor; None weighs items alike.
        templates: for heads that start from the classes' names, as `ZeroShotClassifier`'s.
        seed: of folds and of heads that draw at random.
        device, dtype, batch_size, workers, store: as `FeatureExtractor`'s.
        settings: the head's own; what is not given is chosen by the folds.

    Attributes:
        classes_: array (C,) of str, the columns of `predict_proba`; of a regression the names of its columns.
        head_: the learnt head.
        report_: what the head chose, and how well it was found.
        notes_: lines a user should see once.
        extractor: where the features come from.

    Raises:
        UsageError: no such model or head.
    """

    def __init__(
        self,
        model: Any,
        head: str = "linear",
        *,
        layer: str | None = None,
        modality: Literal["image", "text"] | None = None,
        n_folds: int = 5,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        templates: str | Sequence[str] | None = None,
        seed: int = 0,
        device: Any = None,
        dtype: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
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
            store=store,
        )
        if n_folds < 2:
            raise UsageError("n_folds must be 2 or more: hyper-parameters are chosen on parts held out of training")
        self.n_folds = n_folds
        self.templates = templates
        self.settings = {name: value for name, value in settings.items() if value is not None}

    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None, groups: Any = None) -> Self:
        """Learn the head.

        Args:
            X: a `Dataset`, whatever `read_data` reads (a folder, a table, shards), or items. Of data that are split only the split
                ``train`` is looked at.
            y: labels of items.
            unlabelled: items or data without labels, for semi-supervised heads; None takes the items of the training data that have
                none.
            groups: of items, what belongs together (patient, author, video), one for each: kept in one fold.

        Raises:
            UsageError: data that nothing can be learnt from, a task or setting that the head does not have.
        """
        data = self._read(X, y, "train", groups)
        plain = data.take(~data.labelled)
        data = check_for_training(data)
        data = data.take(data.labelled)
        if data.task not in self.spec.tasks:
            raise UsageError(
                f"the head {self.head_name!r} learns {', '.join(self.spec.tasks)} tasks; these data are {data.task}"
            )
        found = self.extractor.embed(data.items)
        good = found.good
        if not good.any():
            raise ModelgraftError(
                f"none of the {len(good)} training items could be read: {next(filter(None, found.errors))}"
            )
        notes = [*found.notes, *_unreadable(data, found)]
        extra = self._unlabelled(unlabelled, plain)
        self.fit_features(found.features[good], data.take(good), extra)
        self.notes_ = list(dict.fromkeys([*data.notes, *notes, *self.notes_]))
        return self

    def fit_features(self, features: np.ndarray, data: Dataset, unlabelled: np.ndarray | None = None) -> Self:
        """As `fit`, on features (N, D) that were taken before with `extractor`: no item is read."""
        keep = np.flatnonzero(data.labelled)
        data = check_for_training(data.take(keep))
        self.task, self.classes, self.notes_ = data.task, data.classes, list(data.notes)
        self._learn(features[keep], data, unlabelled)
        return self

    def _learn(self, features: np.ndarray, data: Dataset, unlabelled: np.ndarray | None) -> None:
        examples = make_examples(
            features,
            data,
            device=self._head_device,
            n_folds=self.n_folds,
            seed=self.seed,
            class_weight=self.class_weight,
            text=self._text() if wants_text(self.spec, self.entry) else None,
            unlabelled=unlabelled,
        )
        if "unlabelled" in self.spec.needs and examples.unlabelled is None:
            raise UsageError(
                f"the head {self.head_name!r} learns from unlabelled items too; give them (--unlabelled, or rows without a label)"
            )
        self._trained_on = data.places
        self.notes_ += few_groups(data.groups, self.n_folds, data.group_column)
        kind = load_head(self.head_name)
        self.head_, self.report_ = plugin_calls.fit_head(self.head_name, kind, examples, self.settings)
        self.notes_ += self.report_.get("notes", [])
        self.trained_on_ = training_facts(data, features.shape[1], 0 if unlabelled is None else len(unlabelled))
        self._data, self.saved_ = data, None

    def with_head(self, head: str, **settings: Any) -> FrozenAdapter:
        """The same backbone, features and options with another head, not fitted."""
        other = copy.copy(self)
        other.spec, other.settings = head_spec(head), settings
        other.head_, other.report_, other.evaluation_, other.notes_ = None, {}, None, []
        return other

    def training_record(self) -> dict[str, Any]:
        """What a card says of how it was trained."""
        return {**super().training_record(), "n_folds": self.n_folds, "templates": self.templates}

    def _unlabelled(self, given: Any, plain: Dataset) -> np.ndarray | None:
        if given is None and "unlabelled" not in self.spec.needs:
            return None  # what nobody learns from is not read
        data = plain if given is None else self._read(given, None, "unlabelled")
        if not len(data):
            return None
        found = self.extractor.embed(data.items)
        return found.features[found.good]

    def _text(self) -> TextClasses:
        return text_classes(self.extractor.backbone, self.classes, self.templates, self._head_device)


def _unreadable(data: Dataset, found: Embedded) -> list[str]:
    """A line on the items without features, if there are some."""
    broken = [n for n, error in enumerate(found.errors) if error is not None]
    if not broken:
        return []
    first = f"{data.identity(broken[0])}: {found.errors[broken[0]]}"
    return [f"{len(broken)} of {len(data)} items could not be read and are left out; the first: {first}"]
