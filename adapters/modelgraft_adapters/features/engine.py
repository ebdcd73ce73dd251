"""A tower of a backbone run by an engine (`modelgraft.contract.Engine`) in place of torch, if that gives the same embeddings.

A model is traced and converted once; what an engine made of it is kept in the cache by the weights' digest and the versions of all
that took part, and is looked at in full before it is used again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import torch
from modelgraft import load_engine
from modelgraft.errors import DamagedFileError, ModelgraftError, PluginError, UsageError
from modelgraft.guard import plugin_code
from modelgraft.opening import first_line
from modelgraft.paths import held_folder, release, sweep, sync_folder, write_atomic
from modelgraft.sealed import write_sealed
from modelgraft.weights.converted import FILES, engines_folder, stated_files
from modelgraft.weights.verifying import digest
from torch import nn

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.tracing import TEXTS, token_inputs, trace, traceable
from modelgraft_adapters.features.identity import backbone_identity, is_known

Batch = torch.Tensor | Mapping[str, torch.Tensor]
TORCH: Final = "torch"
EXACT: Final = 1e-5
"""Part of its length by which an embedding may differ from torch's; float32 rounds to a few parts in ten million."""
FAST: Final = 0.999
"""The least cosine of an embedding in bfloat16 with torch's in float32."""
FORMAT: Final = 1
"""Raise it when a model is traced otherwise: what was converted before is not used then."""


class EngineRun:
    """Embeds batches by an engine; by torch where that cannot be, and says so once.

    Args:
        name: of an engine that a plugin brings; None and ``torch`` are torch.
        modality: the tower.
        dtype: what is computed in; None is the model's own. An engine is given a model in float32 (`loads`) and computes in this.
        narrow: gives the model in ``dtype``, for torch to run where the engine cannot.

    Raises:
        UsageError: no such engine, or its library is not installed.
    """

    def __init__(
        self,
        name: str | None,
        modality: Literal["image", "text"],
        dtype: torch.dtype | None = None,
        narrow: Callable[[], Any] | None = None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise UsageError(f"engine={name!r}; it is the name of an engine, such as 'openvino', or 'torch'")
        self.name, self.modality = name or TORCH, modality
        self._engine = None if self.name == TORCH else load_engine(self.name)
        self.version = None if self._engine is None else self._engine.version()
        self._narrow = narrow
        self.dtype: torch.dtype = torch.float32
        if self._engine is not None and dtype in (torch.bfloat16, torch.float16):
            self.dtype = dtype
        self.loads = dtype if self.dtype == torch.float32 else torch.float32
        """The dtype that the model is to be loaded in."""
        self._run: Callable[[Batch], torch.Tensor] | None = None
        self._shape: tuple[int, ...] | None = None
        self._narrowed: Any = None
        self._notes: list[str] = []

    @property
    def card(self) -> dict[str, str]:
        """What features depend on beside torch: nothing where that runs the model."""
        return {} if self.version is None else {"engine": f"{self.name} {self.version}"}

    def take_notes(self) -> list[str]:
        """Return what is to be said, each line once."""
        said, self._notes = self._notes, []
        return said

    def encode(self, backbone: Any, ready: Sequence[Any], layer: str | None = None) -> torch.Tensor:
        """Return the embeddings (B, D) float32 of preprocessed images, or of texts. Errors as `plugin_calls.encode_images`."""
        plain = plugin_calls.encode_texts if self.modality == "text" else plugin_calls.encode_images
        if self._engine is not None and self._run is None:
            try:
                self._start(backbone, ready, layer)
            except (ModelgraftError, OSError) as error:
                if isinstance(error, PluginError) and not isinstance(error, _EngineError):
                    raise  # the backbone's plugin is wrong, in torch too
                self._engine = None
                self._notes.append(f"{backbone.entry.name} runs in torch: {error}")
        if self._run is None or (self.modality == "image" and any(tuple(one.shape) != self._shape for one in ready)):
            return plain(self._by_torch(backbone), ready, layer)
        batch = plugin_calls.token_batch(backbone, ready) if self.modality == "text" else torch.stack(list(ready))
        return _checked(self._call(self._run, batch), len(ready), backbone.embed_dim, self.name)

    def _by_torch(self, backbone: Any) -> Any:
        """The model in the dtype asked for, if it can be had."""
        if self.dtype == torch.float32 or self._narrow is None:
            return backbone
        if self._narrowed is None:
            self._narrowed = self._narrow()
        return self._narrowed

    def _call(self, run: Callable[[Batch], torch.Tensor], batch: Batch) -> torch.Tensor:
        with self._asked("running a model"):
            return run(batch)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            with plugin_code(f"engine {self.name}", what):
                yield
        except PluginError as error:
            raise _EngineError(str(error)) from error.__cause__

    def _start(self, backbone: Any, ready: Sequence[Any], layer: str | None) -> None:
        """Convert the tower, or take what was converted before.

        Raises:
            ModelgraftError: it cannot be, or gives other embeddings than torch.
        """
        other = next(
            (p for p in backbone.module.parameters() if p.is_floating_point() and p.dtype != torch.float32), None
        )
        if backbone.device.type != "cpu" or other is not None:
            raise ModelgraftError(f"the engine {self.name} is given a model in float32 on the CPU")
        if layer is not None and layer != plugin_calls.layers(backbone, self.modality)[0]:
            raise ModelgraftError(f"the engine {self.name} gives the model's own embedding, not the layer {layer!r}")
        plugin_calls.check_trainable(backbone, self.modality)  # embed() is what is traced
        example = self._example(backbone, ready, 3)
        folder = self._folder(backbone, example)
        kind = str(self.dtype).removeprefix("torch.")
        refused = folder.with_name(f"{folder.name}.{kind}.refused")
        if refused.exists():
            raise ModelgraftError(refused.read_text(encoding="utf-8", errors="replace")[:500])
        try:
            self._open(folder, backbone, ready)
        except (OSError, ValueError, DamagedFileError, PluginError, _OtherNumbersError):
            # It is not there, damaged, or of a library that changed under its version.
            shutil.rmtree(folder, ignore_errors=True)
            try:
                self._convert(folder, backbone, example)
                self._open(folder, backbone, ready)
            except (_CannotError, _OtherNumbersError) as error:  # as it will be the next time
                write_atomic(refused, str(error).encode())
                raise

    def _open(self, folder: Path, backbone: Any, ready: Sequence[Any]) -> None:
        stated = stated_files(folder)
        if {name: digest(folder / name, "sha256") for name in stated} != stated:
            raise ValueError("a converted model is damaged")
        assert self._engine is not None
        os.utime(folder / FILES)  # when it was used last
        with self._asked("opening a converted model"):
            run = self._engine.open(folder, torch.get_num_threads(), self.dtype)
        for rows in (1, 3):
            example = self._example(backbone, ready, rows)
            found = _checked(self._call(run, example), rows, backbone.embed_dim, self.name)
            with torch.inference_mode():
                wanted = plugin_calls.embedding(backbone, example, False)
            if why := self._other(found, wanted):
                raise _OtherNumbersError(why)
        self._run = run  # not before: an error of any kind leaves nothing that was not looked at

    def _other(self, found: torch.Tensor, wanted: torch.Tensor) -> str | None:
        """Why embeddings (B, D) are not torch's, as far as the precision allows; None where they are."""
        if self.dtype == torch.float32:
            apart = float(((found - wanted).norm(dim=1) / wanted.norm(dim=1).clamp_min(1e-12)).max())
            if apart <= EXACT:
                return None
            return f"by {self.name} its embeddings differ by {apart:.1e} of their length, and {EXACT:.0e} is allowed"
        alike = float(torch.cosine_similarity(found, wanted).min())
        if alike >= FAST:
            return None
        return f"by {self.name} in {self.dtype} its embeddings have a cosine of {alike:.4f} with float32's, and {FAST} is asked for"

    def _convert(self, folder: Path, backbone: Any, example: Batch) -> None:
        """Trace and convert; the folder is there whole, or not at all."""
        if isinstance(example, torch.Tensor):
            inputs = [{"name": "pixels", "shape": ["batch", *example.shape[1:]]}]
        else:
            inputs = token_inputs(example, plugin_calls.token_batch(backbone, TEXTS[:1]))
        tower = _Tower(backbone).eval()
        try:
            program = trace(tower, backbone.entry.name, example, inputs)
        except ModelgraftError as error:
            raise _CannotError(str(error)) from error
        assert self._engine is not None
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        new, holding = held_folder(folder)
        try:
            try:
                with traceable(), self._asked(f"converting {backbone.entry.name}"):
                    self._engine.convert(program, tuple(about["name"] for about in inputs), new)
            except _EngineError as error:
                raise _CannotError(f"{self.name} cannot convert it ({first_line(error.__cause__ or error)})") from error
            files = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
            write_sealed(new / FILES, json.dumps({name: digest(new / name, "sha256") for name in files}).encode())
            os.replace(new, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            release(holding)

    def _example(self, backbone: Any, ready: Sequence[Any], rows: int) -> Batch:
        if self.modality == "text":
            return plugin_calls.token_batch(backbone, TEXTS[1 : 1 + rows])
        self._shape = tuple(ready[0].shape)
        return torch.randn(rows, *self._shape, generator=torch.Generator().manual_seed(0))

    def _folder(self, backbone: Any, example: Batch) -> Path:
        identity = backbone_identity(backbone)
        if not is_known(identity):
            raise ModelgraftError("its code is in no file, so that what it computes cannot be kept")
        shape = list(example.shape[1:]) if isinstance(example, torch.Tensor) else sorted(example)
        about = [FORMAT, identity, self.name, self.version, torch.__version__, self.modality, shape]
        return engines_folder() / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


class _Tower(nn.Module):
    """``embed`` as a module. ``body`` is there for its parameters' sake; the backbone itself is no module."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.body = backbone.module
        self._backbone = (backbone,)

    def forward(self, batch: Any) -> torch.Tensor:
        """(B, D) float32."""
        found: torch.Tensor = self._backbone[0].embed(batch)  # unchecked: a look at the shape would make it a constant
        return found.float()


class _EngineError(PluginError):
    """An engine fails, or gives what is no embedding."""


class _CannotError(ModelgraftError):
    """A model cannot be traced, or an engine cannot convert it."""


class _OtherNumbersError(ModelgraftError):
    """An engine computes something else."""


def _checked(found: Any, rows: int, width: int, name: str) -> torch.Tensor:
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != (rows, width) or not found.is_floating_point():
        raise _EngineError(f"the engine {name} is wrong: it gives {plugin_calls.shown(found)}, not ({rows}, {width})")
    return found.float()
