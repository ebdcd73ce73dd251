"""A backbone and a trained head together: what every adapter can do once it is fitted, whatever was trained and how."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import torch
from modelgraft import Entry, HeadSpec
from modelgraft.errors import UsageError
from modelgraft.learning import LearnedHead, Task
from sklearn.base import ClassifierMixin

from modelgraft_adapters.calls.pickling import PackedHead, packed, unpack
from modelgraft_adapters.data import overlap
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint
from modelgraft_adapters.data.overlap import Contents
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.estimators.calibrating import check_single_label, part_to_calibrate_on
from modelgraft_adapters.estimators.habits import NotFitted
from modelgraft_adapters.estimators.head_inputs import ClassWeight, aligned_targets, checked_seed, head_spec
from modelgraft_adapters.estimators.predicting import Predicting
from modelgraft_adapters.estimators.saved_state import state_of
from modelgraft_adapters.features.extractor import Embedded, FeatureExtractor
from modelgraft_adapters.features.matrix import FeatureMatrix, read_matrix
from modelgraft_adapters.metrics.calibration import calibrate
from modelgraft_adapters.metrics.scores import RESAMPLES, Evaluation, evaluate
from modelgraft_adapters.saved.card import Card, check_folder
from modelgraft_adapters.saved.low_rank import Tuned as Tuned
from modelgraft_adapters.saved.writing import write

_OF_EXTRACTOR: Final = ("modality", "layer", "device", "dtype", "batch_size", "workers", "engine", "store")


class Adapter(ClassifierMixin, Predicting):  # type: ignore[misc]
    """The base of the estimators; `FrozenAdapter` and `FineTuner` say how they learn.

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone. None: X is a matrix of features (N, D), as for
            scikit-learn's own estimators; labels are classes then.
        head: the name of a head (``modelgraft.list_heads()``).
        layer: where the features are taken; None is the model's own embedding.
        class_weight: ``balanced`` (n / (C * count), as scikit-learn's), or class -> factor; None weighs items alike.
        seed: of all that is random; None takes another one for each fit.
        device, dtype, batch_size, workers, engine, store: as `FeatureExtractor`'s.

    Attributes:
        classes_: array (C,), the columns of `predict_proba`: the labels' own values in the order of ``numpy.unique``, as
            scikit-learn's; of a regression the names of its columns.
        head_: the trained head.
        report_: what was chosen, and how well it was found.
        notes_: lines a user should see once.
        extractor: where the features come from.

    Raises:
        UsageError: no such model or head.
    """

    head_: LearnedHead | None = None
    report_: dict[str, Any]
    notes_: list[str]
    trained_on_: dict[str, Any]
    record_: dict[str, Any]
    """What a card says of how it was trained, beside the report."""
    evaluation_: Evaluation | None = None
    saved_: Card | None = None
    """The card it was loaded by."""
    tuned_: Tuned | None = None  # of a backbone that was trained further
    task_: Task = "single-label"
    names_: tuple[str, ...] = ()
    values_: np.ndarray | None = None
    """(C,): the classes as the labels that were trained on are; None where they are the names."""
    _trained_on: Contents = Contents((), "text")
    _data: Dataset | None = None
    """What it was trained on: its fingerprint is taken when it is saved."""
    _extractor: FeatureExtractor | FeatureMatrix | None = None
    """Of what was trained; before, `_made` has one of the parameters."""
    _made: tuple[dict[str, Any], FeatureExtractor] | None = None
    _settled: Literal["image", "text"] | None = None
    _spec: HeadSpec | None = None
    _resources: ClassVar[tuple[str, ...]] = ("_made",)
    _transient: ClassVar[tuple[str, ...]] = ()
    """Attributes that no pickle has: what a run needed, and no prediction does."""

    def __init__(
        self,
        model: Any = None,
        head: str = "linear",
        *,
        layer: str | None = None,
        modality: Literal["image", "text"] | None = None,
        class_weight: ClassWeight = None,
        seed: int | None = 0,
        device: Any = None,
        dtype: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
        store: Any = None,
    ) -> None:
        self.model = model
        self.head = head
        self.layer = layer
        self.modality = modality
        self.class_weight = class_weight
        self.seed = seed
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.workers = workers
        self.engine = engine
        self.store = store
        head_spec(head)

    def __sklearn_is_fitted__(self) -> bool:
        return self.head_ is not None

    @property
    def _estimator_type(self) -> str:  # for scikit-learn before 1.6
        return "regressor" if self.task == "regression" else "classifier"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.task == "regression":
            from sklearn.utils import RegressorTags

            tags.estimator_type, tags.classifier_tags, tags.regressor_tags = "regressor", None, RegressorTags()
        tags.input_tags.two_d_array = self._on_features
        return tags

    def __getstate__(self) -> dict[str, Any]:
        left = {"_made", "_data", "_spec", "_trained_on", *self._transient}
        state = {name: value for name, value in super().__getstate__().items() if name not in left}
        return (
            packed(self, state)
            if self._data is None
            else packed(self, {**state, "trained_on_": self._with_fingerprint()})
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._spec = head_spec(self.head_.name) if isinstance(self.head_, PackedHead) else None
        unpack(self)

    def _with_fingerprint(self) -> dict[str, Any]:
        """Facts of the data it was trained on, with the digest of their content."""
        if self._data is None or "sha256" in self.trained_on_:
            return self.trained_on_
        return {**self.trained_on_, "sha256": fingerprint(self._data)}

    def _begin_anew(self) -> None:
        self.report_, self.notes_, self.trained_on_, self.record_, self.calibration_ = {}, [], {}, {}, None
        self.seed = checked_seed(self.seed)

    @property
    def drawn(self) -> int:
        """The random seed, as a number."""
        return checked_seed(self.seed)

    @property
    def task(self) -> Task:
        """What was trained: one class per item, several, or numbers."""
        return self.task_

    @task.setter
    def task(self, task: Task) -> None:
        self.task_ = task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, as they are shown; of a regression of its columns. Empty before anything was trained."""
        return self.names_

    @classes.setter
    def classes(self, names: tuple[str, ...]) -> None:
        self.names_ = names

    @property
    def spec(self) -> HeadSpec:
        """What a plugin announced of the head."""
        return head_spec(self.head) if self._spec is None else self._spec

    @spec.setter
    def spec(self, spec: HeadSpec) -> None:
        self._spec = spec

    @property
    def head_name(self) -> str:
        """The head's name."""
        return self.spec.name

    @property
    def settings(self) -> dict[str, Any]:
        """The head's own settings that were given."""
        return {name: value for name, value in self._extra.items() if value is not None}

    @property
    def extractor_options(self) -> dict[str, Any]:
        """What a feature extractor is made with."""
        options = {name: getattr(self, name) for name in _OF_EXTRACTOR}
        return {**options, "modality": self.modality or self._settled}

    @property
    def _on_features(self) -> bool:
        """Whether X is a matrix of features, and no items."""
        return self.model is None if self._extractor is None else isinstance(self._extractor, FeatureMatrix)

    @property
    def extractor(self) -> Any:
        """Where the features come from (`FeatureExtractor`); made for images or texts by the first data it sees."""
        if self._extractor is not None:
            return self._extractor
        if self.model is None:
            return FeatureMatrix(self.device)
        wanted = {"model": self.model, **self.extractor_options}
        if self._made is None or not all(wanted[name] is value for name, value in self._made[0].items()):
            self._made = wanted, FeatureExtractor(self.model, **self.extractor_options)
        return self._made[1]

    @property
    def entry(self) -> Entry:
        """The backbone's entry."""
        return self.extractor.entry

    @property
    def classes_(self) -> np.ndarray:
        """(C,): the classes, of the labels' own type: str for labels from files."""
        self._fitted()
        return np.array(self.classes) if self.values_ is None else self.values_.copy()

    def score(self, X: Any, y: Any = None) -> float:
        """The main score of `evaluate`: accuracy, mean average precision, or R2."""
        return self.evaluate(X, y).score.value

    def evaluate(self, X: Any, y: Any = None) -> Evaluation:
        """All scores with their intervals; of data that are split, on the split ``test``. Labels that training did not have
        count as wrong."""
        self._fitted()
        data = self._read(X, y, "test")
        data = data.take(data.labelled)
        if not len(data):
            raise UsageError("no item has a label to score against; give y, or data with labels")
        if seen := self._trained_on.shared(data.places):
            warnings.warn(overlap.warning(seen, len(data)), stacklevel=2)
        found = self.extractor.embed(data.items)
        result = self.evaluate_features(found, data)
        self.evaluation_ = result
        return result

    def evaluate_features(self, found: Embedded, data: Dataset, resamples: int = RESAMPLES) -> Evaluation:
        """As `evaluate`, on features that were taken before of just these items."""
        head = self._fitted()
        good = np.flatnonzero(found.good & data.labelled)
        outputs = self._outputs(head, found.features[good])
        broken = {data.identity(n): str(error) for n, error in enumerate(found.errors) if error is not None}
        kept = data.take(good)
        return evaluate(
            self.task,
            self.classes,
            aligned_targets(kept, self.classes, self.task, self.values_),
            outputs,
            [kept.identity(n) for n in range(len(kept))],
            good,
            broken,
            self.drawn,
            resamples,
        )

    def calibrate(self, X: Any, y: Any = None, *, split: str | None = None) -> Self:
        """Learn what probabilities are worth from labelled items that were not trained on: a temperature, which `predict_proba`
        then has, and the sets of `predict_set`. The classes that are predicted stay.

        Args:
            split: the part of data that are split; None takes ``val``.

        Raises:
            UsageError: classes that do not exclude each other, no labelled item, or items that were trained on.
        """
        outputs, targets = self.to_calibrate_on(X, y, split=split)
        self.calibration_ = calibrate(outputs, targets)
        return self

    def to_calibrate_on(self, X: Any, y: Any = None, *, split: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (N, C) float32 as the head gives them, and the classes (N,) int64, of what `calibrate` is given;
        -1 is a class that was not trained on. Arguments and errors as there."""
        head = self._fitted()
        check_single_label(self.task)
        data = part_to_calibrate_on(self._read(X, y, None), split)
        seen = self._trained_on.shared(data.places)
        if seen or (self.trained_on_.get("sha256") and fingerprint(data) == self.trained_on_["sha256"]):
            raise UsageError(
                f"{seen or len(data)} of the {len(data)} items were trained on, where probabilities are better than elsewhere; "
                "calibrate on others"
            )
        found = self.extractor.embed(data.items)
        good = np.flatnonzero(found.good)
        targets = aligned_targets(data.take(good), self.classes, self.task, self.values_)
        return self._raw_outputs(head, found.features[good]), targets

    def save(self, folder: str | Path) -> Path:
        """Write the adapter to a folder: safetensors, a JSON card, and a model card in the hub's format. See `saved.writing`.

        A folder that holds a saved adapter is written over: its files are, whatever else lies there stays.

        Raises:
            UsageError: nothing was trained yet, or the folder holds something else.
            ModelgraftError: the head has state that cannot be written, or the disk cannot be written.
        """
        if self.head_ is None:
            raise UsageError(f"this {type(self).__name__} is not fitted yet; call fit first")
        if self._on_features:
            raise UsageError(
                "an adapter on features has no model to be saved with; pickle it, or train one with a model"
            )
        folder = check_folder(Path(folder))  # before all items are read once more
        return write(folder, state_of(self))

    def training_record(self) -> dict[str, Any]:
        """What a card says of how it was trained."""
        return {**self.record_, "report": self.report_}

    def _recorded(self) -> dict[str, Any]:
        """The parameters that a fit used: those of the estimator can be others when it is saved."""
        return copy.deepcopy({"seed": self.seed, "class_weight": self.class_weight, "settings": self.settings})

    def _fitted(self) -> LearnedHead:
        if self.head_ is None:
            raise NotFitted(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.head_

    def _read(self, X: Any, y: Any, part: str | None, groups: Any = None) -> Dataset:
        if self._on_features:
            return read_matrix(self, X, y, learn=part == "train", groups=groups)
        own = isinstance(X, Dataset) and y is None and groups is None
        data = X if own else read_data(X, y, groups=groups, modality=self._modality())
        if part is not None and part in data.split_names:
            data = data.part(part)
        elif part == "train" and data.split_names and set(data.split_names) != {"train"}:
            raise UsageError(f"the data are split into {', '.join(data.split_names)}, and have no split 'train'")
        if self._extractor is None:
            self._settled = data.modality
        elif self._extractor.modality != data.modality:
            raise UsageError(
                f"these are {data.modality}s, and {self.entry.name} is used on {self._extractor.modality}s here"
            )
        return data

    def _modality(self) -> Any:
        if self._extractor is not None:
            return self._extractor.modality
        return self.modality

    @property
    def _head_device(self) -> torch.device:
        """Where the head is: beside the backbone, but on the CPU where the device has no float64, which solvers need."""
        device = self.extractor.device
        return torch.device("cpu") if device.type == "mps" else device

    @property
    def _dtype(self) -> type[np.floating[Any]]:
        """Of outputs."""
        return np.float64 if self.task == "regression" else np.float32
