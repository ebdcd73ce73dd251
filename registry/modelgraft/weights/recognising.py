"""Models that no catalogue lists: a folder, a file, any repository of the hub. The plugins are asked whose they are."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from modelgraft.cli.render import printable
from modelgraft.entry import Entry, Weights
from modelgraft.errors import BadNameError, UnknownModelError, WeightsUnavailableError
from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.host.host import current_host
from modelgraft.host.records import key_of
from modelgraft.project.lockfile import active
from modelgraft.resolution import File, Part
from modelgraft.weights.fetching import fetch_part
from modelgraft.weights.resolving import source_of

__all__ = ["LARGEST"]

_RECOGNISED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/(?P<place>(hub|file):\S+)")
_REPO: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?", re.A)
_REVISION: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./+-]{0,250}", re.A)
LARGEST: Final = 1 << 20
"""Bytes of the largest configuration that is read to recognise a model."""


def location_of(name: str) -> tuple[str, str | None] | None:
    """(location, revision) if ``name`` is a place and no name: ``hub:user/repo[@revision]``, ``file:path``, or a path.

    So is the name of an entry that was recognised at a place (``timm/hub:user/repo``), as lock files have it. A path is told from a
    name by how it begins (``/``, ``./``, ``../``, ``~``), never by what lies in the current folder.
    """
    text = name.strip()
    if named := _RECOGNISED.fullmatch(text):
        text = unquote(named["place"])
    if text.startswith("hub:"):
        repo, _, revision = text[4:].partition("@")
        if not _REPO.fullmatch(repo) or ".." in text or (revision and not _REVISION.fullmatch(revision)):
            raise BadNameError(f"{name!r} is no repository of the hub; write hub:user/repo or hub:user/repo@revision")
        return f"hf:{repo}", revision or None
    if text.startswith(("file:", "/", "./", "../", "~")) or text in (".", ".."):
        path = Path(text.removeprefix("file:")).expanduser()
        return f"file:{path.absolute()}", None
    return None


def recognise(location: str, revision: str | None) -> Entry:
    """The entry for a model that lies at a place, by the plugin that knows its kind.

    Raises:
        WeightsUnavailableError: the place cannot be read.
        UnknownModelError: no installed plugin knows the kind of model that lies there.
        LockError: a lock is in force and does not name the place.
    """
    kind, _, rest = location.partition(":")
    name = f"{'hub' if kind == 'hf' else kind}:{quote(rest, safe='/._-+')}"
    weights = Weights(repo=rest, revision=revision) if kind == "hf" else Weights(location=location)
    if kind == "file" and not Path(rest).exists():
        raise WeightsUnavailableError(f"there is no folder or file {rest}")
    locked = active()
    part = (
        locked.part(location, revision, name)
        if locked is not None
        else source_of(location).resolve_weights(weights, revision)
    )
    configs = _Configs(_configs(part))
    found, record, wrong = current_host().recognise(name, weights, configs, f"looking at {location}")
    for line in wrong:
        print(f"modelgraft: {printable(line)}", file=sys.stderr)
    if found is not None:
        # What was read is read again, and locked, at this commit and no other.
        read = configs.read if record["distribution"] == OWN_DISTRIBUTION else set(configs)
        weights = replace(weights, revision=part.revision, configs=tuple(sorted(read)))
        entry = replace(found, plugin=key_of(record), distribution=record["distribution"], weights=weights)
        return entry.with_revision(revision)
    shown = ", ".join(sorted(file.path for file in part.files)[:6]) or "nothing"
    raise UnknownModelError(
        name,
        hint=f"- no installed plugin knows what kind of model lies there ({shown}); a model has a config.json of timm, "
        "an open_clip_config.json, a modules.json of Sentence Transformers, or the modelgraft_adapter.json of a saved adapter",
    )


class _Configs(dict[str, Any]):
    """Configurations by name, and which of them a plugin has looked at."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(found)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        self.read.add(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        if name in self:  # which notes it
            return super().get(name)
        return default

    def __contains__(self, name: object) -> bool:
        there = super().__contains__(name)
        if there:
            self.read.add(str(name))
        return there

    def items(self) -> Any:
        """As of a dict: whoever looks at all has read all."""
        self.read.update(self)
        return super().items()

    def values(self) -> Any:
        """As `items`."""
        self.read.update(self)
        return super().values()


def _configs(part: Part) -> dict[str, Any]:
    """The small JSON files at the top of a place, verified and read; one that is no JSON object is passed over."""
    small = tuple(file for file in part.files if _is_config(file))
    if not small:
        return {}
    found = {}
    for path, local in fetch_part(replace(part, files=small)).files.items():
        try:
            value = json.loads(local.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            found[path] = value
    return found


def _is_config(file: File) -> bool:
    return "/" not in file.path and os.path.splitext(file.path)[1] == ".json" and (file.size or 0) <= LARGEST
