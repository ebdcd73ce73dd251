"""What all sources keep on disk, and which entries it is for."""

from __future__ import annotations

from modelgraft.contract import Held, Store
from modelgraft.host.host import current_host
from modelgraft.weights.resolving import source_of


def holdings() -> list[tuple[Store, Held]]:
    """Everything that is stored, by location and revision, with the store that answers for it."""
    stores: dict[type, Store] = {}
    for scheme in current_host().sources():
        source = source_of(f"{scheme}:")
        if isinstance(source, Store):
            stores.setdefault(type(source), source)
    found = [(store, held) for store in stores.values() for held in store.held()]
    return sorted(found, key=lambda pair: (pair[1].part.location, pair[1].part.revision or ""))


def users() -> dict[str, list[str]]:
    """Location -> names of the catalogue whose weights it holds."""
    from modelgraft.registry import list_models

    found: dict[str, list[str]] = {}
    for entry in list_models():
        if entry.weights and entry.weights.place:
            found.setdefault(entry.weights.place, []).append(entry.name)
    return found
