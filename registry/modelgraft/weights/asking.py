"""Whose is a model that no catalogue lists? The project's own plugins are asked first; strangers only about what is left.

A stranger's code runs for a place that its user never connected with it, so it runs in a process of its own, with a deadline, and
its answer is an entry in JSON that is checked. One that hangs, dies or answers nonsense is named, and the others are asked.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final

from modelgraft.cli.render import printable
from modelgraft.entry import Entry, Weights
from modelgraft.errors import PluginError
from modelgraft.host.child import ask_child
from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.host.host import Host
from modelgraft.host.imports import load_plugin, new_manager, register
from modelgraft.host.records import key_of
from modelgraft.host.trials import time_limit

_SECONDS: Final = 60.0  # for all strangers together, or what the user allows for trials
_TOGETHER: Final = min(4, os.cpu_count() or 1)
Record = Mapping[str, Any]


def whose(
    host: Host, location: str, name: str, weights: Weights, configs: Mapping[str, Any]
) -> tuple[Entry, Record] | None:
    """Return the entry for a place and the record of the plugin that knows it; None if nobody does.

    Arguments as of `modelgraft.hookspecs.modelgraft_recognise`. A stranger that fails is told of on standard error.
    """
    for record in host.records:
        if record["distribution"] == OWN_DISTRIBUTION:
            about = f"looking at {location}"
            found = host.ask(key_of(record), "modelgraft_recognise", about, name=name, weights=weights, configs=configs)
            if found is not None:
                found.check()
                return found, record
    strangers = [r for r in host.records if r["distribution"] != OWN_DISTRIBUTION and r["status"] in ("ok", "warned")]
    asked = [record for record in strangers if record.get("recognises", True)]
    question = {"name": name, "weights": asdict(weights), "configs": dict(configs)}
    deadline = time.monotonic() + min(_SECONDS, time_limit())

    def ask(record: Record) -> Entry | PluginError | None:
        about = {"value": record["value"], "key": key_of(record), **question}
        try:
            if (left := deadline - time.monotonic()) <= 0:
                raise PluginError("was not asked, for others took all the time")
            answer = ask_child("modelgraft.weights.asking:answer", about, left)
            return None if answer is None else _checked(host, record, name, answer)
        except PluginError as error:
            return error

    with ThreadPoolExecutor(_TOGETHER) as pool:
        answers = list(zip(asked, pool.map(ask, asked), strict=True))
    for record, found in answers:
        if isinstance(found, PluginError):
            who = f"{record['name']} of {record['distribution']} {record['version']}"
            text = f"modelgraft: the plugin {who} was asked about {name} and {found}"
            print(printable(text), file=sys.stderr)
    return next(((found, record) for record, found in answers if isinstance(found, Entry)), None)


def _checked(host: Host, record: Record, name: str, answer: Any) -> Entry:
    try:
        entry = Entry.from_dict(answer)
        entry.check()
    except Exception as error:
        raise PluginError(f"gave no entry: {' '.join(str(error).split())[:300]}") from None
    owner = host.owners.get(entry.provider.lower(), record["distribution"])
    if entry.name != f"{entry.provider}/{name}" or owner != record["distribution"]:
        raise PluginError(f"gave the name {entry.name[:200]!r}, which is not its provider, a slash and {name!r}")
    return entry


def answer(question: dict[str, Any]) -> dict[str, Any] | None:
    """What one plugin says of a place; run in a process of its own."""
    manager = new_manager()
    register(manager, load_plugin(question["value"]), question["key"])
    stated = {k: tuple(v) if isinstance(v, list) else v for k, v in question["weights"].items()}
    found = manager.hook.modelgraft_recognise(
        name=question["name"], weights=Weights(**stated), configs=question["configs"]
    )
    if not found:
        return None
    if not isinstance(found[0], Entry):
        raise TypeError(f"modelgraft_recognise gave {type(found[0]).__name__}, not an Entry")
    return found[0].to_dict()
