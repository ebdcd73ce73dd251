"""The registry's Python API: list, describe, resolve and load models by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from modelgraft.contract import ImageBackbone, TextBackbone
from modelgraft.devices import check_words, device_of, dtype_of
from modelgraft.entry import Entry
from modelgraft.errors import PluginError, UsageError
from modelgraft.guard import plugin_code
from modelgraft.host.host import PluginReport, current_host, import_target, no_such
from modelgraft.listing.installed import catalogue
from modelgraft.project.local_names import meaning
from modelgraft.specs import EngineSpec, HeadSpec
from modelgraft.weights import local_weights
from modelgraft.weights.recognising import location_of, recognise

if TYPE_CHECKING:
    import torch

__all__ = ["list_engines", "load_engine", "resolve"]

Spec = TypeVar("Spec", HeadSpec, EngineSpec)


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
    input_size: int | str | Sequence[int] | None = None,
    min_score: float | None = None,
    benchmark: str | None = None,
    sort: str | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> list[Entry]:
    """Entries that meet every condition given. Imports no model library.

    Args:
        pattern: a shell pattern over names and hub repositories (``*dino*``), or a part of one; letter case does not matter.
        provider: ``timm``, ``open_clip``, ...
        modality: ``image`` and ``text`` match dual encoders too; ``image-text`` matches those alone.
        task: ``features``, ``zero-shot`` or ``classification``.
        licence: as the entry states it, or a shell pattern (``apache*``): entries that state none never match. Or a group:
            ``commercial``, ``permissive``, ``copyleft``, ``non-commercial``, ``unknown`` (`modelgraft.listing.licences`).
        min_params, max_params: bounds on the number of parameters, inclusive; entries of unknown size never match.
        embed_dim: exact size of an embedding.
        input_size: of a preprocessed image: 224, ``224x224`` (height, width), ``3x224x224``, or the numbers.
        min_score: least figure on the published benchmark, inclusive and in its unit; entries without a figure never match.
        benchmark: which published benchmark is meant, by its name, a part of it or a shell pattern. None takes the headline
            of the task: ImageNet-1k top-1 for classification, zero-shot top-1 for image-text, the sbert.net mean for text.
        sort: ``name`` (None is that), ``params`` and ``embed_dim`` (smallest first), ``score`` (best first, a benchmark
            after the other: their figures do not compare). ``-score`` turns it round. Entries without the value come last.
        reverse: turn the order round.
        limit: at most so many.

    Raises:
        UsageError: a modality, task, benchmark or sort that does not exist, a size or limit that is none.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit must be at least 1, not {limit}")
    chosen = catalogue().choose(
        pattern,
        provider=provider,
        modality=modality,
        task=task,
        licence=licence,
        min_params=min_params,
        max_params=max_params,
        embed_dim=embed_dim,
        input_size=input_size,
        min_score=min_score,
        benchmark=benchmark,
        sort=sort,
        reverse=reverse,
    )
    return chosen[:limit]


def resolve(name: str) -> Entry:
    """The entry a name means: canonical name, alias, hub id, or a short name that only one entry answers to.

    ``name@revision`` gives the entry with ``revision`` set.

    A name that was registered in the project comes first. ``hub:user/repo``, ``file:path`` and a path that begins with ``/``,
    ``./``, ``../`` or ``~`` are models too, of whichever plugin knows their kind; the hub's are asked for over the network.

    Raises:
        BadNameError, UnknownModelError, AmbiguousNameError: with the near names in the message.
        WeightsUnavailableError: the place cannot be read.
    """
    base, at, revision = name.partition("@")
    if (target := meaning(base)) is not None:
        name = f"{target}{at}{revision}"
    place = location_of(name)
    return catalogue().find(name) if place is None else recognise(*place)


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
        dtype: for example ``bfloat16``, ``exact`` (float32) or ``fast`` (bfloat16 where the device computes in it, on other GPUs
            float16, else float32); None takes the provider's own.

    Raises:
        WeightsUnavailableError: the weights cannot be had; the message says how to get them.
        PluginError: the plugin failed; the cause is chained.
        UsageError: no such model, device or dtype.
    """
    check_words(device, dtype)
    entry = resolve(name) if isinstance(name, str) else name
    on = device_of(device)
    of = dtype_of(dtype, on)
    weights = local_weights(entry)
    backbone = current_host().call(
        entry.plugin, "modelgraft_load", f"loading {entry.name}", entry=entry, device=on, dtype=of, weights=weights
    )
    return _checked(backbone, entry)


def _checked(backbone: Any, entry: Entry) -> ImageBackbone | TextBackbone:
    """The backbone, if it has the members of the contract: what is missing is told here and not in mid-run."""
    import torch

    if not {"features", "zero-shot"} & set(entry.tasks):
        return backbone  # type: ignore[no-any-return] # a saved adapter is an estimator
    wanted = ["entry", "module", "device", "embed_dim"]
    wanted += ["preprocess", "encode_image"] if entry.modality != "text" else []
    wanted += ["encode_text", "text_notes", "score_rule"] if entry.modality != "image" else []
    missing = [name for name in wanted if getattr(backbone, name, None) is None]
    wrong = f"no {', '.join(missing)}" if missing else ""
    if not wrong and (type(backbone.embed_dim) is not int or backbone.embed_dim < 1):
        wrong = f"an embed_dim of {backbone.embed_dim!r}"
    if not wrong and not isinstance(backbone.module, torch.nn.Module):
        wrong = "a module that is no torch.nn.Module"
    if wrong:
        raise PluginError(
            f"plugin {entry.plugin} is wrong: what it loads for {entry.name} has {wrong}; tell its author"
        )
    return backbone  # type: ignore[no-any-return]


def list_heads() -> list[HeadSpec]:
    """Every head that the installed plugins bring, by name: what each can learn and what it needs."""
    return _by_name(current_host().heads())


def load_head(name: str) -> Any:
    """The class of a head, by the name its plugin announced it under.

    Raises:
        UsageError: no plugin brings it.
        PluginError: its plugin failed to import it.
    """
    return _imported("head", name, current_host().heads())[0]


def list_engines() -> list[EngineSpec]:
    """Every engine that the installed plugins bring, by name: what runs models in place of torch."""
    return _by_name(current_host().engines())


def load_engine(name: str) -> Any:
    """An engine (`modelgraft.contract.Engine`), by the name its plugin announced it under.

    Raises:
        UsageError: no plugin brings it.
        PluginError: its plugin failed to import it.
    """
    kind, plugin = _imported("engine", name, current_host().engines())
    with plugin_code(plugin, f"making the engine {name}"):
        return kind()


def _by_name(brought: Mapping[str, tuple[Spec, str]]) -> list[Spec]:
    return sorted((spec for spec, _ in brought.values()), key=lambda spec: spec.name)


def _imported(kind: str, name: str, brought: Mapping[str, tuple[Spec, str]]) -> tuple[Any, str]:
    """What a plugin announced under a name, and the plugin's key. Errors as `load_head`."""
    if name not in brought:
        raise no_such(kind, name, list(brought))
    spec, plugin = brought[name]
    return import_target(spec.target, plugin), plugin


def plugins() -> list[PluginReport]:
    """What is installed, what it brings, and why it does not work where it does not."""
    return current_host().reports()
