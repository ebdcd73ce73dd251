"""A backbone and a learnt head together: what every adapter can do once it is fitted, whatever was trained and how."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from modelgraft import Entry
from modelgraft.errors import UsageError
from modelgraft.learning import LearnedHead, Task

from modelgraft_adapters import plugin_calls
from modelgraft_adapters.card import Card
from modelgraft_adapters.data import overlap
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.overlap import Contents
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.examples import aligned_targets, head_spec
from modelgraft_adapters.features.embedding import Embedded, FeatureExtractor
from modelgraft_adapters.low_rank import LowRankChange
from modelgraft_adapters.predictions import Prediction, prediction, short
from modelgraft_adapters.scores import RESAMPLES, Evaluation, evaluate


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """How a backbone differs from the pretrained one."""

    identity: Mapping[str, Any]
    """Of the pretrained backbone, as the feature store knows it: model, digests of its files, versions."""
    names: tuple[str, ...]
    """The tensors of its module that were trained, by their full names; every other is as it was."""
    changes: Mapping[str, LowRankChange] = field(default_factory=dict)
    """Those of them that are the pretrained ones but for a change of low rank, and that change."""


ROWS = 4096
"""Features that go through a head at once."""


class Adapter:
    """The base of the estimators; `FrozenAdapter` and `FineTuner` say how they learn.

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone.
        head: the name of a head (``modelgraft.list_heads()``).
        layer: where the features are taken; None is the model's own embedding.
        class_weight: ``balanced`` (n / (C * count), as scikit-learn's), or class -> factor; None weighs items alike.
        seed: of every draw.
        device, dtype, batch_size, workers, store: as `FeatureExtractor`'s.

    Attributes:
        classes_: array (C,) of str, the columns of `predict_proba`; of a regression the names of its columns.
        head_: the learnt head.
        report_: what was chosen, and how well it was found.
        notes_: lines a user should see once.
        extractor: where the features come from.

    Raises:
        UsageError: no such model or head.
    """

    def __init__(
        self,
        model: Any,
        head: str,
        *,
        layer: str | None = None,
        modality: Literal["image", "text"] | None = None,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        seed: int = 0,
        device: Any = None,
        dtype: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
        store: Any = None,
    ) -> None:
        self.spec = head_spec(head)
        self.extractor_options = {
            "modality": modality,
            "layer": layer,
            "device": device,
            "dtype": dtype,
            "batch_size": batch_size,
            "workers": workers,
            "store": store,
        }
        self.model = model
        self._extractor: FeatureExtractor | None = None
        self.class_weight = class_weight
        self.seed = seed
        self.settings: dict[str, Any] = {}
        self.task: Task = "single-label"
        self.classes: tuple[str, ...] = ()
        self.head_: LearnedHead | None = None
        self.report_: dict[str, Any] = {}
        self.notes_: list[str] = []
        self.trained_on_: dict[str, Any] = {}
        self.evaluation_: Evaluation | None = None
        self._trained_on = Contents((), "text")
        self._data: Dataset | None = None  # what it was trained on: its fingerprint is taken when it is saved
        self.saved_: Card | None = None  # the card it was loaded by
        self.tuned_: Tuned | None = None  # of a backbone that was trained further

    @property
    def head_name(self) -> str:
        """The head's name."""
        return self.spec.name

    @property
    def extractor(self) -> FeatureExtractor:
        """Where the features come from; made for pictures or texts by the first data it sees."""
        if self._extractor is None:
            self._extractor = FeatureExtractor(self.model, **self.extractor_options)
        return self._extractor

    @property
    def entry(self) -> Entry:
        """The backbone's entry."""
        return self.extractor.entry

    @property
    def classes_(self) -> np.ndarray:
        """(C,) of str."""
        return np.array(self.classes)

    def classify(self, items: Iterable[Any], *, threshold: float | None = None) -> Iterator[Prediction]:
        """A `Prediction` per item, in order, as they become known; one that cannot be read is a row with its reason.

        Args:
            threshold: no label where the best score is lower; multi-label: what a class must be over, in place of one half.
        """
        head = self._fitted()
        if isinstance(items, (str, bytes)):
            raise UsageError("give a list of items, not a single one: [item]")
        for row in self.extractor.stream(items):
            if row.features is None:
                yield Prediction(row.item, None, None, {}, error=row.error)
                continue
            values = self._outputs(head, row.features[None])[0]
            yield prediction(row.item, values.tolist(), self.classes, self.task, threshold=threshold, note=row.note)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) float32, columns as `classes_`; a row of NaN, and a warning, for an item that cannot be read.

        Raises:
            UsageError: a regression has no probabilities.
        """
        if self.task == "regression":
            raise UsageError("a regression has no probabilities; use predict")
        return self._all_outputs(self._read(X, None, None))

    def predict(self, X: Any) -> np.ndarray:
        """single-label: (N,) of object, the class of each item, None where it cannot be read. multi-label: (N, C) float32 of 0 and
        1 (probability over one half). regression: (N, K) float32. Rows of NaN for items that cannot be read."""
        outputs = self._all_outputs(self._read(X, None, None))
        broken = np.isnan(outputs).any(axis=1)
        if self.task == "regression":
            return outputs
        if self.task == "multi-label":
            return np.where(broken[:, None], np.nan, outputs > 0.5).astype(np.float32)
        found = np.empty(len(outputs), dtype=object)
        for n in np.flatnonzero(~broken):
            found[n] = self.classes[int(outputs[n].argmax())]
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """The main score of `evaluate`: accuracy, mean average precision, or R2."""
        return self.evaluate(X, y).score.value

    def evaluate(self, X: Any, y: Any = None) -> Evaluation:
        """All scores with their intervals; of data that are split, on the split ``test``. Labels that training did not have
        count as wrong."""
        data = self._read(X, y, "test")
        data = data.take(data.labelled)
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
            aligned_targets(kept, self.classes, self.task),
            outputs,
            [kept.identity(n) for n in range(len(kept))],
            good,
            broken,
            self.seed,
            resamples,
        )

    def save(self, folder: str | Path) -> Path:
        """Write the adapter to a folder: safetensors, a JSON card, and a model card in the hub's format. See `saving`."""
        from modelgraft_adapters.saving import save

        return save(self, Path(folder))

    @staticmethod
    def load(name: str | Path, **options: Any) -> Adapter:
        """A saved adapter, by its folder or by a name the registry resolves to one. Needs no training data.

        Args:
            options: device, dtype, batch_size, workers, store, as for a new one.
        """
        from modelgraft_adapters.saving import load_adapter

        return load_adapter(name, **options)

    def training_record(self) -> dict[str, Any]:
        """What a card says of how it was trained."""
        return {
            "seed": self.seed,
            "class_weight": self.class_weight,
            "settings": self.settings,
            "report": self.report_,
        }

    def _fitted(self) -> LearnedHead:
        if self.head_ is None:
            raise UsageError(f"this {type(self).__name__} has learnt nothing yet; call fit first")
        return self.head_

    def _read(self, X: Any, y: Any, part: str | None, groups: Any = None) -> Dataset:
        own = isinstance(X, Dataset) and y is None and groups is None
        data = X if own else read_data(X, y, groups=groups, modality=self._modality())
        if part is not None and part in data.split_names:
            data = data.part(part)
        elif part == "train" and data.split_names and set(data.split_names) != {"train"}:
            raise UsageError(f"the data are split into {', '.join(data.split_names)}, and have no split 'train'")
        if self._extractor is None:
            self.extractor_options["modality"] = data.modality
        elif self._extractor.modality != data.modality:
            raise UsageError(
                f"these are {data.modality}s, and {self.entry.name} is used on {self._extractor.modality}s here"
            )
        return data

    def _modality(self) -> Any:
        if self._extractor is not None:
            return self._extractor.modality
        return self.extractor_options["modality"]

    @property
    def _head_device(self) -> torch.device:
        """Where the head is: beside the backbone, but on the CPU where the device has no float64, which solvers need."""
        device = self.extractor.device
        return torch.device("cpu") if device.type == "mps" else device

    def _all_outputs(self, data: Dataset) -> np.ndarray:
        head = self._fitted()
        found = self.extractor.embed(data.items)
        good = found.good
        outputs = np.full((len(good), len(self.classes)), np.nan, np.float32)
        outputs[good] = self._outputs(head, found.features[good])
        if errors := [f"{short(data.identity(n))}: {e}" for n, e in enumerate(found.errors) if e is not None]:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            warnings.warn(f"{len(errors)} of {len(good)} items cannot be read: {errors[0]}{more}", stacklevel=3)
        return outputs

    def _outputs(self, head: LearnedHead, features: np.ndarray) -> np.ndarray:
        """(B, C) float32: probabilities, or of a regression the values."""
        device = self._head_device
        owner = plugin_calls.head_owner(self.head_name)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(features), ROWS):
                rows = torch.from_numpy(np.array(features[start : start + ROWS])).to(
                    device
                )  # a copy: stored features are read-only
                found = plugin_calls.probabilities(head, rows, len(self.classes), self.task, owner)
                parts.append(found.numpy())
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes)), np.float32)
