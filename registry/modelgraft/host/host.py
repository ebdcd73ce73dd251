"""The host as the rest of modelgraft sees it: plugin reports, entries, heads and verbs, and a way into one plugin's code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelgraft.contract import HeadSpec, VerbSpec
from modelgraft.errors import ModelgraftError, PluginError, UsageError
from modelgraft.host.discovery import Found, barred_by_user, discover
from modelgraft.host.records import key_of
from modelgraft.host.snapshot import records_for
from modelgraft.verbs import BUILT_IN

if TYPE_CHECKING:
    import pluggy


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


class Host:
    """Everything the installed plugins bring, after conflicts between them are settled."""

    def __init__(self, found: list[Found]) -> None:
        self.barred = [f for f in found if barred_by_user(f)]
        taken = {f.key for f in self.barred}
        self.records = _settle(records_for([f for f in found if f.key not in taken]))
        self._manager: pluggy.PluginManager | None = None
        self._order = [f.key for f in found]

    def entries(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(entry as a dict, record of the plugin that brought it), plugins in order."""
        for record in self.records:
            for entry in record["entries"]:
                yield entry, record

    def heads(self) -> dict[str, tuple[HeadSpec, str]]:
        """Name -> (head, key of its plugin)."""
        return {h["name"]: (HeadSpec(**h), key_of(r)) for r in self.records for h in r["heads"]}

    def verbs(self) -> dict[str, VerbSpec]:
        """Verbs brought by plugins, by name."""
        return {v["name"]: VerbSpec(**v) for r in self.records for v in r["verbs"]}

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
        with redirect_stdout(sys.stderr), plugin_fault(plugin, about):
            self._import(plugin)
            assert self._manager is not None
            others = [p for name, p in self._manager.list_name_plugin() if name != plugin]
            answers = self._manager.subset_hook_caller(hook, others)(**arguments)
            if not answers:
                raise NotImplementedError(f"it has no {hook}, or that gave nothing")
            return answers[0]

    def _import(self, key: str) -> None:
        from modelgraft.host.imports import load_plugin, new_manager, register

        if self._manager is None:
            self._manager = new_manager()
        if self._manager.get_plugin(key) is None:
            record = next(r for r in self.records if key_of(r) == key)
            register(self._manager, load_plugin(record["value"]), key)


@contextmanager
def plugin_fault(plugin: str, about: str) -> Iterator[None]:
    """Turn what a plugin raises, ``SystemExit`` included, into one `PluginError` that names the plugin and the task."""
    try:
        yield
    except (ModelgraftError, KeyboardInterrupt):
        raise
    except MemoryError:
        raise
    except BaseException as error:
        told = " ".join(str(error).split())[:500]
        text = f"{type(error).__name__}: {told}" if told else type(error).__name__
        raise PluginError(f"plugin {plugin} failed while {about}: {text} (--debug shows where)") from error


def import_target(target: str, plugin: str) -> Any:
    """The object behind a ``package.module:name`` that a plugin announced; raises `PluginError` with the true cause."""
    from modelgraft.host.imports import load_plugin

    with redirect_stdout(sys.stderr), plugin_fault(plugin, f"importing {target}"):
        return load_plugin(target)


def _settle(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Refuse whole any plugin that claims a name an earlier one has; records are ordered, so the answer is always the same."""
    owners: dict[tuple[str, str], str] = {("verb", verb.name): "modelgraft" for verb in BUILT_IN}
    out = []
    for record in records:
        claims = [(kind, item["name"]) for kind in ("entries", "heads", "verbs") for item in record[kind]]
        claims = [(_KIND[kind], name) for kind, name in claims]
        clash = next((c for c in claims if c in owners), None)
        if clash is not None:
            kind, name = clash
            record = {
                **record,
                "status": "failed",
                "error": f"brings the {kind} {name!r}, which {owners[clash]} brings already; rename it, or keep one of the two "
                f"out with MODELGRAFT_PLUGINS=-{record['name']}",
                "entries": [],
                "heads": [],
                "verbs": [],
            }
        else:
            owners.update((c, f"{record['distribution']} {record['version']}") for c in claims)
        out.append(record)
    return out


_KIND = {"entries": "model", "heads": "head", "verbs": "verb"}


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
    )


def _barred_report(found: Found) -> PluginReport:
    error = "kept out by MODELGRAFT_PLUGINS"
    return PluginReport(
        found.name, found.distribution, found.version, found.value, "barred", error, None, models=0, heads=0, verbs=0
    )


_current: tuple[tuple[Any, ...], Host] | None = None


def current_host() -> Host:
    """The host for what is installed now: the same object until something is installed, removed or barred."""
    global _current
    found = discover()
    state = (tuple(found), os.environ.get("MODELGRAFT_PLUGINS", ""))
    if _current is None or _current[0] != state:
        _current = (state, Host(found))
    return _current[1]


def no_such(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a head or verb nobody brings."""
    return UsageError(f"no installed plugin brings a {kind} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
