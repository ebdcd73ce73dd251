"""A module as a program of ``torch.export``: every size that may vary is free in it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from modelgraft.errors import ModelgraftError
from modelgraft.opening import first_line
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FREE: Final = torch.export.Dim.DYNAMIC
TEXTS: Final = (
    "it",
    "a red rose in the garden, and a few more words",
    "unquestionably, the antidisestablishmentarian photographed seventeen hummingbirds",
    "Where is the train to the sea?",
)
"""To trace with: of different lengths, none of them of one token."""


class _Expressible(TorchFunctionMode):
    """Two functions that cannot be traced or written with free sizes, as others that can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.one_hot and _classes(*args, **kwargs) is not None:
            return _one_hot(*args, **kwargs)
        if func is F.embedding_bag and _plain_bags(**kwargs):
            return _bags(args[0], args[1], kwargs["offsets"], kwargs["mode"])
        return func(*args, **kwargs)


def _classes(indices: torch.Tensor, num_classes: Any = -1) -> Any:
    """How many, or None where the numbers themselves say."""
    return None if isinstance(num_classes, int) and num_classes < 0 else num_classes


def _one_hot(indices: torch.Tensor, num_classes: Any) -> torch.Tensor:
    return (indices.unsqueeze(-1) == torch.arange(num_classes)).to(torch.int64)


def _plain_bags(**options: Any) -> bool:
    """Means or sums of rows of a table, and no more. (Torch names the options when it asks the mode.)"""
    extra = ("max_norm", "per_sample_weights", "include_last_offset", "padding_idx")
    known = options.get("offsets") is not None and options.get("mode") in ("mean", "sum")
    return known and not any(options.get(name) is not None and options[name] is not False for name in extra)


def _bags(ids: torch.Tensor, table: torch.Tensor, offsets: torch.Tensor, mode: str) -> torch.Tensor:
    """``F.embedding_bag``: (W, D) of ids (N,) whose bags begin at offsets (W,)."""
    # The bag of each id: how many bags have begun before it. An empty last bag begins at N.
    # (scatter_add, not index_add: all engines know it.)
    begun = torch.zeros(ids.shape[0] + 1, dtype=torch.int64).scatter_add(0, offsets, torch.ones_like(offsets))
    bag = begun.cumsum(0)[: ids.shape[0]] - 1
    sums = table.new_zeros(offsets.shape[0], table.shape[1]).scatter_add(
        0, bag[:, None].expand(-1, table.shape[1]), table[ids]
    )
    if mode == "sum":
        return sums
    counts = table.new_zeros(offsets.shape[0]).scatter_add(0, bag, torch.ones_like(ids, dtype=table.dtype))
    return sums / counts.clamp_min(1)[:, None]


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """No gradients, no fused kernels that only this machine's torch has, and no chatter of the tracer."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _Expressible():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trace(
    module: nn.Module, name: str, batch: torch.Tensor | Mapping[str, torch.Tensor], inputs: Sequence[Mapping[str, Any]]
) -> torch.export.ExportedProgram:
    """The program of a module, without weights that it does not read. It is the same for every run, folder and machine.

    Args:
        name: of the model, for messages.
        batch: an example, of more than one row and more than one of every free size.
        inputs: ``name`` and ``shape`` of each tensor of it, where a free size is a word.

    Raises:
        ModelgraftError: it cannot be traced.
    """
    shapes = {
        about["name"]: {n: FREE for n, size in enumerate(about["shape"]) if isinstance(size, str)} for about in inputs
    }
    free = shapes if isinstance(batch, Mapping) else next(iter(shapes.values()))
    try:
        with traceable():
            program = torch.export.export(module, (batch,), dynamic_shapes=(free,), strict=False)
    except Exception as error:  # whatever the model's library and the tracer do not agree on
        raise ModelgraftError(f"{name} cannot be traced ({first_line(error)})") from error
    return _bare(program)


def _bare(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Without weights that nothing reads, and without notes on the code it was traced from, which name this machine's folders."""
    graph, signature = program.graph, program.graph_signature
    unread = {node.name for node in graph.nodes if node.op == "placeholder" and not node.users}
    kept = []
    for spec in signature.input_specs:
        if spec.target is not None and spec.arg.name in unread:
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
            graph.erase_node(next(node for node in graph.nodes if node.name == spec.arg.name))
        else:
            kept.append(spec)
    signature.input_specs[:] = kept
    for node in graph.nodes:
        node.meta = {key: value for key, value in node.meta.items() if key in ("val", "torch_fn", "unbacked_bindings")}
    program.graph_module.recompile()
    return program


def token_inputs(some: Mapping[str, torch.Tensor], one: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Return name, dtype and shape of each tensor of tokens. Sizes that go with the texts are free, which is a word; the others (a
    tower of one length) are fixed.

    Args:
        some: of several texts.
        one: of the first of them alone.
    """
    words = ("batch", "length", "pieces", "more")
    return [
        {
            "name": name,
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": [
                words[n] if n == 0 or size != one[name].shape[n] else size for n, size in enumerate(tensor.shape)
            ],
        }
        for name, tensor in some.items()
    ]
