"""An entry to exact files: what the lock says, else what its sources say now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modelgraft.entry import Entry, Weights
from modelgraft.errors import WeightsUnavailableError
from modelgraft.guard import plugin_code
from modelgraft.host.discovery import installed_version
from modelgraft.host.host import current_host, import_target
from modelgraft.resolution import Part, Resolution
from modelgraft.weights.choosing import choose
from modelgraft.weights.guarded import GuardedSource
from modelgraft.weights.verifying import sha256

__all__ = ["places", "resolve_weights"]


def places(entry: Entry) -> list[Weights]:
    """Where the files of an entry are, the weights first; empty for weights that its plugin has inside."""
    stated = current_host().ask(entry.plugin, "modelgraft_weights", f"asking where {entry.name} is", entry=entry)
    found: Iterable[Weights] = [entry.weights] if stated is None and entry.weights else stated or []
    return [_with_configs(weights, entry.weights) for weights in found if weights.place]


def _with_configs(weights: Weights, stated: Weights | None) -> Weights:
    """What an entry was recognised by is read of its place, whether its plugin says so or not."""
    same = stated is not None and stated.configs and stated.place == weights.place
    return replace(weights, configs=stated.configs) if same and stated else weights


def resolve_weights(entry: Entry) -> Resolution:
    """The exact commit and files that an entry means now: the network's answer, or offline what is stored.

    A revision the user gave (``entry.revision``) is that of the weights; other places keep their own.

    Raises:
        WeightsUnavailableError: a source cannot be asked, or has nothing there; the text says what to do.
        UnsafeWeightsError: a file name that leaves its folder.
    """
    parts = []
    for number, weights in enumerate(places(entry)):
        place = str(weights.place)
        wanted = (entry.revision if number == 0 else None) or weights.revision
        part = source_of(place).resolve_weights(weights, wanted)
        files = choose(weights, part.files, place)
        if weights.sha256 and len(files) == 1 and files[0].sha256 is None:
            files = (replace(files[0], sha256=weights.sha256, size=weights.size or files[0].size),)
        parts.append(Part(place, part.revision, files))
    return Resolution(
        entry.name, tuple(parts), entry.licence, entry.distribution, installed_version(entry.distribution) or ""
    )


def with_digests(resolution: Resolution) -> Resolution:
    """Add what a folder of this machine does not state: the digests of its files, which are read for it.

    Raises:
        WeightsUnavailableError: a file is not there.
    """
    parts = tuple(_digested(part) if part.scheme == "file" else part for part in resolution.parts)
    return resolution.with_parts(parts)


def _digested(part: Part) -> Part:
    folder = source_of(part.location).fetch_weights(part, lambda count: None).folder
    try:
        files = tuple(replace(file, sha256=sha256(folder / file.path)) for file in part.files)
    except OSError as error:
        raise WeightsUnavailableError(f"{part.location} cannot be read ({error.strerror})") from error
    return replace(part, files=files)


def source_of(location: str) -> GuardedSource:
    """The source that answers for a location.

    Raises:
        WeightsUnavailableError: no installed plugin brings one for its scheme.
        PluginError: its plugin cannot make it.
    """
    scheme = location.partition(":")[0]
    sources = current_host().sources()
    if scheme not in sources:
        known = ", ".join(sorted(sources)) or "none"
        raise WeightsUnavailableError(
            f"no installed plugin brings a source for {location} (there are: {known}); install the one that does"
        )
    if scheme not in _sources:
        spec, plugin = sources[scheme]
        kind = import_target(spec.target, plugin)
        with plugin_code(plugin, f"making the source {scheme}"):
            _sources[scheme] = GuardedSource(kind(), plugin)
    return _sources[scheme]


_sources: dict[str, GuardedSource] = {}
