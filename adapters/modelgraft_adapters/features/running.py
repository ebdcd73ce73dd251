"""A model as it is run: where, in which precision, at which layer, by torch or by an engine; loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

import torch
from modelgraft import Entry, load, resolve
from modelgraft.contract import Layered
from modelgraft.devices import check_words, device_of, dtype_of, precision_notes
from modelgraft.errors import PluginError, UsageError

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.defaults import AUTO, checked_model
from modelgraft_adapters.features.best_engine import best_engine, best_threads, in_threads
from modelgraft_adapters.features.engine import EngineRun
from modelgraft_adapters.features.identity import (
    backbone_identity,
    builds,
    entry_identity,
    is_known,
    read_modality,
    settings_identity,
    versions,
)


class Running:
    """What turns batches into embeddings.

    Args:
        model, modality, layer, device, dtype, engine: as `FeatureExtractor`'s.
        threads: to work in; None is as many as torch has, or for an engine by name what was found fastest for it here.

    Attributes:
        entry: the model's entry.
        named: it was given by name, and its weights are loaded when something must be encoded.
        modality: ``image`` or ``text``.
        dtype: what is computed in; None is the model's own.
        identity: which model and weights it is.
        card: what its embeddings depend on.
        known: that card says all of it, so that embeddings can be kept by it.

    Raises:
        UsageError: no such model, device, dtype or engine, or one that does not read such items.
        WeightsUnavailableError: the model's files are not stored and cannot be asked for.
    """

    def __init__(
        self,
        model: Any,
        modality: Literal["image", "text"] | None,
        layer: str | None,
        device: str | torch.device | None,
        dtype: str | torch.dtype | None,
        engine: str | None,
        threads: int | None = None,
    ) -> None:
        check_words(device, dtype)
        model = checked_model(model)
        self.named = isinstance(model, (str, Entry))
        self.entry: Entry = resolve(model) if isinstance(model, str) else model if self.named else model.entry
        self.modality = read_modality(self.entry, modality)
        self.layer = layer
        self.device = device_of(device) if self.named else torch.device(model.device)
        if self.named or (engine is not None and _dtype_of(model.module) == torch.float32 and dtype is not None):
            self.dtype = dtype_of(dtype, self.device)
            self._notes = precision_notes(dtype, self.device)
        else:
            self.dtype, self._notes = _dtype_of(model.module), []
        self.identity = entry_identity(self.entry) if self.named else backbone_identity(model)
        self.known = is_known(self.identity)
        about = (self.identity, self.modality, self.dtype, self.device)
        if engine == AUTO:
            engine = best_engine(*about)
        if threads is None and isinstance(engine, str):
            threads = best_threads(*about, engine)
        self._threads = threads
        self._engine = EngineRun(engine, self.modality, self.dtype, self._narrow if self.named else None)
        self._backbone: Any = None if self.named else model
        self._loading = threading.Lock()
        self._checked = False
        self._most: int | None = None
        self.card: dict[str, Any] = {
            **self.identity,
            **settings_identity(self.modality, layer, self.device, self.dtype),
            "versions": versions(self.entry.distribution),
            "builds": builds(self.entry.distribution),
            **self._engine.card,
        }

    @property
    def backbone(self) -> Any:
        """The model, loaded when first asked for. Errors as `modelgraft.load`; UsageError for a layer it has not."""
        with self._loading:
            if self._backbone is None:
                self._backbone = load(self.entry, device=self.device, dtype=self._engine.loads)
            self._checked = self._checked or self._check_layer()
        return self._backbone

    @property
    def loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._backbone is not None

    @property
    def width(self) -> int:
        """Of one embedding: what the entry states where nothing is loaded, 0 where that says nothing."""
        return self._backbone.embed_dim if self._backbone is not None else self.entry.embed_dim or 0

    def encode(self, ready: Sequence[Any]) -> torch.Tensor:
        """Return the embeddings (B, ...) float32 of preprocessed images, or of texts. Errors as `plugin_calls.encode_images`.

        A batch for which the memory of a GPU does not suffice is halved until it does, and later ones are no larger.
        """
        backbone = self.backbone
        with in_threads(self._threads):
            while True:
                most = min(len(ready), self._most or len(ready))
                parts = [ready[begin : begin + most] for begin in range(0, len(ready), most)]
                try:
                    found = [self._engine.encode(backbone, part, self.layer) for part in parts]
                    return found[0] if len(found) == 1 else torch.cat(found)
                except PluginError as error:
                    if not isinstance(error.__cause__, torch.OutOfMemoryError) or most == 1:
                        raise
                self._most = -(-most // 2)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()  # what the attempt left, in pieces of its sizes
                self._notes.append(f"the memory of {self.device} is too small for batches of {most}: halved")

    def take_notes(self) -> list[str]:
        """Return what is to be said, each line once."""
        said, self._notes = [*self._notes, *self._engine.take_notes()], []
        return said

    def _narrow(self) -> Any:
        return load(self.entry, device=self.device, dtype=self.dtype)

    def _check_layer(self) -> bool:
        if self.layer is None:
            return True
        backbone = self._backbone
        there = plugin_calls.layers(backbone, self.modality) if isinstance(backbone, Layered) else ()
        if self.layer not in there:
            has = f"there are: {', '.join(there)}" if there else "it has no layers to choose from, leave it out"
            raise UsageError(f"{self.entry.name} has no layer {self.layer!r} for {self.modality}s; {has}")
        return True


def _dtype_of(module: torch.nn.Module) -> torch.dtype | None:
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    return None if first is None else first.dtype
