"""A source of weights, which may be anybody's: what it raises names its plugin, and what it hands over is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from modelgraft.contract import Held, Progress, Store, Stored
from modelgraft.entry import Weights
from modelgraft.errors import PluginError
from modelgraft.guard import plugin_code
from modelgraft.resolution import File, Part


class GuardedSource:
    """A `modelgraft.contract.Source`, and a `Store` where ``keeps`` says so, around one that a plugin has made.

    Every method raises PluginError for what a plugin must not raise or give, beside the errors of the contract.
    """

    def __init__(self, made: Any, plugin: str) -> None:
        self.made, self.plugin = made, plugin
        self.keeps = isinstance(made, Store)
        """Whether it tells what it keeps (`held`, `discard`)."""

    def resolve_weights(self, weights: Weights, revision: str | None) -> Part:
        """As `modelgraft.contract.Source.resolve_weights`."""
        with plugin_code(self.plugin, f"asking for {weights.place}"):
            part = self.made.resolve_weights(weights, revision)
        return part if isinstance(part, Part) and _is_part(part) else self._wrong("resolve_weights", part)

    def fetch_weights(self, part: Part, progress: Progress) -> Stored:
        """As `modelgraft.contract.Source.fetch_weights`."""
        with plugin_code(self.plugin, f"fetching {part.location}"):
            stored = self.made.fetch_weights(part, progress)
        return stored if isinstance(stored, Stored) and _is_stored(stored) else self._wrong("fetch_weights", stored)

    def set_aside(self, part: Part, path: str) -> Path | None:
        """As `modelgraft.contract.Source.set_aside`."""
        with plugin_code(self.plugin, f"setting {path} aside"):
            where = self.made.set_aside(part, path)
        return where if where is None or isinstance(where, Path) else self._wrong("set_aside", where)

    def held(self) -> list[Held]:
        """As `modelgraft.contract.Store.held`."""
        with plugin_code(self.plugin, "asking what it keeps"):
            found = list(self.made.held())
        return found if all(map(_is_held, found)) else self._wrong("held", found)

    def discard(self, part: Part) -> int:
        """As `modelgraft.contract.Store.discard`."""
        with plugin_code(self.plugin, f"letting go of {part.location}"):
            freed = self.made.discard(part)
        return freed if type(freed) is int else self._wrong("discard", freed)

    def _wrong(self, method: str, given: object) -> NoReturn:
        raise PluginError(
            f"plugin {self.plugin} is wrong: {method} of its source gave {type(given).__name__} {str(given)[:80]!r}; "
            "tell its author"
        )


def _is_part(part: object) -> bool:
    return (
        isinstance(part, Part)
        and isinstance(part.location, str)
        and (part.revision is None or isinstance(part.revision, str))
        and isinstance(part.files, tuple)
        and all(
            isinstance(file, File)
            and isinstance(file.path, str)
            and (file.size is None or (type(file.size) is int and file.size >= 0))
            and all(digest is None or isinstance(digest, str) for digest in (file.sha256, file.blob))
            for file in part.files
        )
    )


def _is_stored(stored: object) -> bool:
    return isinstance(stored, Stored) and isinstance(stored.folder, Path) and isinstance(stored.root, Path)


def _is_held(held: object) -> bool:
    return (
        isinstance(held, Held)
        and _is_part(held.part)
        and _is_stored(held.stored)
        and type(held.size) is int
        and isinstance(held.last_used, int | float)
        and 0 <= held.last_used < 1e11
    )
