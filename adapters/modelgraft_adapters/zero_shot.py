"""Zero-shot classification: pictures or texts by the names of their classes, with no training."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final, Self

import numpy as np
import torch
from modelgraft import Entry, load, load_head, resolve
from modelgraft.contract import TextBackbone
from modelgraft.devices import check_words
from modelgraft.errors import UsageError
from sklearn.base import ClassifierMixin

from modelgraft_adapters import plugin_calls
from modelgraft_adapters.class_names import alike, check_labels, readings
from modelgraft_adapters.cut_texts import CutTexts, cut_lengths
from modelgraft_adapters.data.arrays import each_item
from modelgraft_adapters.data.cells import is_missing
from modelgraft_adapters.data.names import some
from modelgraft_adapters.data.own_labels import own_array, places
from modelgraft_adapters.defaults import IMAGE_MODEL, checked_count, checked_model
from modelgraft_adapters.estimating import Estimator
from modelgraft_adapters.images import kept, read_image
from modelgraft_adapters.label_embeddings import embed_labels, label_texts
from modelgraft_adapters.pickling import Packed
from modelgraft_adapters.predictions import Prediction, checked_threshold, prediction, short
from modelgraft_adapters.stream import Outcome, default_workers, stream
from modelgraft_adapters.templates import DEFAULT_BY_MODALITY, templates_for
from modelgraft_adapters.texts import read_text

_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?")


@dataclass(frozen=True, slots=True)
class _Ready:
    """What predicts, and the parameters that it was made of."""

    of: dict[str, Any]
    backbone: Any
    head: Any
    notes: list[str]


class ZeroShotClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Classify pictures (dual encoders: CLIP, SigLIP, CoCa ...) or texts (sentence encoders) by label names.

    The class of a label is the mean embedding of its prompts; a score is the model's own softmax or sigmoid of the scaled
    cosine (Radford et al. 2021; Zhai et al. 2023; for texts Yin et al. 2019 with sentence embeddings).

    Args:
        model: a name (see `modelgraft.resolve`) or a loaded backbone.
        labels: class names, each once: texts, or whole numbers that are read as they are written.
        templates: one template, a list, or the name of an ensemble (``imagenet-80``, ``simple``, ``none`` ...); None takes what
            the model asks for, else ``a photo of a {}.`` for pictures and ``This example is {}.`` for texts.
        descriptions: for some labels, texts that describe them; they take the templates' place for that label.
        threshold: abstain (label None) where the best score is lower.
        device, dtype: as for `modelgraft.load`; ignored for a loaded backbone.
        batch_size: items per forward pass; None chooses by device.
        workers: decoding threads; None chooses.

    Attributes:
        classes_: the labels, array (C,), in the order given: the columns of `predict_proba`.
        backbone, head: the loaded model and the classes' embeddings, made when first asked for.
        notes_: lines a user should see once: labels cut, not known to the model, or read alike.

    Raises:
        UsageError: no labels, a label twice, a model that cannot classify by name.
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
        self._texts()

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
        return np.array(_checked(self.labels)) if own is None else own

    @property
    def entry(self) -> Entry:
        """The model's entry."""
        model = checked_model(self.model)
        return resolve(model) if isinstance(model, str) else model if isinstance(model, Entry) else model.entry

    @property
    def modality(self) -> str:
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
        check_words(self.device, self.dtype)
        checked_threshold(self.threshold)
        checked_count("batch_size", self.batch_size)
        checked_count("workers", self.workers, 0)
        names, entry = _checked(self.labels), self.entry
        templates = self.templates
        if templates is None:
            templates = entry.templates or DEFAULT_BY_MODALITY[_modality(entry)]
        _modality(entry)
        return label_texts(names, templates_for(templates), _described(self.descriptions or {}, names))

    def _made(self) -> _Ready:
        of = {**self.get_params(deep=False), "labels": tuple(self.labels)}
        made = self._ready
        if made is None or any(value is not made.of[name] and value != made.of[name] for name, value in of.items()):
            texts = self._texts()
            named = isinstance(checked_model(self.model), (str, Entry))
            backbone: Any = load(self.entry, device=self.device, dtype=self.dtype) if named else self.model
            notes = plugin_calls.text_notes(backbone, [text for group in texts for text in group])
            with torch.inference_mode():
                weight = embed_labels(backbone, texts)
            notes += alike(_checked(self.labels), readings(backbone, texts, weight))
            head = load_head("text")(weight, plugin_calls.score_rule(backbone)).to(backbone.device)
            self._ready = made = _Ready(of, backbone, head, notes)
        return made

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Learn nothing; the model is loaded, so that the first prediction does not wait for it."""
        self._made()
        return self

    def classify(self, items: Iterable[Any]) -> Iterator[Prediction]:
        """A `Prediction` per item, in order, as they become known. Items are read lazily; one that fails becomes a row.

        Pictures: paths, PIL pictures, or uint8 arrays (H, W), (H, W, 3), (H, W, 4). Texts: str.
        """
        names = _checked(self.labels)
        for outcome in self._probabilities(items):
            if outcome.row is None:
                yield Prediction(outcome.item, None, None, {}, error=outcome.error)
                continue
            yield prediction(outcome.item, outcome.row.tolist(), names, threshold=self.threshold, note=outcome.note)

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
        names = _checked(self.labels)
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

    def _probabilities(self, items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        items, backbone = kept(each_item(items)), self.backbone
        reason = plugin_calls.not_finite(backbone)
        size = checked_count("batch_size", self.batch_size) or (256 if backbone.device.type == "cuda" else 32)
        if self.modality == "text":
            return self._of_texts(items, size, reason)
        workers = checked_count("workers", self.workers, 0) or default_workers()
        return stream(items, self._read_image, self._infer_images, batch_size=size, workers=workers, not_finite=reason)

    def _of_texts(self, items: Iterable[Any], size: int, reason: str) -> Iterator[Outcome[Any]]:
        cut = CutTexts()

        def infer(texts: list[str]) -> torch.Tensor:
            lengths = cut_lengths(self.backbone, texts)
            cut.take(range(len(texts)), {n: told for n, told in enumerate(lengths) if told is not None})
            return self._infer_texts(texts)

        try:
            yield from stream(items, _read_text, infer, batch_size=size, workers=1, not_finite=reason)
        finally:
            self._said = cut.notes()

    def take_notes(self) -> list[str]:
        """Return what is to be said of the last run, each line once: texts that were cut."""
        said, self._said = list(self._said), ()
        return said

    def _read_image(self, item: Any) -> tuple[torch.Tensor, str | None]:
        image, note = read_image(item)
        return plugin_calls.preprocess(self.backbone, image), note

    @torch.inference_mode()
    def _infer_images(self, pixels: list[torch.Tensor]) -> torch.Tensor:
        return self.head.probabilities(plugin_calls.encode_images(self.backbone, pixels)).cpu()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _infer_texts(self, texts: list[str]) -> torch.Tensor:
        return self.head.probabilities(plugin_calls.encode_texts(self.backbone, texts)).cpu()  # type: ignore[no-any-return]


def _own(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _read_text(item: Any) -> tuple[str, str | None]:
    return read_text(item), None


def _checked(labels: Sequence[Any]) -> list[str]:
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


def _modality(entry: Entry) -> str:
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
