"""Every hook a plugin can implement, on one page.

A plugin is a module (or object) named by an entry point in the group ``modelgraft``; its functions marked with
``@modelgraft.hookimpl`` and named as below are called by the host. It may set ``MODELGRAFT_API = 1``: the version of this
page it was written for. The page grows by adding hooks and arguments; a hook may take any subset of the arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    import torch

    from modelgraft.contract import ImageBackbone, LocalWeights, TextBackbone
    from modelgraft.entry import Entry, Weights
    from modelgraft.specs import EngineSpec, HeadSpec, SourceSpec, VerbSpec

__all__ = [
    "PLUGIN_API_VERSION",
    "hookimpl",
    "hookspec",
    "modelgraft_engines",
    "modelgraft_entries",
    "modelgraft_heads",
    "modelgraft_load",
    "modelgraft_recognise",
    "modelgraft_sources",
    "modelgraft_verbs",
    "modelgraft_weights",
]

PLUGIN_API_VERSION: Final = 1
"""The version of this page. A plugin with a higher ``MODELGRAFT_API`` is refused with a word on upgrading."""

hookspec = pluggy.HookspecMarker("modelgraft")
hookimpl = pluggy.HookimplMarker("modelgraft")


@hookspec
def modelgraft_entries() -> Iterable[Entry]:
    """The catalogue: one `Entry` per model, all below one provider name that no other plugin uses for the same models.

    Called once per installed version, in a process of its own; the host keeps the answer. Import no model library here
    unless facts must be read from it.
    """
    raise NotImplementedError


@hookspec
def modelgraft_weights(entry: Entry) -> Iterable[Weights]:
    """Where the files of one of your own entries are and which of them are read, the weights first.

    More than one place where a model reads more than its weights (a tokenizer from another repository). Without this hook it
    is ``entry.weights``, if that names a place. Import no model library here: fetching needs none.
    """
    raise NotImplementedError


@hookspec
def modelgraft_recognise(name: str, weights: Weights, configs: Mapping[str, Any]) -> Entry | None:
    """An entry for a model that no catalogue lists, if it is of your kind; None if it is not.

    Args:
        name: ``hub:user/repo`` or ``file:path``; the entry's name is your provider, a slash, and this.
        weights: the place; the host puts it into the entry.
        configs: the JSON files at its top, read: ``{"config.json": {...}}``. They are a stranger's: take nothing for granted.

    What `modelgraft_weights` and `modelgraft_load` need of them goes into ``Entry.loader``.
    """
    raise NotImplementedError


@hookspec
def modelgraft_load(
    entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None
) -> ImageBackbone | TextBackbone:
    """Build the model of one of your own entries with its pretrained weights, in eval mode, on ``device``.

    ``weights`` are its files, fetched and verified; None where the entry names no place. Open them and nothing else: no
    network, no code out of them. ``dtype`` None means the provider's own. Raise what went wrong: the host shows your error
    with the model's name. Import the model library inside this function.
    """
    raise NotImplementedError


@hookspec
def modelgraft_sources() -> Iterable[SourceSpec]:
    """Sources of weights this plugin brings, one a scheme (``s3:`` ...)."""
    raise NotImplementedError


@hookspec
def modelgraft_engines() -> Iterable[EngineSpec]:
    """Engines this plugin brings: what runs a model in place of torch."""
    raise NotImplementedError


@hookspec
def modelgraft_heads() -> Iterable[HeadSpec]:
    """Heads this plugin brings: what sits on features."""
    raise NotImplementedError


@hookspec
def modelgraft_verbs() -> Iterable[VerbSpec]:
    """Verbs for the command line, as data; the target is imported only when the verb runs."""
    raise NotImplementedError
