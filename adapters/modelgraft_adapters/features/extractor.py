"""Items to features, through the feature store: what is stored is not computed again, what fails is a row with its reason."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft import Entry
from modelgraft.errors import ModelgraftError, UnreadableItemError
from modelgraft.outputs import check_output_folder

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.cut_texts import CutTexts, cut_lengths
from modelgraft_adapters.calls.pickling import Packed
from modelgraft_adapters.calls.stream import Prepared, default_workers, read_ahead
from modelgraft_adapters.calls.text_batches import windows
from modelgraft_adapters.data.arrays import each_item
from modelgraft_adapters.defaults import checked_count
from modelgraft_adapters.features.grouping import by_shape, by_text
from modelgraft_adapters.features.row_buffer import Gathered
from modelgraft_adapters.features.running import Running
from modelgraft_adapters.features.store import FeatureStore
from modelgraft_adapters.media.images import kept, read_image
from modelgraft_adapters.media.texts import read_text, short
from modelgraft_adapters.storage.keys import FileDigests, picture_digest, text_digest

_NOTES: Final = 5


@dataclass(frozen=True, slots=True)
class Embedded:
    """The features of N items."""

    features: np.ndarray
    """(N, D) float32, or (N, D, h, w) for the layer ``map``; rows of failed items are NaN. Large ones are a memory map."""
    errors: tuple[str | None, ...]
    """(N): why an item has no features; None where it has."""
    notes: tuple[str, ...]
    """What a user should know of how the items were read, and of the store."""
    encoded: int
    """Items that went through the model in this call: 0 when all were stored."""
    card: dict[str, Any]
    """What the features depend on: model, digests of its files, layer, precision, preprocessing, versions."""

    @property
    def good(self) -> np.ndarray:
        """(N,) bool: which items have features."""
        return np.array([error is None for error in self.errors], bool)


@dataclass(frozen=True, slots=True)
class Row:
    """The features of one item, or why there are none."""

    item: Any
    features: np.ndarray | None
    """float32."""
    error: str | None
    note: str | None


@dataclass(slots=True)
class _Read:
    """An item on its way: its digest, and where it is not stored what the model reads."""

    digest: bytes
    ready: Any


class FeatureExtractor:
    """Features of images or texts by a pretrained model, kept on disk.

    Items are taken in batches by their place in the sequence (texts in windows of batches, in which those of like length go
    together), and what one gave is stored whole: a run that was killed and is started again on the same items encodes what is
    missing as it would have been, and gives the same bytes.

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone. By name the weights are loaded when something
            must be encoded, and not before.
        modality: ``image`` or ``text``, which tower of a dual encoder; None takes the image tower where there is one.
        layer: where the embedding is taken (`modelgraft.contract.Layered`); None is the model's own embedding.
        device: as for `modelgraft.load`; ignored for a loaded backbone.
        dtype: as for `modelgraft.load`; of a loaded backbone in float32 what an engine computes in, else ignored for it.
        batch_size: items per forward pass, of long texts fewer; None chooses by device, and takes more short texts at once. Another
            batch size can change features in the last bits.
        workers: decoding threads; None chooses.
        engine: what runs the model in place of torch (`modelgraft.list_engines`), if it gives the same embeddings; None is torch.
        store: where features are kept; None is the cache's store for this model and setting, False keeps nothing.

    Attributes:
        entry: the model's entry.
        modality: ``image`` or ``text``.
        card: what the features depend on.
        encoded: items that went through the model since the extractor was made.

    Raises:
        UsageError: no such model, device or dtype, or one that does not read such items.
        WeightsUnavailableError: the model's files are not stored and cannot be asked for.
    """

    def __init__(
        self,
        model: Any,
        *,
        modality: Literal["image", "text"] | None = None,
        layer: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
        store: FeatureStore | Literal[False] | None = None,
    ) -> None:
        options = {"modality": modality, "layer": layer, "device": device, "dtype": dtype, "store": store}
        self._given = {**options, "batch_size": batch_size, "workers": workers, "engine": engine}
        self._running = Running(model, modality, layer, device, dtype, engine)
        self._loaded = None if self._running.named else model
        self.entry: Entry = self._running.entry
        self.modality, self.layer, self.device = self._running.modality, layer, self._running.device
        self.batch_size = checked_count("batch_size", batch_size) or (256 if self.device.type == "cuda" else 32)
        self.workers = checked_count("workers", workers, 0) or default_workers()
        self.card: dict[str, Any] = self._running.card
        self.store = (
            (FeatureStore(self.card) if self._running.known else None)
            if store is None
            else (None if store is False else store)
        )
        self.encoded = 0
        self._files: FileDigests | None = None
        self._said: list[str] = []
        self._unwritable = False
        self._width: tuple[int, ...] | None = None
        self._say(*self._running.take_notes())
        if self.store is not None:
            self._try_keeping(self.store)

    def __getstate__(self) -> dict[str, Any]:
        model = self.entry if self._loaded is None else Packed.of(self._loaded)
        return {"model": model, "given": self._given, "weights": self.card["weights"]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model = state["model"]
        FeatureExtractor.__init__(self, model.unpacked() if isinstance(model, Packed) else model, **state["given"])
        if self.card["weights"] != state["weights"]:
            raise ModelgraftError(
                f"the pickle was made with other weights of {self.entry.name} than are here; get those, or make it anew"
            )

    @property
    def backbone(self) -> Any:
        """The model, loaded when first asked for. Errors as `modelgraft.load`; UsageError for a layer it has not."""
        return self._running.backbone

    def embed(self, items: Sequence[Any], progress: Callable[[int, int], None] | None = None) -> Embedded:
        """The features of all items, in order.

        Args:
            items: images: paths, PIL images, uint8 arrays (H, W[, 3 or 4]), objects with ``read_bytes()``; or texts.
            progress: told (items done, items there are), in the calling thread.
        """
        whole = each_item(items)
        items = whole if isinstance(whole, Sized) else list(whole)  # type: ignore[assignment]  # which may be read lazily
        before, total, gathered = self.encoded, len(items), Gathered(len(items))
        errors: list[str | None] = []
        noted: list[str] = []
        count = 0
        for row in self.stream(items):
            gathered.put(len(errors), row.features)
            errors.append(row.error)
            if row.note:
                count += 1
                if len(noted) < _NOTES:
                    noted.append(f"{short(row.item)}: {row.note}")
            if progress:
                progress(len(errors), total)
        if count > len(noted):
            noted.append(f"and {count - len(noted)} more items with a note")
        noted += self.take_notes()
        features = gathered.array(len(errors), self._shape())
        return Embedded(features, tuple(errors), tuple(noted), self.encoded - before, self.card)

    def stream(self, items: Iterable[Any]) -> Iterator[Row]:
        """A `Row` per item, in order, as they become known. Memory is constant in the number of items; they are read lazily."""
        if self.store is not None and self.modality == "image" and self._files is None:
            self._files = FileDigests()
        read = self._read_text if self.modality == "text" else self._read_picture
        # Tokenising is a part of encoding a text: reading texts needs no threads, but the digests are cheap in one.
        workers = 1 if self.modality == "text" else self.workers
        prepared = read_ahead(kept(each_item(items)), read, workers=workers, ahead=2 * self.batch_size)
        cut = CutTexts(self.modality == "text")
        try:
            for size in windows(self.batch_size) if self.modality == "text" else itertools.repeat(self.batch_size):
                if not (batch := list(itertools.islice(prepared, size))):
                    return
                yield from self._batch(batch, cut)
        finally:
            prepared.close()
            self._say(*cut.notes())

    def take_notes(self) -> list[str]:
        """What is to be said of the runs so far, each line once: a store that cannot be written, texts that are cut."""
        said, self._said = self._said, []
        return said

    def _batch(self, batch: list[Prepared[Any, _Read]], cut: CutTexts) -> Iterator[Row]:
        if self.store is not None:
            self.store.refresh()
        known: dict[bytes, np.ndarray] = {}
        reads = {item.value.digest: item for item in batch if item.value is not None}
        if self.store is not None:
            found = self.store.get(list(reads))
            known = {digest: row for digest, row in zip(reads, found, strict=True) if row is not None}
        missing = {digest: item for digest, item in reads.items() if digest not in known}
        if cut.counts:
            stored = self.store.cut(list(known)) if self.store is not None else {}
            cut.take([item.value.digest for item in batch if item.value], {**stored, **self._newly_cut(missing)})
        errors = self._encode(missing, known, reads)
        for item in batch:
            if item.value is None:
                yield Row(item.item, None, item.error, None)
            elif item.value.digest in errors:
                yield Row(item.item, None, errors[item.value.digest], item.note)
            else:
                yield Row(item.item, known[item.value.digest], None, item.note)

    def _encode(
        self,
        missing: dict[bytes, Prepared[Any, _Read]],
        known: dict[bytes, np.ndarray],
        window: Mapping[bytes, Prepared[Any, _Read]],
    ) -> dict[bytes, str]:
        """Encode what is missing of a window, keep it batch by batch, add it to ``known``; why some have no features."""
        errors: dict[bytes, str] = {}
        ready: dict[bytes, Any] = {}
        for digest, item in missing.items():
            assert item.value is not None
            if item.value.ready is None:  # it was stored when it was read, and is damaged
                try:
                    item.value.ready = self._ready(item.item, None)[0]
                except UnreadableItemError as error:
                    errors[digest] = str(error)
                    continue
            ready[digest] = item.value.ready
        for group in self._groups(ready, window):
            new: dict[bytes, np.ndarray] = {}
            rows = self._forward([ready[digest] for digest in group])
            self.encoded += len(group)
            for digest, row in zip(group, rows, strict=True):
                if np.isfinite(row).all():
                    new[digest] = row
                else:
                    errors[digest] = plugin_calls.not_finite(self.backbone)
            known.update(new)
            self._keep(new)
        return errors

    def _groups(self, ready: dict[bytes, Any], window: Mapping[bytes, Prepared[Any, _Read]]) -> list[list[bytes]]:
        if self.modality == "image":
            return by_shape(ready)
        # Of all texts of the window, stored ones too: batches are then what they were in a run that was interrupted.
        texts = {digest: item.item for digest, item in window.items()}
        groups = by_text(texts, self.batch_size, exactly=self._given["batch_size"] is not None)
        return [left for group in groups if (left := [digest for digest in group if digest in ready])]

    def _newly_cut(self, missing: dict[bytes, Prepared[Any, _Read]]) -> dict[bytes, tuple[int, int]]:
        """Of texts that are to be encoded those that are longer than is read; kept before their features are."""
        if not missing:
            return {}
        texts = [str(item.item) for item in missing.values()]
        lengths = cut_lengths(self.backbone, texts)
        found = {digest: told for digest, told in zip(missing, lengths, strict=True) if told is not None}
        if found and self.store is not None:
            self._writing(lambda: self.store.note_cut(found))  # type: ignore[union-attr]
        return found

    @torch.inference_mode()
    def _forward(self, ready: list[Any]) -> np.ndarray:
        backbone = self.backbone
        found = self._running.encode(ready)
        self._say(*self._running.take_notes())
        if self.modality == "text" and self.encoded == 0:
            # Texts that are cut are counted over all of them.
            whole = [text for text, cut in zip(ready, cut_lengths(backbone, ready), strict=True) if cut is None]
            about = plugin_calls.text_notes(backbone, whole) if whole else []
            self._say(*(f"of the first {len(ready)} texts: {note}" for note in about))
        return np.ascontiguousarray(found.cpu().numpy())

    def _try_keeping(self, store: FeatureStore) -> None:
        """A store that cannot be written costs time, not the result; it is said before that time is spent."""
        try:
            check_output_folder(store.folder)
        except ModelgraftError as error:
            self._unwritable = True
            self._say(f"features are not kept for the next time: {error}")

    def _keep(self, new: dict[bytes, np.ndarray]) -> None:
        if new:
            self._width = next(iter(new.values())).shape
        if self.store is None:
            return

        def keep() -> None:
            assert self.store is not None
            if new:
                self.store.add(list(new), np.stack(list(new.values())))
            if self._files is not None:
                self._files.save()

        self._writing(keep)

    def _writing(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self._unwritable:
                self._unwritable = True
                self._say(f"features are not kept for the next time: {error}")

    def _say(self, *lines: str) -> None:
        self._said += [line for line in lines if line not in self._said]

    def _read_text(self, item: Any) -> tuple[_Read, str | None]:
        return _Read(text_digest(read_text(item)), item), None

    def _read_picture(self, item: Any) -> tuple[_Read, str | None]:
        try:
            if self._files is not None and isinstance(item, str):
                digest, content = self._files.digest(item)
            elif self._files is not None and hasattr(item, "__fspath__"):
                digest, content = self._files.digest(item.__fspath__())
            else:
                digest, content = picture_digest(item)
        except (TypeError, ValueError) as error:
            raise UnreadableItemError(f"not an image but {type(item).__name__}: {error}") from None
        if self.store is not None and self.store.holds(digest):
            return _Read(digest, None), None
        ready, note = self._ready(item, content)
        return _Read(digest, ready), note

    def _ready(self, item: Any, content: bytes | None) -> tuple[Any, str | None]:
        if self.modality == "text":
            return item, None
        image, note = read_image(item if content is None else io.BytesIO(content))
        return plugin_calls.preprocess(self.backbone, image), note

    def _shape(self) -> tuple[int, ...]:
        """Of one item's features; what the entry states where nothing is known better."""
        if self.store is not None and self.store.shape is not None:
            return self.store.shape
        return self._width or (self._running.width,)
