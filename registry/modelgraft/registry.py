"""The registry's Python API: list, describe, resolve and load models by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelgraft.catalogue import Catalogue
from modelgraft.contract import ImageBackbone, TextBackbone
from modelgraft.entry import MODALITIES, TASKS, Entry
from modelgraft.errors import UsageError
from modelgraft.host.host import Host, PluginReport, current_host, import_target, no_such

if TYPE_CHECKING:
    import torch

_known: tuple[Host, Catalogue] | None = None


def catalogue() -> Catalogue:
    """All entries of all working plugins; the same object until the installed plugins change."""
    global _known
    host = current_host()
    if _known is None or _known[0] is not host:
        _known = (host, Catalogue(host.entries()))
    return _known[1]


def list_models(
    pattern: str | None = None,
    *,
    provider: str | None = None,
    modality: str | None = None,
    task: str | None = None,
    licence: str | None = None,
    min_params: float | None = None,
    max_params: float | None = None,
    embed_dim: int | None = None,
) -> list[Entry]:
    """Entries that meet every condition given, sorted by name. Imports no model library.

    Args:
        pattern: a shell pattern over names and hub repositories (``*dino*``), or a part of one; letter case does not matter.
        provider: ``timm``, ``open_clip``, ...
        modality: ``image`` and ``text`` match dual encoders too; ``image-text`` matches those alone.
        task: ``features``, ``zero-shot`` or ``classification``.
        licence: as the entry states it; a shell pattern (``apache*``). Entries that state none never match.
        min_params, max_params: bounds on the number of parameters, inclusive; entries of unknown size never match.
        embed_dim: exact size of an embedding.

    Raises:
        UsageError: a modality or task that does not exist.
    """
    for value, known, what in ((modality, MODALITIES, "modality"), (task, TASKS, "task")):
        if value is not None and value not in known:
            raise UsageError(f"no {what} {value!r}; there are {', '.join(known)}")
    return catalogue().select(
        pattern,
        provider=provider,
        modality=modality,
        task=task,
        licence=licence,
        min_params=min_params,
        max_params=max_params,
        embed_dim=embed_dim,
    )


def resolve(name: str) -> Entry:
    """The entry a name means: canonical name, alias, hub id, or a short name that only one entry answers to.

    ``name@revision`` gives the entry with ``revision`` set.

    Raises:
        BadNameError, UnknownModelError, AmbiguousNameError: with the near names in the message.
    """
    return catalogue().find(name)


def model_info(name: str) -> dict[str, Any]:
    """Everything known about a model, as plain JSON types with every field present. Errors as `resolve`."""
    return resolve(name).record()


def load(
    name: str | Entry,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> ImageBackbone | TextBackbone:
    """The pretrained model behind a name, ready for inference.

    Args:
        name: as for `resolve`, or an entry.
        device: for example ``cuda:1``; None takes an accelerator where there is one, else the CPU.
        dtype: for example ``bfloat16``; None takes the provider's own.

    Raises:
        WeightsUnavailableError: the weights cannot be had; the message says how to get them.
        PluginError: the plugin failed; the cause is chained.
        UsageError: no such model, device or dtype.
    """
    entry = resolve(name) if isinstance(name, str) else name
    return current_host().call(  # type: ignore[no-any-return]
        entry.plugin,
        "modelgraft_load",
        f"loading {entry.name}",
        entry=entry,
        device=_device(device),
        dtype=_dtype(dtype),
    )


def load_head(name: str) -> Any:
    """The class of a head, by the name its plugin announced it under.

    Raises:
        UsageError: no plugin brings it.
        PluginError: its plugin failed to import it.
    """
    heads = current_host().heads()
    if name not in heads:
        raise no_such("head", name, list(heads))
    spec, plugin = heads[name]
    return import_target(spec.target, plugin)


def plugins() -> list[PluginReport]:
    """What is installed, what it brings, and why it does not work where it does not."""
    return current_host().reports()


def _device(device: str | torch.device | None) -> torch.device:
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise UsageError(f"no device {device!r}; try cpu, cuda, cuda:0 or mps") from None
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device} was asked for, and this torch sees {torch.cuda.device_count()} CUDA devices")
    return wanted


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if not isinstance(dtype, str):
        return dtype
    import torch

    found = getattr(torch, {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(dtype, dtype), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"no dtype {dtype!r}; try float32, bfloat16 or float16")
    return found
