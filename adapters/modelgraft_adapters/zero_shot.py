"""Zero-shot classification: pictures or texts by the names of their classes, with no training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from modelgraft import Entry, load, load_head, resolve
from modelgraft.contract import TextBackbone
from modelgraft.errors import UsageError

from modelgraft_adapters import plugin_calls
from modelgraft_adapters.class_names import alike, check_labels, readings
from modelgraft_adapters.defaults import IMAGE_MODEL
from modelgraft_adapters.images import read_image
from modelgraft_adapters.label_embeddings import embed_labels, label_texts
from modelgraft_adapters.predictions import Prediction, prediction, short
from modelgraft_adapters.stream import Outcome, default_workers, stream
from modelgraft_adapters.templates import DEFAULT_BY_MODALITY, templates_for
from modelgraft_adapters.texts import read_text


class ZeroShotClassifier:
    """Classify pictures (dual encoders: CLIP, SigLIP, CoCa ...) or texts (sentence encoders) by label names.

    The class of a label is the mean embedding of its prompts; a score is the model's own softmax or sigmoid of the scaled
    cosine (Radford et al. 2021; Zhai et al. 2023; for texts Yin et al. 2019 with sentence embeddings).

    Args:
        model: a name (see `modelgraft.resolve`) or a loaded backbone.
        labels: class names, each once.
        templates: one template, a list, or the name of an ensemble (``imagenet-80``, ``simple``, ``none`` ...); None takes what
            the model asks for, else ``a photo of a {}.`` for pictures and ``This example is {}.`` for texts.
        descriptions: for some labels, texts that describe them; they take the templates' place for that label.
        threshold: abstain (label None) where the best score is lower.
        device, dtype: as for `modelgraft.load`; ignored for a loaded backbone.
        batch_size: items per forward pass; None chooses by device.
        workers: decoding threads; None chooses.

    Attributes:
        classes_: the labels, array (C,) of str, in the order given: the columns of `predict_proba`.
        notes_: lines a user should see once: labels cut, not known to the model, or read alike.

    Raises:
        UsageError: no labels, a label twice, a model that cannot classify by name.
    """

    def __init__(
        self,
        model: str | Entry | TextBackbone = IMAGE_MODEL,
        labels: Sequence[str] = (),
        *,
        templates: str | Sequence[str] | None = None,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        threshold: float | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.labels = check_labels(labels)
        self.threshold = threshold
        entry = resolve(model) if isinstance(model, str) else model if isinstance(model, Entry) else model.entry
        self.modality = _modality(entry)
        # Everything that can be wrong with the call is found before gigabytes are fetched.
        if templates is None:
            templates = entry.templates or DEFAULT_BY_MODALITY[self.modality]
        wanted = templates_for(templates)
        texts = label_texts(self.labels, wanted, _described(descriptions or {}, self.labels))
        backbone: Any = load(entry, device=device, dtype=dtype) if isinstance(model, (str, Entry)) else model
        self.backbone = backbone
        self.batch_size = batch_size or (256 if self.backbone.device.type == "cuda" else 32)
        self.workers = workers or default_workers()
        self.classes_ = np.array(self.labels)
        self.notes_ = plugin_calls.text_notes(self.backbone, [text for group in texts for text in group])
        with torch.inference_mode():
            weight = embed_labels(self.backbone, texts)
        self.notes_ += alike(self.labels, readings(self.backbone, texts, weight))
        self.head = load_head("text")(weight, plugin_calls.score_rule(self.backbone)).to(self.backbone.device)

    @property
    def notes(self) -> list[str]:
        """`notes_`."""
        return self.notes_

    def fit(self, X: Any = None, y: Any = None) -> ZeroShotClassifier:
        """Nothing to learn; there for code that fits every estimator."""
        return self

    def classify(self, items: Iterable[Any]) -> Iterator[Prediction]:
        """A `Prediction` per item, in order, as they become known. Items are read lazily; one that fails becomes a row.

        Pictures: paths, PIL pictures, or uint8 arrays (H, W), (H, W, 3), (H, W, 4). Texts: str.
        """
        for outcome in self._probabilities(items):
            if outcome.row is None:
                yield Prediction(outcome.item, None, None, {}, error=outcome.error)
                continue
            yield prediction(
                outcome.item, outcome.row.tolist(), self.labels, threshold=self.threshold, note=outcome.note
            )

    def predict_proba(self, items: Iterable[Any]) -> np.ndarray:
        """Scores (N, C) float32, columns as `classes_`. A row of NaN, and a warning, for an item that cannot be read."""
        rows, errors = [], []
        for outcome in self._probabilities(items):
            if outcome.row is None:
                errors.append(f"{short(outcome.item)}: {outcome.error}")
                rows.append(np.full(len(self.labels), np.nan, np.float32))
            else:
                rows.append(outcome.row.numpy())
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            warnings.warn(f"{len(errors)} of {len(rows)} items cannot be read: {errors[0]}{more}", stacklevel=2)
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def predict(self, items: Iterable[Any]) -> np.ndarray:
        """The best label of each item, array (N,) of object; None where it abstains or the item cannot be read."""
        scores = self.predict_proba(items)
        out = np.empty(len(scores), dtype=object)
        for n, row in enumerate(scores):
            if not np.isnan(row).any() and (self.threshold is None or row.max() >= self.threshold):
                out[n] = self.labels[int(row.argmax())]
        return out

    def score(self, items: Iterable[Any], y: Sequence[str]) -> float:
        """Accuracy against the true labels ``y``; an abstention counts as wrong."""
        predicted = self.predict(items)
        if len(predicted) != len(y):
            raise UsageError(f"{len(predicted)} items and {len(y)} labels")
        return float(np.mean([p == t for p, t in zip(predicted, y, strict=True)]))

    def _probabilities(self, items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        if isinstance(items, (str, bytes)):
            raise UsageError("give a list of items, not a single text: [item]")
        reason = plugin_calls.not_finite(self.backbone)
        if self.modality == "text":
            return stream(
                items, _read_text, self._infer_texts, batch_size=self.batch_size, workers=1, not_finite=reason
            )
        return stream(
            items,
            self._read_image,
            self._infer_images,
            batch_size=self.batch_size,
            workers=self.workers,
            not_finite=reason,
        )

    def _read_image(self, item: Any) -> tuple[torch.Tensor, str | None]:
        image, note = read_image(item)
        return plugin_calls.preprocess(self.backbone, image), note

    @torch.inference_mode()
    def _infer_images(self, pixels: list[torch.Tensor]) -> torch.Tensor:
        return self.head.probabilities(plugin_calls.encode_images(self.backbone, pixels)).cpu()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _infer_texts(self, texts: list[str]) -> torch.Tensor:
        return self.head.probabilities(plugin_calls.encode_texts(self.backbone, texts)).cpu()  # type: ignore[no-any-return]


def _read_text(item: Any) -> tuple[str, str | None]:
    return read_text(item), None


def _modality(entry: Entry) -> str:
    if "zero-shot" not in entry.tasks:
        raise UsageError(
            f"{entry.name} cannot classify by label names, it has no text tower; 'modelgraft list --task zero-shot' shows "
            "the models that can"
        )
    return "text" if entry.modality == "text" else "image"


def _described(descriptions: Mapping[str, Sequence[str]], labels: Sequence[str]) -> dict[str, list[str]]:
    strangers = [label for label in descriptions if label not in labels]
    if strangers:
        raise UsageError(f"descriptions of {', '.join(map(repr, strangers[:3]))}, which are not among the labels")
    return {label: [texts] if isinstance(texts, str) else list(texts) for label, texts in descriptions.items()}
