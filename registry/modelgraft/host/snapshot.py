"""What the trials found, kept on disk so that listing models runs no plugin at all.

One file per Python environment. A record holds as long as the plugin's installed metadata, the folder it is installed in, the
version of modelgraft and (for an editable install) its files are what they were; a failed one is tried again as soon as
anything is installed or removed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from modelgraft.errors import DamagedFileError
from modelgraft.host.discovery import Found
from modelgraft.host.records import key_of
from modelgraft.host.table import Table
from modelgraft.host.trials import Notice, refuse_inside_a_trial, time_limit, try_plugins
from modelgraft.paths import cache_dir
from modelgraft.project.files import exclusive
from modelgraft.sealed import read_sealed, write_sealed
from modelgraft.version import __version__

FORMAT: Final = 7


def snapshot_path() -> Path:
    """This environment's file; two environments that share a home folder do not share one."""
    environment = f"{sys.prefix}\0{sys.version}\0{__file__}"
    return cache_dir() / f"plugins-{hashlib.sha256(environment.encode()).hexdigest()[:16]}.json"


def records_for(found: Sequence[Found]) -> list[dict[str, Any]]:
    """A record for every plugin, in order: from the snapshot where it still holds, else from a fresh trial.

    Raises:
        UsageError: the time limit is no number.
        PluginError: called by a plugin that is being tried.
    """
    refuse_inside_a_trial()
    known = _read()
    fresh, stale = _sorted_out(known, found)
    if stale:
        with ExitStack() as held:
            if _wait_for_others(held, stale):  # they may have tried the same plugins
                known = _read()
                fresh, stale = _sorted_out(known, found)
            if stale:
                for record in try_plugins(stale):
                    fresh[key_of(record)] = {**record, "entries": Table.of(record["entries"])}
                # Records of plugins that are barred this time stay, so that a variable set for one command costs the next nothing.
                kept = {key: record for key, record in known.items() if key not in fresh}
                _write({**kept, **fresh})
    return [fresh[f.key] for f in found]


def _sorted_out(
    known: dict[str, dict[str, Any]], found: Sequence[Found]
) -> tuple[dict[str, dict[str, Any]], list[Found]]:
    """Records that hold, by key, and the plugins that have none."""
    fresh = {f.key: record for f in found if (record := known.get(f.key)) and _holds(record, f)}
    return fresh, [f for f in found if f.key not in fresh]


class _NotHeldError(Exception):
    pass


def _wait_for_others(held: ExitStack, stale: Sequence[Found]) -> bool:
    """Hold the one right to try plugins here until ``held`` ends, after whoever has it; the system takes it from the dead.

    False where nobody can have it (a read-only home), or whoever has it does not end in time: then each process tries for itself.
    """
    path, started, seconds = snapshot_path(), time.monotonic(), time_limit()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    if not os.access(path.parent, os.W_OK):
        return False
    for wait in (2.0, seconds + 15):
        try:
            held.enter_context(exclusive(path, _NotHeldError, wait))
            return True
        except _NotHeldError:
            if time.monotonic() - started < wait:
                return False
            Notice(stale, seconds, started).when_due(stale, " in another process")
    return False


def _read() -> dict[str, dict[str, Any]]:
    try:
        content = read_sealed(snapshot_path())
        start = content.index(b"\n") + 1
        data = json.loads(content[:start])
        if data["format"] == FORMAT and data["modelgraft"] == __version__:
            for record in data["plugins"]:
                record["entries"] = Table(record["entries"], content, start)
                start = record["entries"].end
            return {key_of(record): record for record in data["plugins"]}
    except (OSError, ValueError, KeyError, TypeError, DamagedFileError):
        pass  # none yet, or not ours any more: the trials make it anew
    return {}


def _write(records: dict[str, dict[str, Any]]) -> None:
    """A line of JSON with the records and the columns of their entries, then the lines of their tables."""
    body = b"".join(record["entries"].raw for record in records.values())
    plugins = [{**record, "entries": record["entries"].columns} for record in records.values()]
    data = {"format": FORMAT, "modelgraft": __version__, "plugins": plugins}
    try:
        write_sealed(snapshot_path(), json.dumps(data, separators=(",", ":")).encode() + b"\n" + body)
    except OSError:
        pass  # a read-only home: every command tries its plugins itself, slower but right


def _holds(record: dict[str, Any], found: Found) -> bool:
    if any(record.get(field) != value for field, value in found.to_dict().items()):
        return False
    if record["late"] is not None and record["late"] < time_limit():
        return False  # it has more time now
    for path, modified, size in record["watched"]:
        try:
            now = os.stat(path)
        except OSError:
            return False
        if (now.st_mtime_ns, now.st_size) != (modified, size):
            return False
    return True
