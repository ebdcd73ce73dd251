"""The entries of all plugins as one table: look up a name as a user writes it, filter, suggest. Pure data, no imports of models."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self, Unpack, overload

from modelgraft.entry import Entry
from modelgraft.errors import AmbiguousNameError, RetiredNameWarning, UnknownModelError
from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.host.records import key_of
from modelgraft.host.table import Table
from modelgraft.listing.benchmarks import ranked_by
from modelgraft.listing.selection import Conditions, Place, Query
from modelgraft.names import Name

Row = tuple[dict[str, Any], Mapping[str, Any]]
"""An entry in plain JSON types, and the record of the plugin that brought it."""


class Catalogue:
    """Entries keyed by canonical name. They stay unread until asked for: most commands touch a few of thousands."""

    def __init__(self, rows: Iterable[Row]) -> None:
        by_origin: dict[int, tuple[list[dict[str, Any]], Mapping[str, Any]]] = {}
        for data, origin in rows:
            by_origin.setdefault(id(origin), ([], origin))[0].append(data)
        self._tables = [Table.of(entries) for entries, _ in by_origin.values()]
        self._origins = [origin for _, origin in by_origin.values()]
        self._owners: Mapping[str, str] | None = None
        self._contested: Mapping[tuple[str, str], tuple[str, ...]] = {}

    @classmethod
    def of(
        cls,
        tables: Iterable[tuple[Table, Mapping[str, Any]]],
        owners: Mapping[str, str] | None = None,
        contested: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
    ) -> Self:
        """From tables, each with the record of the plugin that brought it.

        Args:
            owners: provider (lower case) -> the distribution whose it is. What others bring below it answers to its canonical
                name alone. None: whoever brings an entry has all its names.
            contested: ("model", name) -> distributions, for names that several claim and nobody has.
        """
        made = cls(())
        made._owners, made._contested = owners, contested or {}
        pairs = list(tables)
        made._tables, made._origins = [table for table, _ in pairs], [origin for _, origin in pairs]
        return made

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    @cached_property
    def _places(self) -> dict[str, Place]:
        return {name: (t, n) for t, table in enumerate(self._tables) for n, name in enumerate(table.names)}

    def names(self) -> list[str]:
        """Canonical names, sorted."""
        return sorted(self._places, key=str.lower)

    def name(self, place: Place) -> str:
        """The canonical name at a place."""
        return self._tables[place[0]].names[place[1]]

    def column(self, places: Sequence[Place], column: str) -> list[Any] | None:
        """The values at some places, in plain JSON types and without reading the entries; None where only these have them."""
        plain = [table.plain(column) for table in self._tables]
        found = [values for values in plain if values is not None]
        return [found[t][n] for t, n in places] if len(found) == len(plain) else None

    def entry(self, name: str) -> Entry:
        """The entry with exactly this canonical name (KeyError if there is none)."""
        return self.at(self._places[name])

    def at(self, place: Place) -> Entry:
        """The entry at a place."""
        return self.read([place])[0]

    def read(self, places: Sequence[Place]) -> list[Entry]:
        """The entries at some places, in their order."""
        found: dict[Place, Entry] = {}
        for t, table in enumerate(self._tables):
            positions = [n for of, n in places if of == t]
            about = {"plugin": key_of(self._origins[t]), "distribution": self._origins[t]["distribution"]}
            for n, data in zip(positions, table.at(positions), strict=True):
                found[t, n] = Entry.from_checked(data | about)
        return [found[place] for place in places]

    @cached_property
    def _answers(self) -> dict[str, list[str]]:
        """Lower-cased spelling -> canonical names, for every spelling but retired ones; of no two ranks at once."""
        return self._merged((0, 2, 3))

    @cached_property
    def _retired(self) -> dict[str, list[str]]:
        """Lower-cased spelling -> canonical names, for names that a library has replaced and nobody has taken since."""
        answers = self._answers
        ranked = self._merged((1, 4))
        theirs = {s: n for s, n in self._ranks[4].items() if s not in answers}
        # A name that the project has retired stays its own: a stranger's entry does not take it over.
        return {s: n for s, n in ranked.items() if s in self._ranks[1] or s in theirs}

    def _merged(self, ranks: Iterable[int]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for rank in ranks:
            for spelling, names in self._ranks[rank].items():
                if rank in (0, 1, 4) or spelling not in self._ranks[1]:
                    found.setdefault(spelling, list(names))
        return found

    @cached_property
    def _ranks(self) -> tuple[dict[str, dict[str, None]], ...]:
        """Spellings by who may use them, the first that has one deciding: all of the project's own (0), what it has retired (1),
        strangers' canonical names (2), their aliases and short names (3), what they have retired (4). So no stranger's plugin
        changes what a spelling meant without it.
        """
        ranks: tuple[dict[str, dict[str, None]], ...] = ({}, {}, {}, {}, {})

        def put(rank: int, spellings: Iterable[str], name: str) -> None:
            for spelling in map(str.lower, spellings):
                # What several strangers call a model of theirs, none of them has as a second name for another.
                if rank < 2 or ("model", spelling) not in self._contested:
                    ranks[rank].setdefault(spelling, {})[name] = None

        for t, table in enumerate(self._tables):
            aliases, retired = table.sparse("aliases"), table.sparse("retired")
            own = self._is_own(t)
            for n, name in enumerate(table.names):
                provider, _, bare = name.partition("/")
                if not own:
                    put(2, [name], name)
                    if not self._owns(t, provider):
                        continue
                model = bare.partition(":")[0]
                full = [name, *(alias for alias in aliases.get(n, ()) if own or self._may_say(t, alias))]
                spellings = _shorter(full, provider)
                if model != bare:
                    spellings += [f"{provider}/{model}", model]
                put(0 if own else 3, spellings, name)
                if n in retired:
                    old = [text for text in retired[n] if own or self._may_say(t, text)]
                    put(1 if own else 4, _shorter(old, provider), name)
        for spelling in ranks[1].keys() & ranks[0].keys():
            del ranks[1][spelling]
        return ranks

    def _is_own(self, t: int) -> bool:
        return self._owners is None or self._origins[t]["distribution"] == OWN_DISTRIBUTION

    def _owns(self, t: int, provider: str) -> bool:
        return self._owners is None or self._owners.get(provider.lower()) == self._origins[t]["distribution"]

    def _may_say(self, t: int, text: str) -> bool:
        """Whether an alias begins with no provider that is somebody else's."""
        assert self._owners is not None
        provider, slash, _ = text.partition("/")
        return not slash or self._owners.get(provider.lower()) in (None, self._origins[t]["distribution"])

    def find(self, text: str) -> Entry:
        """The entry a user means by ``text``; a revision in it is carried over.

        A canonical name wins; then an alias or a short name (without provider, or without tag), provided that one entry
        answers to it, or one of those that do is its provider's default tag; letter case decides only between entries.
        A name that the model's library has retired still answers, with a `RetiredNameWarning` that says the new one.

        Raises:
            BadNameError: not the form of a name.
            UnknownModelError: nobody answers; near names are in the message.
            AmbiguousNameError: several do.
        """
        wanted = Name.parse(text)
        spelling = wanted.unrevised
        if spelling in self._places and self._means_itself(spelling):
            return self.entry(spelling).with_revision(wanted.revision)
        live = self._answers.get(spelling.lower())
        found = self._decide(spelling, live or self._retired.get(spelling.lower(), []))
        if live is None:
            text = f"{spelling!r} is a name that {found.partition('/')[0]} has retired; it is {found} now"
            warnings.warn(text, RetiredNameWarning, stacklevel=3)  # the line that called `modelgraft.resolve`
        return self.entry(found).with_revision(wanted.revision)

    def _means_itself(self, name: str) -> bool:
        """Whether a canonical name is none that the project's own plugins use, or have retired, for another model."""
        if self._is_own(self._places[name][0]):
            return True
        return all(name.lower() not in self._ranks[rank] for rank in (0, 1))

    def _decide(self, spelling: str, found: list[str]) -> str:
        if not found and (rivals := self._contested.get(("model", spelling.lower()))):
            hint = f"- {' and '.join(rivals)} both bring it; keep one of them out with MODELGRAFT_PLUGINS=-NAME"
            raise UnknownModelError(spelling, hint=hint)
        if not found:
            raise UnknownModelError(spelling, self.suggest(spelling))
        # `timm/x` may be a hub id of another provider's weights as well: whoever is named by its first part is meant.
        narrowed = [n for n in found if n.partition("/")[0].lower() == spelling.partition("/")[0].lower()] or found
        exact = [n for n in narrowed if spelling in (n, n.partition("/")[2])]
        if len(exact) == 1:
            return exact[0]
        if len(narrowed) > 1 and len({n.partition(":")[0] for n in narrowed}) == 1:
            default = [n for n in narrowed if self._is_default(n)]
            if len(default) == 1:
                return default[0]
        if len(narrowed) == 1:
            return narrowed[0]
        raise AmbiguousNameError(spelling, sorted(narrowed))

    def _is_default(self, name: str) -> bool:
        t, n = self._places[name]
        return n in self._tables[t].sparse("default")

    def suggest(self, text: str, most: int = 3) -> list[str]:
        """Canonical names near a misspelt one, of whichever provider, best first.

        Unless a tag was written, a model is named once: with the tag that the text holds, its default, or the best published one.
        """
        from modelgraft.listing.nearness import near, squashed

        def preferred(name: str) -> tuple[bool, bool, float]:
            tag = squashed(name.partition(":")[2])
            return bool(tag) and tag in squashed(text), self._is_default(name), self._published(name)

        found = near(text, self._answers)
        best: dict[str, float] = {}
        models: dict[str, list[str]] = {}
        for name, score in found:
            model = name if ":" in text else name.partition(":")[0]
            best.setdefault(model, score)
            if score > 0.97 * best[model]:
                models.setdefault(model, []).append(name)
        names = [max(same, key=preferred) for same in models.values()]
        # The best of every provider that comes near the best of all, before a second one of the same.
        scores = dict(found)
        firsts = {name.partition("/")[0]: name for name in reversed(names) if scores[name] > 0.8 * found[0][1]}
        names.sort(key=lambda name: name not in firsts.values())
        return names[:most]

    def _published(self, name: str) -> float:
        t, n = self._places[name]
        return max((self._tables[t].metric(benchmark).get(n, 0.0) for benchmark in ranked_by()), default=0.0)

    def choose(self, pattern: str | None = None, **conditions: Unpack[Conditions]) -> Chosen:
        """Entries that meet every condition, in the order asked for; read when they are looked at. See `modelgraft.list_models`.

        Raises:
            UsageError: a condition that cannot be met by any model for what it says.
        """
        query = Query.read(pattern, conditions, self._tables)
        places = query.run(self._tables)
        return Chosen(self, places, query.benchmarks, query.benchmarks_of(self._tables, places))

    def select(self, pattern: str | None = None, **conditions: Unpack[Conditions]) -> list[Entry]:
        """As `choose`, all of them read."""
        return self.choose(pattern, **conditions)[:]


class Chosen(Sequence[Entry]):
    """Some entries of a catalogue, in an order; each is read when it is looked at."""

    def __init__(
        self, catalogue: Catalogue, places: Sequence[Place], benchmarks: tuple[str, ...], counts: dict[str, int]
    ) -> None:
        self._catalogue = catalogue
        self._places = places
        self.benchmarks = benchmarks
        """Where the score of an entry is looked for, in this order (`modelgraft.listing.benchmarks.headline`)."""
        self.counts = counts
        """Benchmark -> how many of the entries are scored by it."""

    def __len__(self) -> int:
        return len(self._places)

    def names(self) -> list[str]:
        """Their canonical names, without reading them."""
        return [self._catalogue.name(place) for place in self._places]

    def columns(self, names: Sequence[str], limit: int | None = None) -> list[list[Any]] | None:
        """The values of these columns for the first ``limit``, read off the table; None if one has to be read off the entries."""
        found = [self._catalogue.column(self._places[:limit], name) for name in names]
        kept = [values for values in found if values is not None]
        return kept if len(kept) == len(found) else None

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        if isinstance(at, slice):
            return self._catalogue.read(self._places[at])
        return self._catalogue.at(self._places[at])


def _shorter(spellings: list[str], provider: str) -> list[str]:
    """The spellings, and those that begin with the provider without it as well."""
    return spellings + [s[len(provider) + 1 :] for s in spellings if s.startswith(f"{provider}/")]
