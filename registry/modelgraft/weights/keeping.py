"""What all sources keep on disk, and which entries it is for."""

from __future__ import annotations

from pathlib import Path

from modelgraft.contract import Held, Store, Stored
from modelgraft.errors import ModelgraftError
from modelgraft.guard import plugin_code
from modelgraft.host.host import current_host
from modelgraft.resolution import File, Part
from modelgraft.weights.resolving import source_of


def holdings() -> tuple[list[tuple[Store, Held]], list[str]]:
    """Everything that is stored, by location and revision, with the store that answers for it.

    Returns:
        what is stored; and of each source that cannot say, a line that names its plugin.
    """
    stores: dict[type, tuple[Store, str]] = {}
    found: list[tuple[Store, Held]] = []
    broken: list[str] = []
    for scheme, (_, plugin) in current_host().sources().items():
        try:
            source = source_of(f"{scheme}:")
            if isinstance(source, Store):
                stores.setdefault(type(source), (source, plugin))
        except ModelgraftError as error:
            broken.append(f"the source {scheme!r}: {error}")
    for store, plugin in stores.values():
        try:
            with plugin_code(plugin, "asking what it keeps"):
                found += [(store, _checked(held)) for held in list(store.held())]
        except ModelgraftError as error:
            broken.append(str(error))
    return sorted(found, key=lambda pair: (pair[1].part.location, pair[1].part.revision or "")), broken


def _checked(held: object) -> Held:
    good = (
        isinstance(held, Held)
        and isinstance(held.part, Part)
        and isinstance(held.part.location, str)
        and isinstance(held.part.revision, str | None)
        and all(isinstance(file, File) and isinstance(file.path, str) for file in held.part.files)
        and isinstance(held.stored, Stored)
        and isinstance(held.stored.folder, Path)
        and isinstance(held.stored.root, Path)
        and type(held.size) is int
        and isinstance(held.last_used, int | float)
        and 0 <= held.last_used < 1e11
    )
    if not good:
        raise TypeError(f"held() gave {str(held)[:100]}, which is no modelgraft.contract.Held")
    assert isinstance(held, Held)
    return held


def users() -> dict[str, list[str]]:
    """Location -> names of the catalogue whose weights it holds."""
    from modelgraft.registry import list_models

    found: dict[str, list[str]] = {}
    for entry in list_models():
        if entry.weights and entry.weights.place:
            found.setdefault(entry.weights.place, []).append(entry.name)
    return found
