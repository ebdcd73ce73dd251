"""What all sources keep on disk, and engines, and which entries it is for."""

from __future__ import annotations

from modelgraft.contract import Held, Store
from modelgraft.errors import ModelgraftError
from modelgraft.host.host import current_host
from modelgraft.weights.converted import Converted
from modelgraft.weights.guarded import GuardedSource
from modelgraft.weights.resolving import source_of

__all__ = ["holdings", "users"]


def holdings() -> tuple[list[tuple[Store, Held]], list[str]]:
    """Everything that is stored, by location and revision, with the source that answers for it.

    Returns:
        what is stored; and of each source that cannot say, a line that names its plugin.
    """
    stores: dict[type, GuardedSource] = {}
    converted = Converted()
    found: list[tuple[Store, Held]] = [(converted, held) for held in converted.held()]
    broken: list[str] = []
    for scheme in current_host().sources():
        try:
            source = source_of(f"{scheme}:")
            if source.keeps:
                stores.setdefault(type(source.made), source)
        except ModelgraftError as error:
            broken.append(f"the source {scheme!r}: {error}")
    for store in stores.values():
        try:
            found += [(store, held) for held in store.held()]
        except ModelgraftError as error:
            broken.append(str(error))
    return sorted(found, key=lambda pair: (pair[1].part.location, pair[1].part.revision or "")), broken


def users() -> dict[str, list[str]]:
    """Location -> names of the catalogue whose weights it holds."""
    from modelgraft.registry import list_models

    found: dict[str, list[str]] = {}
    for entry in list_models():
        if entry.weights and entry.weights.place:
            found.setdefault(entry.weights.place, []).append(entry.name)
    return found
