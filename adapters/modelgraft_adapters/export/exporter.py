"""A fitted adapter as one file that runs without modelgraft: ONNX, or a program of ``torch.export`` (.pt2).

Backbone and head become one module, from preprocessed images (or tokens) to probabilities. It is traced once; the file is read
back and compared with the adapter before it is put in place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.opening import first_line
from modelgraft.outputs import output_file, told
from modelgraft.version import __version__
from PIL import Image

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.tracing import TEXTS, token_inputs, trace, traceable
from modelgraft_adapters.estimators.base import Adapter
from modelgraft_adapters.export.formats import FORMATS, check_target
from modelgraft_adapters.export.tracing import whole_module
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.saved.card import plain

TOLERANCE: Final = 1e-4
"""Probabilities of the file and of the adapter differ by no more."""
BATCHES: Final = (1, 3)
"""Sizes of the batches that are compared."""
LARGEST_ONNX: Final = 2**31 - 2**24
"""Bytes of weights that one ONNX file holds: protobuf ends at 2 GiB, and the graph takes its part."""
KEY: Final = "modelgraft"
"""Under what the facts lie in the file, as JSON: a metadata property of ONNX, an extra file of .pt2."""
Batch = torch.Tensor | Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how well it does what the adapter does."""

    path: Path
    facts: Mapping[str, Any]
    """What the file itself says: `facts_of`."""
    parity: float
    """The largest difference from the adapter, of probabilities; of a regression in parts of the value, where that is over 1."""
    spread: float
    """How far the items compared are from each other, in the same unit: a parity says something where it is far below this."""
    compared: int
    """Items that were compared."""
    unreadable: Mapping[str, str]
    """Of the items given to compare: those that could not be read, with the reason."""

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "file": str(self.path),
            "format": FORMATS[self.path.suffix],
            "size": self.path.stat().st_size,
            **self.facts,
            "parity": self.parity,
            "spread": self.spread,
            "compared": self.compared,
            "unreadable": dict(self.unreadable),
        }


def export(adapter: Adapter, path: str | Path, check: Sequence[Any] | None = None) -> Exported:
    """Write a fitted adapter to a file that gives its probabilities: (B, C) float32 of preprocessed images (B, 3, H, W) float32,
    or of the tensors of ``token_batch``. B, and the lengths of texts, are free; of a regression, values.

    The file is read back (onnxruntime or ``torch.export.load``, on the CPU) and run on items in batches of 1 and of 3; it appears
    whole and right, or not at all. The same adapter gives the same bytes.

    Args:
        adapter: on the CPU, in float32 (``Adapter.load(name, device="cpu", dtype="float32")``).
        path: ends in ``.onnx`` or ``.pt2``. A file that is there is replaced.
        check: further images or texts to compare on, as `Adapter.predict_proba` takes them; some are made in any case.

    Raises:
        UsageError: see `check_target`; nothing was trained; a backbone or a head that cannot be traced; weights too large for ONNX.
        ModelgraftError: tracing failed, the file differs from the adapter, or it cannot be written.
    """
    path = check_target(Path(path))
    module = whole_module(adapter)
    read = _read(adapter, check)
    program = trace(module, adapter.entry.name, _example(adapter, read), read.inputs)
    onnx = path.suffix == ".onnx"
    size = sum(tensor.nbytes for tensor in {**program.state_dict, **program.constants}.values())
    if onnx and size > LARGEST_ONNX:
        raise UsageError(
            f"the weights are {size / 2**30:.1f} GiB, and one ONNX file holds 2 at most; export to {path.with_suffix('.pt2').name}"
        )
    facts = _facts(adapter, read)
    with output_file(path) as file:
        with told(path):
            run = (_onnx if onnx else _pt2)(program, facts, Path(file.name))
        parity, spread = _parity(run, read, adapter.task, path)
    return Exported(path, facts, parity, spread, len(read.names), read.unreadable)


@dataclass(frozen=True, slots=True)
class _Items:
    """Items to trace and to compare on, as the model reads them."""

    names: list[str]
    batches: Callable[[int, int], Batch]
    """(start, stop) -> the inputs of these items."""
    expected: np.ndarray
    """(N, C) float32: what the adapter says of them."""
    unreadable: dict[str, str]
    inputs: list[dict[str, Any]]
    """Name, dtype and shape of each input; a free size is a word."""


def _read(adapter: Adapter, check: Sequence[Any] | None) -> _Items:
    """The items to compare on: those given, and images or texts made here."""
    extractor = adapter.extractor
    backbone, text = extractor.backbone, extractor.modality == "text"
    items = [*(check or ()), *(TEXTS if text else _pictures())]
    # The adapter's own way of reading and embedding, not the one that is traced; nothing of it is stored.
    found = FeatureExtractor(backbone, modality=extractor.modality, store=False).embed(items)
    called = [str(item) if isinstance(item, (str, os.PathLike)) else f"image {n + 1}" for n, item in enumerate(items)]
    unreadable = {called[n]: error for n, error in enumerate(found.errors) if error is not None}
    good = np.flatnonzero(found.good)
    expected = adapter._outputs(adapter._fitted(), found.features[good])
    kept = [items[n] for n in good]

    def batch(start: int, stop: int) -> Batch:
        if text:
            return plugin_calls.token_batch(backbone, kept[start:stop])
        return torch.stack([plugin_calls.preprocess(backbone, read_image(item)[0]) for item in kept[start:stop]])

    inputs = (
        token_inputs(plugin_calls.token_batch(backbone, TEXTS), plugin_calls.token_batch(backbone, TEXTS[:1]))
        if text
        else None
    )
    if inputs is None:
        inputs = [{"name": "pixels", "dtype": "float32", "shape": ["batch", *batch(0, 1).shape[1:]]}]  # type: ignore[union-attr]
    return _Items([called[n] for n in good], batch, expected, unreadable, inputs)


def _example(adapter: Adapter, read: _Items) -> Batch:
    """Three rows to trace on; no free size is 1, which tracing would take for a constant."""
    if adapter.extractor.modality == "text":
        return plugin_calls.token_batch(adapter.extractor.backbone, TEXTS[:3])
    return torch.rand(3, *read.inputs[0]["shape"][1:], generator=torch.Generator().manual_seed(0))


def _pictures() -> list[np.ndarray]:
    """Four images (240, 320, 3) uint8 of coloured spots, coarse to fine, always the same."""
    draw = np.random.default_rng(0)
    small = [draw.integers(0, 256, (n, n, 3), np.uint8) for n in (2, 6, 24, 240)]
    return [np.asarray(Image.fromarray(spots).resize((320, 240), Image.Resampling.BICUBIC)) for spots in small]


def _facts(adapter: Adapter, read: _Items) -> dict[str, Any]:
    """What it takes to use the file alone, as plain JSON types.

    ``modelgraft`` (version), ``model``, ``head``, ``task``, ``classes``, ``modality``, ``preprocessing`` (of images with
    ``input_size``, of texts with ``max_tokens``), ``inputs``, ``outputs`` (name, dtype, shape; a free size is a word).
    """
    entry, modality = adapter.entry, adapter.extractor.modality
    scheme, local, place = entry.name.partition("file:")  # the path is this machine's; its last part is the name
    image = modality == "image"
    size = {"input_size": read.inputs[0]["shape"][1:]} if image else {"max_tokens": entry.max_tokens}
    other = entry.modality == "image-text" and not image  # then it is that of images
    known = {} if other else entry.preprocessing
    name = "values" if adapter.task == "regression" else "probabilities"
    return {
        "modelgraft": __version__,
        "model": f"{scheme}{local}{Path(place).name}" if local else entry.name,
        "head": adapter.head_name,
        "task": adapter.task,
        "classes": list(adapter.classes),
        "modality": modality,
        "preprocessing": plain({**known, **size}),
        "inputs": read.inputs,
        "outputs": [{"name": name, "dtype": "float32", "shape": ["batch", len(adapter.classes)]}],
    }


Runner = Callable[[Batch], np.ndarray]


def _onnx(program: torch.export.ExportedProgram, facts: Mapping[str, Any], file: Path) -> Runner:
    """Write, and read back."""
    import onnx
    import onnxruntime

    names = [about["name"] for about in facts["inputs"]]
    try:
        with traceable():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=names, output_names=[facts["outputs"][0]["name"]]
            )
            assert made is not None
            proto = _named(made.model, facts)
    except Exception as error:
        raise ModelgraftError(
            f"{facts['model']} cannot be written as ONNX ({first_line(error)}); .pt2 may be able to"
        ) from error
    onnx.save_model(proto, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is told here, in a line
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4

    def run(batch: Batch) -> np.ndarray:
        given = batch if isinstance(batch, Mapping) else {names[0]: batch}
        found: np.ndarray = session.run(None, {name: given[name].numpy() for name in names}, quiet)[0]
        return found

    return run


def _named(model: Any, facts: Mapping[str, Any]) -> Any:
    """The protobuf, with words for free sizes, the facts, and without notes on the code it was traced from."""
    import onnx_ir

    words: dict[str, str] = {}
    for value, about in zip(model.graph.inputs, facts["inputs"], strict=True):
        words |= {
            str(was): word for was, word in zip(value.shape, about["shape"], strict=True) if isinstance(word, str)
        }
    known = re.compile("|".join(rf"\b{re.escape(was)}\b" for was in words))

    def clean(value: Any) -> None:
        value.metadata_props.clear()
        value.doc_string = None
        if value.shape is not None:
            for n, size in enumerate(value.shape):
                if not isinstance(size, int) and size.value is not None:
                    value.shape[n] = known.sub(lambda found: words[found.group()], size.value)

    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        clean(value)
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                clean(value)
    model.metadata_props.clear()
    model.metadata_props[KEY] = json.dumps(facts)
    return onnx_ir.to_proto(model)


def _pt2(program: torch.export.ExportedProgram, facts: Mapping[str, Any], file: Path) -> Runner:
    """Write, and read back."""
    # Into an open file: given a path, torch writes its name into the archive.
    with file.open("wb") as opened, traceable():
        torch.export.save(program, opened, extra_files={KEY: json.dumps(facts)})
    with file.open("rb") as written, traceable():
        module = torch.export.load(written).module()

    def run(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            found: torch.Tensor = module(batch)
        return found.numpy()

    return run


def _parity(run: Runner, read: _Items, task: str, path: Path) -> tuple[float, float]:
    """The largest difference from what is expected, and the largest between items.

    Raises:
        ModelgraftError: the file does not run, or the difference is over `TOLERANCE`, or is not small beside that between items.
    """
    scale = np.maximum(1.0, np.abs(read.expected)) if task == "regression" else np.ones_like(read.expected)
    spread = float(np.ptp(read.expected, axis=0).max() / scale.max())
    # A head under a strong penalty says nearly the same of all: then any weights would pass a fixed tolerance.
    allowed = min(TOLERANCE, max(spread / 20, 1e-6))
    worst, where, count = 0.0, "", len(read.names)
    # All items in the largest batches, a few also in the smaller ones.
    batches = [
        (n, n + size) for size in BATCHES for n in range(0, count if size == max(BATCHES) else min(count, 4), size)
    ]
    for start, stop in batches:
        wanted = read.expected[start:stop]
        try:
            found = run(read.batches(start, stop))
        except Exception as error:  # the runtime's own errors have no common kind
            raise ModelgraftError(
                f"{path.name} was not written: read back, it fails on a batch of {len(wanted)} ({first_line(error)})"
            ) from error
        if found.shape != wanted.shape:
            raise ModelgraftError(f"{path.name} was not written: it gives the shape {found.shape}, not {wanted.shape}")
        apart = np.nan_to_num(np.abs(found - wanted) / scale[start:stop], nan=np.inf).max(axis=1)
        if apart.max() > worst:
            worst, where = float(apart.max()), read.names[start + int(apart.argmax())]
    if worst > allowed:
        raise ModelgraftError(
            f"{path.name} was not written: read back, it differs from the adapter by {worst:.2g} on {where!r}, and {allowed:.2g} "
            "is allowed; the other format may do better"
        )
    return worst, spread
