"""The host as the rest of modelgraft sees it: plugin reports, entries, heads and verbs, and a way into one plugin's code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelgraft.errors import UsageError
from modelgraft.guard import plugin_code
from modelgraft.host.discovery import OWN_DISTRIBUTION, Found, barred_by_user, discover
from modelgraft.host.records import key_of
from modelgraft.host.settling import owners, settle
from modelgraft.host.snapshot import records_for
from modelgraft.host.table import Table
from modelgraft.specs import EngineSpec, HeadSpec, SourceSpec, VerbSpec

if TYPE_CHECKING:
    import pluggy

    from modelgraft.entry import Entry, Weights

__all__ = ["current_host"]


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What ``modelgraft plugins`` says of one plugin."""

    name: str
    distribution: str
    version: str
    entry_point: str
    status: str
    """``ok``, ``warned``, ``failed``, or ``barred`` (kept out by ``MODELGRAFT_PLUGINS``; its code was not run)."""
    error: str | None
    """The reason in a line; None when all is well."""
    traceback: str | None
    models: int
    heads: int
    verbs: int
    sources: int
    engines: int


class Host:
    """Everything the installed plugins bring, after conflicts between them are settled."""

    def __init__(self, found: list[Found]) -> None:
        self.barred = [f for f in found if barred_by_user(f)]
        taken = {f.key for f in self.barred}
        self.records, self.contested = settle(records_for([f for f in found if f.key not in taken]))
        # The names of the project's own plugins stay its own where the user keeps these out.
        self.owners = owners(self.records, [f.name for f in found if f.own])
        self._manager: pluggy.PluginManager | None = None
        self._order = [f.key for f in found]

    def entries(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(entry as a dict, record of the plugin that brought it), plugins in order."""
        for record in self.records:
            for entry in record["entries"]:
                yield entry, record

    def tables(self) -> list[tuple[Table, dict[str, Any]]]:
        """(entries of a plugin, its record), plugins in order."""
        return [(record["entries"], record) for record in self.records]

    def heads(self) -> dict[str, tuple[HeadSpec, str]]:
        """Name -> (head, key of its plugin)."""
        return {h["name"]: (_head(h), key_of(r)) for r in self.records for h in r["heads"]}

    def verbs(self) -> dict[str, VerbSpec]:
        """Verbs brought by plugins, by name."""
        return {v["name"]: VerbSpec(**v) for r in self.records for v in r["verbs"]}

    def sources(self) -> dict[str, tuple[SourceSpec, str]]:
        """Scheme -> (source of weights, key of its plugin)."""
        return {
            s["name"]: (SourceSpec(s["name"], s["target"], s["help"]), key_of(r))
            for r in self.records
            for s in r["sources"]
        }

    def engines(self) -> dict[str, tuple[EngineSpec, str]]:
        """Name -> (engine, key of its plugin)."""
        return {e["name"]: (EngineSpec(**e), key_of(r)) for r in self.records for e in r["engines"]}

    def reports(self) -> list[PluginReport]:
        """One report per installed plugin, in order of discovery."""
        by_key = {key_of(r): _report(r) for r in self.records}
        by_key.update({f.key: _barred_report(f) for f in self.barred})
        return [by_key[key] for key in self._order]

    def call(self, plugin: str, hook: str, about: str, **arguments: Any) -> Any:
        """Import one plugin (by key) and call one hook of it alone. What it prints goes to standard error.

        Args:
            about: what the call is for, for the error message ("loading timm/resnet18").

        Raises:
            ModelgraftError: raised by the plugin on purpose, passed on as it is.
            PluginError: anything else the plugin raised, chained.
        """
        answer = self.ask(plugin, hook, about, **arguments)
        if answer is None:
            with plugin_code(plugin, about):
                raise NotImplementedError(f"it has no {hook}, or that gave nothing")
        return answer

    def ask(self, plugin: str, hook: str, about: str, **arguments: Any) -> Any:
        """As `call`, for a hook that a plugin need not have: None where it has not, or gives nothing."""
        with redirect_stdout(sys.stderr), plugin_code(plugin, about):
            self._import(plugin)
            assert self._manager is not None
            others = [p for name, p in self._manager.list_name_plugin() if name != plugin]
            answers = self._manager.subset_hook_caller(hook, others)(**arguments)
            return answers[0] if answers else None

    def recognise(
        self, name: str, weights: Weights, configs: Mapping[str, Any], about: str
    ) -> tuple[Entry | None, dict[str, Any], list[str]]:
        """The entry for a place that no catalogue lists, by the plugin that knows its kind.

        The project's own plugins are asked here, strangers' only where none of those knows it and in processes of their own
        (`modelgraft.host.recognisers`).

        Returns:
            the entry, the record of its plugin, and a line on each plugin that could not be asked.

        Raises:
            PluginError: one of the project's own failed.
        """
        asked = [record for record in self.records if record["recognises"] and record["status"] != "failed"]
        own = [record for record in asked if record["distribution"] == OWN_DISTRIBUTION]
        from modelgraft.fields import check_entry  # the rules take memory that a listing need not have

        for record in own:
            hook = {"name": name, "weights": weights, "configs": configs}
            found = self.ask(key_of(record), "modelgraft_recognise", about, **hook)
            if found is not None:
                with plugin_code(key_of(record), about):
                    check_entry(found)
                return found, record, []
        from modelgraft.host.recognisers import ask_strangers

        strangers = [record for record in asked if record["distribution"] != OWN_DISTRIBUTION]
        found, by, wrong = (
            ask_strangers(strangers, name, weights, configs, self.owners) if strangers else (None, None, [])
        )
        return found, dict(by or {}), wrong

    def _import(self, key: str) -> None:
        from modelgraft.host.imports import load_plugin, new_manager, register

        if self._manager is None:
            self._manager = new_manager()
        if self._manager.get_plugin(key) is None:
            record = next(r for r in self.records if key_of(r) == key)
            register(self._manager, load_plugin(record["value"]), key)


def _head(record: dict[str, Any]) -> HeadSpec:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return HeadSpec(**fields)


def import_target(target: str, plugin: str) -> Any:
    """The object behind a ``package.module:name`` that a plugin announced; raises `PluginError` with the true cause."""
    from modelgraft.host.imports import load_plugin

    with redirect_stdout(sys.stderr), plugin_code(plugin, f"importing {target}"):
        return load_plugin(target)


def _report(record: dict[str, Any]) -> PluginReport:
    return PluginReport(
        name=record["name"],
        distribution=record["distribution"],
        version=record["version"],
        entry_point=record["value"],
        status=record["status"],
        error=record["error"],
        traceback=record["traceback"],
        models=len(record["entries"]),
        heads=len(record["heads"]),
        verbs=len(record["verbs"]),
        sources=len(record["sources"]),
        engines=len(record["engines"]),
    )


def _barred_report(found: Found) -> PluginReport:
    error = "kept out by MODELGRAFT_PLUGINS"
    return PluginReport(
        found.name,
        found.distribution,
        found.version,
        found.value,
        "barred",
        error,
        None,
        models=0,
        heads=0,
        verbs=0,
        sources=0,
        engines=0,
    )


_current: tuple[tuple[Any, ...], Host] | None = None


def current_host() -> Host:
    """The host for what is installed now: the same object until something is installed, removed or barred."""
    global _current
    found = discover()
    if any(f.fault is not None for f in found):
        # torch reads the entry points of everything installed when it is imported, and one file that is no UTF-8 ends that.
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    state = (tuple(found), os.environ.get("MODELGRAFT_PLUGINS", ""))
    if _current is None or _current[0] != state:
        _current = (state, Host(found))
    return _current[1]


def no_such(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a head or verb nobody brings."""
    rivals = current_host().contested.get((kind, name.lower()))
    if rivals:
        return UsageError(
            f"{' and '.join(rivals)} both bring the {kind} {name!r}; keep one of them out with MODELGRAFT_PLUGINS=-NAME"
        )
    one = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    return UsageError(f"no installed plugin brings {one} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
