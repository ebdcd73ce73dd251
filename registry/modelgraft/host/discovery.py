"""Which plugins are installed, and which of them the user lets in. Imports no plugin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, Final

GROUP: Final = "modelgraft"
OWN_DISTRIBUTION: Final = "modelgraft"
# Verbs and heads of the project itself: an allow-list is about where models come from and leaves these in.
ALWAYS_IN: Final = frozenset({"adapters", "heads", "sources"})


@dataclass(frozen=True, slots=True)
class Found:
    """One entry point in the group ``modelgraft``, as the installed metadata states it."""

    name: str
    value: str
    distribution: str
    version: str
    location: str
    """Folder that holds the distribution's metadata."""
    stamp: int
    """Modification time (ns) of that metadata and of its folder: any install, upgrade or removal changes it."""

    @property
    def key(self) -> str:
        """Unique among installed plugins, for two distributions may use one entry-point name."""
        return f"{self.distribution}:{self.name}"

    @property
    def own(self) -> bool:
        return self.distribution == OWN_DISTRIBUTION

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def discover() -> list[Found]:
    """All installed plugins: the project's own first, then by distribution and name, so that order decides nothing by luck."""
    found = []
    read: dict[str, tuple[str, str, int]] = {}
    for point in entry_points(group=GROUP):
        dist = point.dist
        folder = str(getattr(dist, "_path", ""))  # importlib.metadata offers no public way to the metadata's own folder
        location = os.path.dirname(folder)
        if (
            folder not in read
        ):  # name and version each parse the whole metadata, and one distribution brings several plugins
            name, version = (dist.name, dist.version) if dist else (None, None)
            read[folder] = (name or "unknown", version or "unknown", _modified(location) ^ _modified(folder))
        name, version, stamp = read[folder]
        found.append(Found(point.name, point.value, name, version, location, stamp))
    return sorted(found, key=lambda f: (not f.own, f.distribution.lower(), f.name))


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def barred_by_user(found: Found, environ: Mapping[str, str] = os.environ) -> bool:
    """True if ``MODELGRAFT_PLUGINS`` keeps this plugin out.

    ``a,b`` lets only those in, ``-a`` keeps one out; a word is the name of an entry point or of a distribution.
    """
    words = [word.strip() for word in environ.get("MODELGRAFT_PLUGINS", "").split(",") if word.strip()]
    names = {found.name, found.distribution, found.key}
    if any(word[1:] in names for word in words if word.startswith("-")):
        return True
    allowed = [word for word in words if not word.startswith("-")]
    if not allowed or (found.own and found.name in ALWAYS_IN):
        return False
    return names.isdisjoint(allowed)


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):
        return None
