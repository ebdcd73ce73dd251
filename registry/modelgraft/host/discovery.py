"""Which plugins are installed, and which of them the user lets in. Imports no plugin.

Metadata is a stranger's too: whatever is wrong with that of one distribution is told of it alone (`Found.fault`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Final

__all__ = ["OWN_DISTRIBUTION", "installed_version"]

GROUP: Final = "modelgraft"
OWN_DISTRIBUTION: Final = "modelgraft"
# Verbs and heads of the project itself: an allow-list is about where models come from and leaves these in.
ALWAYS_IN: Final = frozenset({"adapters", "heads", "sources"})
_SECTION: Final = re.compile(rf"^\s*\[\s*{GROUP}\s*\]", re.M)
_VALUE: Final = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")  # as the packaging standard has it
_PROJECT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MOST_RECORD: Final = 4 * 2**20  # bytes of a RECORD that are read at every start


@dataclass(frozen=True, slots=True)
class Found:
    """One entry point in the group ``modelgraft``, as the installed metadata states it."""

    name: str
    value: str
    distribution: str
    version: str
    location: str
    """Folder that holds the distribution's metadata."""
    stamp: str
    """Changes with any install, upgrade, reinstall or removal there: see `_stamp`."""
    fault: str | None = None
    """What is wrong with the metadata; such a plugin is never imported."""

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
    """All installed plugins: the project's own first, then by distribution and name, so that order decides nothing by luck.

    A distribution whose metadata cannot be used is among them, with its ``fault``.
    """
    found: dict[str, Found] = {}
    for dist, leftover in _installed():
        for one in _plugins_of(dist, leftover):
            if one.key in found:
                one = replace(one, name=f"{one.name} ({one.value})", fault=f"names its entry point {one.name!r} twice")
            found.setdefault(one.key, one)
    return sorted(found.values(), key=lambda f: (not f.own, f.distribution.lower(), f.name))


def _installed() -> Iterator[tuple[Distribution, str | None]]:
    """Every distribution that can be imported, and what is wrong with a folder of metadata that only lies about."""
    seen: dict[str, str] = {}
    folders: set[str] = set()
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    everything = list(distributions())
    for dist in everything:  # of several versions in one place the one that was written last is what is installed
        folder = _folder(dist)
        place = (os.path.dirname(folder), _project(folder))
        newest[place] = max(newest.get(place, (0, "")), (_state(folder)[0], folder))
    for dist in everything:
        folder = _folder(dist)
        where, project = os.path.dirname(folder), _project(folder)
        if folder in folders:
            continue
        folders.add(folder)
        if (
            project.startswith(("~", "-")) or not project
        ):  # pip renames what it is about to remove, and passes such over
            yield dist, f"is left over from an interrupted pip; delete the folder {folder}"
        elif folder and newest[where, project][1] != folder:
            kept = os.path.basename(newest[where, project][1])
            yield (
                dist,
                f"lies beside {kept}, a later one of the same distribution; pip install --force-reinstall {project}",
            )
        elif project not in seen:  # the first on sys.path is what an import finds
            seen[project] = folder
            yield dist, None


def _plugins_of(dist: Distribution, leftover: str | None) -> Iterator[Found]:
    folder = _folder(dist)
    base = os.path.basename(folder)
    guess, version = _name_and_version(base)
    base, guess, version = (text.encode("unicode_escape", "surrogatepass").decode() for text in (base, guess, version))
    bad = Found(base, "", guess.replace("_", "-") or "unknown", version or "unknown", os.path.dirname(folder), "")
    try:
        text = dist.read_text("entry_points.txt") or ""
        points = [p for p in dist.entry_points if p.group == GROUP] if _SECTION.search(text) else []
    except Exception as error:
        if leftover is None:
            yield _faulty(bad, f"its entry_points.txt cannot be read ({_told(error)})", folder)
        return
    if not points:
        return
    if leftover is not None:
        yield replace(bad, stamp=_stamp(folder), fault=leftover)
        return
    try:
        name, version = dist.metadata["Name"], dist.metadata["Version"]
        if not isinstance(name, str) or not _PROJECT.fullmatch(name):
            raise ValueError(f"the name {name!r}")
        if folder and _normal(name) != _project(folder):  # or anybody could be modelgraft itself
            raise ValueError(f"the name {name!r} in the folder {base}")
        if not isinstance(version, str) or not version.strip() or not version.isprintable():
            raise ValueError(f"the version {version!r}")
    except Exception as error:
        yield _faulty(bad, f"its METADATA is missing or damaged ({_told(error)})", folder)
        return
    stamp = _stamp(folder)
    for point in points:
        yield _plugin(point, Found(point.name, point.value, name, version, os.path.dirname(folder), stamp))


def _plugin(point: EntryPoint, found: Found) -> Found:
    if not found.name.isprintable() or not found.name.strip() or len(found.name) > 200:
        return replace(found, name=f"{found.name[:40]!r}", fault="the name of its entry point is not a printable one")
    if not _VALUE.fullmatch(point.value) or len(point.value) > 1000:
        return replace(found, fault=f"its entry point is {point.value[:80]!r}, and not package.module[:name]")
    return found


def _faulty(bad: Found, fault: str, folder: str) -> Found:
    return replace(bad, stamp=_stamp(folder), fault=f"{fault}; pip install --force-reinstall {bad.distribution}")


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _folder(dist: Distribution) -> str:
    return str(getattr(dist, "_path", ""))  # importlib.metadata offers no public way to the metadata's own folder


def _project(folder: str) -> str:
    """The normalised name in the name of a folder of metadata: one that need not be read."""
    return _normal(_name_and_version(os.path.basename(folder))[0])


def _name_and_version(base: str) -> tuple[str, str]:
    stem = re.sub(r"-py\d[\d.]*$", "", base.removesuffix(".dist-info").removesuffix(".egg-info"))
    found = re.fullmatch(r"(.+)-(\d[^-]*)", stem)  # not at the first hyphen: modelgraft-x-1.0 is no modelgraft
    return (found[1], found[2]) if found else (stem, "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _stamp(folder: str) -> str:
    """What any change to what is installed changes: times and sizes of the metadata and of the folder it is in, and the digest of
    its RECORD, which holds those of the files (times alone may be put back: by tar, rsync, an image)."""
    stats = [_state(path) for path in (os.path.dirname(folder), folder, os.path.join(folder, "entry_points.txt"))]
    try:
        with open(os.path.join(folder, "RECORD"), "rb") as file:
            record = hashlib.sha256(file.read(_MOST_RECORD)).hexdigest()[:16]
    except OSError:
        record = ""
    return ",".join(f"{time:x}.{size:x}" for time, size in stats) + f",{record}"


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
    from importlib.metadata import version

    try:
        return version(distribution) or None
    except Exception:  # not there, or metadata that cannot be read
        return None
