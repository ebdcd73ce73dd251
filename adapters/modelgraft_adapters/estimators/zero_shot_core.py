"""Images or texts by the names of their classes: the loaded model, the classes' embeddings, and scores in a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from modelgraft import Entry, load, load_head, resolve
from modelgraft.contract import TextBackbone
from modelgraft.devices import device_of, dtype_of, precision_notes
from modelgraft.errors import UsageError

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.cut_texts import CutTexts, cut_lengths
from modelgraft_adapters.calls.stream import Outcome, default_workers, stream
from modelgraft_adapters.calls.text_batches import by_length
from modelgraft_adapters.data.arrays import each_item
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.own_labels import own_array
from modelgraft_adapters.defaults import IMAGE_MODEL, checked_count, checked_model
from modelgraft_adapters.estimators.calibrating import Calibrated, part_to_calibrate_on, with_set
from modelgraft_adapters.estimators.class_names import alike, check_labels, readings
from modelgraft_adapters.estimators.label_embeddings import embed_labels, label_texts
from modelgraft_adapters.estimators.prediction import Prediction, checked_threshold, prediction
from modelgraft_adapters.estimators.prompt_templates import DEFAULT_BY_MODALITY, templates_for
from modelgraft_adapters.media.images import kept, read_image
from modelgraft_adapters.media.texts import read_text
from modelgraft_adapters.metrics.calibration import calibrate


@dataclass(frozen=True, slots=True)
class _Ready:
    """What predicts, and the parameters that it was made of."""

    of: dict[str, Any]
    backbone: Any
    head: Any
    notes: list[str]
    running: Any
    """A `features.running.Running` with an engine; None is torch."""

    def read_image(self, item: Any) -> tuple[torch.Tensor, str | None]:
        """An item as the backbone reads it, and a note."""
        image, note = read_image(item)
        return plugin_calls.preprocess(self.backbone, image), note

    @torch.inference_mode()
    def infer_images(self, pixels: list[torch.Tensor]) -> torch.Tensor:
        """Scores (B, C) of preprocessed images, on the CPU."""
        found = (
            plugin_calls.encode_images(self.backbone, pixels) if self.running is None else self.running.encode(pixels)
        )
        return self.head.probabilities(found).cpu()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def infer_texts(self, texts: list[str]) -> torch.Tensor:
        """Scores (B, C) of texts, on the CPU."""
        found = plugin_calls.encode_texts(self.backbone, texts) if self.running is None else self.running.encode(texts)
        return self.head.probabilities(found).cpu()  # type: ignore[no-any-return]


_GIVEN: Final = (
    "model",
    "labels",
    "templates",
    "descriptions",
    "threshold",
    "device",
    "dtype",
    "batch_size",
    "workers",
    "engine",
)
"""What it is made of."""


class ZeroShot(Calibrated):
    """What `ZeroShotClassifier` does, without scikit-learn: the command line has no need to wait for that to be imported.

    Arguments and errors are `ZeroShotClassifier`'s.
    """

    _ready: _Ready | None = None
    _said: Sequence[str] = ()

    def __init__(
        self,
        model: str | Entry | TextBackbone = IMAGE_MODEL,
        labels: Sequence[Any] = (),
        *,
        templates: str | Sequence[str] | None = None,
        descriptions: Mapping[Any, Sequence[str]] | None = None,
        threshold: float | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
    ) -> None:
        self.model = model
        self.labels = labels
        self.templates = templates
        self.descriptions = descriptions
        self.threshold = threshold
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.workers = workers
        self.engine = engine
        self._texts()

    @property
    def entry(self) -> Entry:
        """The model's entry."""
        model = checked_model(self.model)
        return resolve(model) if isinstance(model, str) else model if isinstance(model, Entry) else model.entry

    @property
    def modality(self) -> Literal["image", "text"]:
        """What is classified: ``image`` or ``text``."""
        return _modality(self.entry)

    @property
    def backbone(self) -> Any:
        """The loaded model."""
        return self._made().backbone

    @property
    def head(self) -> Any:
        """The scores of features against the classes' embeddings."""
        return self._made().head

    @property
    def notes_(self) -> list[str]:
        """Lines a user should see once: labels cut, not known to the model, or read alike."""
        return self._made().notes

    @property
    def notes(self) -> list[str]:
        """`notes_`."""
        return self.notes_

    def _texts(self) -> list[list[str]]:
        """The prompts of each class. Everything that can be wrong with the call is found here, before gigabytes are fetched."""
        if isinstance(checked_model(self.model), (str, Entry)):
            dtype_of(self.dtype, device_of(self.device))
        checked_threshold(self.threshold)
        checked_count("batch_size", self.batch_size)
        checked_count("workers", self.workers, 0)
        names, entry = checked_names(self.labels), self.entry
        templates = self.templates
        if templates is None:
            templates = entry.templates or DEFAULT_BY_MODALITY[_modality(entry)]
        _modality(entry)
        return label_texts(names, templates_for(templates), _described(self.descriptions or {}, names))

    def _made(self) -> _Ready:
        of = {**{name: getattr(self, name) for name in _GIVEN}, "labels": tuple(self.labels)}
        made = self._ready
        if made is None or any(value is not made.of[name] and value != made.of[name] for name, value in of.items()):
            texts = self._texts()
            named = isinstance(checked_model(self.model), (str, Entry))
            running = self._running()  # before the model is loaded: it may not be there
            if running is not None:
                backbone, notes = running.backbone, []
            else:
                backbone = load(self.entry, device=self.device, dtype=self.dtype) if named else self.model
                notes = precision_notes(self.dtype, device_of(self.device)) if named else []
            notes += plugin_calls.text_notes(backbone, [text for group in texts for text in group])
            with torch.inference_mode():
                weight = embed_labels(backbone, texts)
            notes += alike(checked_names(self.labels), readings(backbone, texts, weight))
            head = load_head("text")(weight, plugin_calls.score_rule(backbone)).to(backbone.device)
            self._ready = made = _Ready(of, backbone, head, notes, running)
        return made

    def _running(self) -> Any:
        if self.engine is None or self.engine == "torch":
            return None
        from modelgraft_adapters.features.running import Running  # takes as long to import as a small model to load

        return Running(self.model, self.modality, None, self.device, self.dtype, self.engine)

    def classify(self, items: Iterable[Any], *, coverage: float | None = None) -> Iterator[Prediction]:
        """A `Prediction` per item, in order, as they become known. Items are read lazily; one that fails becomes a row.

        Args:
            items: images: paths, PIL images, or uint8 arrays (H, W), (H, W, 3), (H, W, 4); texts: str.
            coverage: each has a set of labels that holds the true one so often (`calibrate`).
        """
        names = checked_names(self.labels)
        limit = None if coverage is None else self.set_limit(coverage)
        for outcome in self._probabilities(items):
            if outcome.row is None:
                yield Prediction(outcome.item, None, None, {}, error=outcome.error)
                continue
            found = prediction(outcome.item, outcome.row.tolist(), names, threshold=self.threshold, note=outcome.note)
            yield found if limit is None else with_set(found, limit)

    def calibrate(self, X: Any, y: Any = None, *, split: str | None = None) -> Self:
        """Learn what scores are worth from labelled items: a temperature, which scores then have, and the sets of `predict_set`.

        Args:
            X, y: data with labels, or items and their labels, which are among the classes; others are never right.
            split: the part of data that are split; None takes ``val``.

        Raises:
            UsageError: a model that scores each label alone, or no labelled item.
        """
        from modelgraft_adapters.data.reading import read_data
        from modelgraft_adapters.estimators.head_inputs import aligned_targets

        if self.head.rule.kind != "softmax":
            raise UsageError(
                f"{self.entry.name} scores each label by itself, not against the others: nothing to calibrate"
            )
        data = X if isinstance(X, Dataset) and y is None else read_data(X, y, modality=self.modality)
        data = part_to_calibrate_on(data, split)
        self.calibration_ = None
        rows = [outcome.row for outcome in self._probabilities(data.items)]
        good = np.array([row is not None for row in rows], bool)
        names = tuple(checked_names(self.labels))
        targets = aligned_targets(data.take(np.flatnonzero(good)), names, "single-label", own_array(list(self.labels)))
        outputs = (
            np.stack([row.numpy() for row in rows if row is not None]) if good.any() else np.zeros((0, len(names)))
        )
        self.calibration_ = calibrate(outputs, targets)
        return self

    @torch.inference_mode()
    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the scores (N, C) float32 of embeddings (N, D) of its model."""
        made = self._made()
        found: np.ndarray = made.head.probabilities(torch.from_numpy(features).to(made.backbone.device)).cpu().numpy()
        return found

    def take_notes(self) -> list[str]:
        """Return what is to be said of the last run, each line once: texts that were cut."""
        said, self._said = list(self._said), ()
        if self._ready is not None and self._ready.running is not None:
            said += self._ready.running.take_notes()
        return said

    def _probabilities(self, items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        items = kept(each_item(items))
        made = self._made()  # once: with many labels, to look whether it is made anew costs as much as an item
        reason = plugin_calls.not_finite(made.backbone)
        size = checked_count("batch_size", self.batch_size) or (256 if made.backbone.device.type == "cuda" else 32)
        if self.modality == "text":
            found = self._of_texts(made, items, size, reason)
        else:
            workers = checked_count("workers", self.workers, 0) or default_workers()
            found = stream(
                items, made.read_image, made.infer_images, batch_size=size, workers=workers, not_finite=reason
            )
        for outcome in found:
            if outcome.row is not None and self.calibration_ is not None:
                outcome.row = torch.from_numpy(self._tempered(outcome.row[None].cpu().numpy())[0])
            yield outcome

    def _of_texts(self, made: _Ready, items: Iterable[Any], size: int, reason: str) -> Iterator[Outcome[Any]]:
        cut = CutTexts()

        def infer(texts: list[str]) -> torch.Tensor:
            lengths = cut_lengths(made.backbone, texts)
            cut.take(range(len(texts)), {n: told for n, told in enumerate(lengths) if told is not None})
            return made.infer_texts(texts)

        def grouped(texts: list[str]) -> list[list[int]]:
            return by_length(texts, size, exactly=self.batch_size is not None)

        try:
            yield from stream(items, _read_text, infer, batch_size=size, workers=1, not_finite=reason, grouped=grouped)
        finally:
            self._said = cut.notes()


def _read_text(item: Any) -> tuple[str, str | None]:
    return read_text(item), None


def checked_names(labels: Sequence[Any]) -> list[str]:
    """The labels as texts."""
    if isinstance(labels, (Mapping, set, frozenset)) or not (
        hasattr(labels, "__len__") and hasattr(labels, "__iter__")
    ):
        raise UsageError(f"labels must be a list, whose order the scores have, not a {type(labels).__name__}")
    if not isinstance(labels, str):
        labels = list(labels)
        for number, label in enumerate(labels, 1):
            if isinstance(label, bool) or not isinstance(label, (str, Integral)):
                raise UsageError(f"label {number:,} is {label!r}; a label is a text, or a whole number")
    return check_labels(labels)


def _modality(entry: Entry) -> Literal["image", "text"]:
    if "zero-shot" not in entry.tasks:
        raise UsageError(
            f"{entry.name} cannot classify by label names, it has no text tower; 'modelgraft list --task zero-shot' shows "
            "the models that can"
        )
    return "text" if entry.modality == "text" else "image"


def _described(descriptions: Mapping[Any, Sequence[str]], labels: Sequence[str]) -> dict[str, list[str]]:
    known = set(labels)
    strangers = [label for label in descriptions if label not in known]
    if strangers:
        raise UsageError(f"descriptions of {', '.join(map(repr, strangers[:3]))}, which are not among the labels")
    return {label: [texts] if isinstance(texts, str) else list(texts) for label, texts in descriptions.items()}
