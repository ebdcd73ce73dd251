"""What a trial answers is read as a stranger's: the plugin ran in the process that wrote it, and may have written it itself."""

from __future__ import annotations

import json
from typing import Any, Final

from modelgraft.entry import Entry
from modelgraft.errors import PluginError
from modelgraft.fields import check, check_entry
from modelgraft.host.discovery import Found
from modelgraft.host.records import MOST_ENTRIES, MOST_NAME, MOST_SPECS, failed_record, lines, new_record, one_line
from modelgraft.specs import EngineSpec, HeadSpec, SourceSpec, VerbSpec

_SPECS: Final = {"heads": HeadSpec, "verbs": VerbSpec, "sources": SourceSpec, "engines": EngineSpec}
_GARBLED: Final = "its trial gave an answer that cannot be read"


def read_answer(found: Found, answer: bytes) -> dict[str, Any]:
    """The record in one line of an answer, every part of it checked; a failed one if it is no record."""
    try:
        return _record(found, json.loads(answer))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PluginError) as error:
        told = one_line(f"{type(error).__name__}: {error}", 300)
        return failed_record(
            found, f"{_GARBLED} ({told}): it writes into files that are not its own, or ends too early"
        )


def _record(found: Found, data: Any) -> dict[str, Any]:
    record = new_record(found)
    if not isinstance(data, dict) or data.keys() != record.keys():
        raise ValueError("not a record")
    if data["status"] not in ("ok", "warned", "failed"):
        raise ValueError("no such status")
    for field, tidy in (("error", one_line), ("traceback", lines)):
        if data[field] is not None:
            record[field] = tidy(_of(str, data[field]))
    if (data["status"] == "ok") != (not record["error"]):
        raise ValueError("a reason where there is none, or none where there is one")
    record["error"] = record["error"] or None
    record["status"] = data["status"]
    record["watched"] = [[_of(str, p), _of(int, t), _of(int, s)] for p, t, s in _of(list, data["watched"])]
    if data["status"] == "failed":
        return record
    entries = [Entry.from_dict(entry) for entry in _of(list, data["entries"])]
    check_entries(entries)
    record["entries"], record["recognises"] = data["entries"], _of(bool, data["recognises"])
    for kind, spec in _SPECS.items():
        specs = [spec(**_named(kind, item)) for item in _of(list, data[kind])]
        check_specs(kind, specs)
        record[kind] = data[kind]
    return record


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} was expected")
    return value


def _named(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in _of(dict, item).items()}
    if kind == "sources":
        fields["scheme"] = fields.pop("name")
    return fields


def check_entries(entries: list[Entry]) -> None:
    """Refuse entries of one plugin that are wrong, each by itself or together.

    Raises:
        ValueError: which, and why.
    """
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"brings more than {MOST_ENTRIES:,} models")
    seen: set[str] = set()
    for entry in entries:
        check_entry(entry)
        if len(entry.name) > MOST_NAME:
            raise ValueError(f"the name of a model may have {MOST_NAME} characters, and one has {len(entry.name):,}")
        if entry.name in seen:
            raise ValueError(f"brings the model {entry.name!r} twice")
        seen.add(entry.name)
        if entry.provider != entries[0].provider:
            raise ValueError(
                f"brings models of two providers, {entries[0].provider!r} and {entry.provider!r}: the models of one plugin are all "
                "below one name (a distribution may bring several plugins)"
            )


def check_specs(kind: str, specs: list[Any]) -> None:
    """Refuse heads, verbs or sources of one plugin that are wrong, each by itself or together.

    Raises:
        ValueError: which, and why.
    """
    if len(specs) > MOST_SPECS:
        raise ValueError(f"brings more than {MOST_SPECS:,} {kind}")
    seen: set[str] = set()
    for spec in specs:
        name = spec.name if type(spec.name) is str and spec.name.isprintable() else ""
        check(spec, f"the {kind[:-1]} {name[:64]!r}: ")
        if spec.name in seen:
            raise ValueError(f"brings the {kind[:-1]} {spec.name!r} twice")
        seen.add(spec.name)
