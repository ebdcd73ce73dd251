"""The entries of all plugins as one table: look up a name as a user writes it, filter, suggest. Pure data, no imports of models."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from modelgraft.entry import Entry
from modelgraft.errors import AmbiguousNameError, UnknownModelError
from modelgraft.host.records import key_of
from modelgraft.names import Name

Row = tuple[dict[str, Any], Mapping[str, Any]]
"""An entry in plain JSON types, and the record of the plugin that brought it."""


class Catalogue:
    """Entries keyed by canonical name. They stay plain dicts until asked for: most commands touch a few of thousands."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[str, Row] = {row[0]["name"]: row for row in rows}

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> list[str]:
        """Canonical names, sorted."""
        return sorted(self._rows, key=str.lower)

    def entry(self, name: str) -> Entry:
        """The entry with exactly this canonical name (KeyError if there is none)."""
        data, origin = self._rows[name]
        return Entry.from_checked({**data, "plugin": key_of(origin), "distribution": origin["distribution"]})

    @cached_property
    def _answers(self) -> dict[str, list[str]]:
        """Lower-cased spelling -> canonical names, for every spelling but the canonical one."""
        table: dict[str, dict[str, None]] = {}

        def answers(spelling: str, name: str) -> None:
            table.setdefault(spelling.lower(), {})[name] = None

        for name, (data, _) in self._rows.items():
            provider, _, bare = name.partition("/")
            model = bare.partition(":")[0]
            spellings = [name, *data.get("aliases", ())]
            spellings += [s[len(provider) + 1 :] for s in spellings if s.startswith(f"{provider}/")]
            if model != bare:
                spellings += [f"{provider}/{model}", model]
            for spelling in spellings:
                answers(spelling, name)
        return {spelling: list(names) for spelling, names in table.items()}

    def find(self, text: str) -> Entry:
        """The entry a user means by ``text``; a revision in it is carried over.

        A canonical name wins; then an alias or a short name (without provider, or without tag), provided that one entry
        answers to it, or one of those that do is its provider's default tag; letter case decides only between entries.

        Raises:
            BadNameError: not the form of a name.
            UnknownModelError: nobody answers; near names are in the message.
            AmbiguousNameError: several do.
        """
        wanted = Name.parse(text)
        spelling = wanted.unrevised
        if spelling in self._rows:
            return self.entry(spelling).with_revision(wanted.revision)
        found = self._answers.get(spelling.lower(), [])
        return self.entry(self._decide(spelling, found)).with_revision(wanted.revision)

    def _decide(self, spelling: str, found: list[str]) -> str:
        if not found:
            raise UnknownModelError(spelling, self.suggest(spelling))
        # `timm/x` may be a hub id of another provider's weights as well: whoever is named by its first part is meant.
        narrowed = [n for n in found if n.partition("/")[0].lower() == spelling.partition("/")[0].lower()] or found
        exact = [n for n in narrowed if spelling in (n, n.partition("/")[2])]
        if len(exact) == 1:
            return exact[0]
        if len(narrowed) > 1 and len({n.partition(":")[0] for n in narrowed}) == 1:
            default = [n for n in narrowed if self._rows[n][0].get("default")]
            if len(default) == 1:
                return default[0]
        if len(narrowed) == 1:
            return narrowed[0]
        raise AmbiguousNameError(spelling, sorted(narrowed))

    def suggest(self, text: str, most: int = 3) -> list[str]:
        """Canonical names near a misspelt one, best first."""
        import difflib

        wanted = text.lower()
        spellings = list(self._answers)
        near = difflib.get_close_matches(wanted, spellings, n=4 * most, cutoff=0.6)
        near += sorted((s for s in spellings if wanted in s or (len(s) > 4 and s in wanted)), key=len)[:most]
        out: dict[str, None] = {}
        for spelling in near:
            for name in self._answers[spelling]:
                out[name] = None
        return list(out)[:most]

    def select(
        self,
        pattern: str | None = None,
        *,
        provider: str | None = None,
        modality: str | None = None,
        task: str | None = None,
        licence: str | None = None,
        min_params: float | None = None,
        max_params: float | None = None,
        embed_dim: int | None = None,
    ) -> list[Entry]:
        """Entries that meet every condition given, sorted by name. See `modelgraft.list_models`."""
        chosen = []
        for name, (data, _) in self._rows.items():
            params = data.get("params")
            if provider is not None and name.partition("/")[0].lower() != provider.lower():
                continue
            if modality is not None and modality != data["modality"] and modality not in data["modality"].split("-"):
                continue
            if task is not None and task not in data["tasks"]:
                continue
            if licence is not None and not _glob(licence, data.get("licence") or ""):
                continue
            if min_params is not None and (params is None or params < min_params):
                continue
            if max_params is not None and (params is None or params > max_params):
                continue
            if embed_dim is not None and data.get("embed_dim") != embed_dim:
                continue
            # Names and hub repositories, not every alias: a name that a library retired says little about what took its place.
            spellings = (name, (data.get("weights") or {}).get("repo") or "")
            if pattern is not None and not any(_glob(pattern, spelling, part=True) for spelling in spellings):
                continue
            chosen.append(name)
        return [self.entry(name) for name in sorted(chosen, key=str.lower)]


def _glob(pattern: str, text: str, part: bool = False) -> bool:
    """Shell pattern, letter case aside; a pattern without wildcards is a part of the text if ``part``."""
    pattern, text = pattern.lower(), text.lower()
    if not any(mark in pattern for mark in "*?["):
        return pattern in text if part else pattern == text
    return fnmatch.fnmatchcase(text, pattern) or (part and fnmatch.fnmatchcase(text.partition("/")[2], pattern))
