"""Try plugins in a process of their own and write down what they bring, or why they fail.

Nothing a plugin does at import (raise, exit, print, hang, crash) reaches the process that asked: it reads the answer from a
file. `validate_one` is the whole trial of one plugin; `main` runs it for a list, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pluggy

from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError
from modelgraft.host.discovery import GROUP, Found
from modelgraft.host.imports import load_plugin, new_manager, register
from modelgraft.host.records import failed_record, new_record
from modelgraft.specs import HEAD_NEEDS, HEAD_TASKS, HeadSpec, SourceSpec, VerbSpec

_MACHINERY = {Path(__file__).parent, Path(pluggy.__file__).parent}
_MOST_FILES = 300  # of an editable plugin that are watched for changes


def validate_one(found: Found) -> dict[str, Any]:
    """Import one plugin, check its hooks, collect its entries, heads, verbs and sources.

    Returns:
        a record in plain JSON types: ``status`` is ``ok``, ``warned`` (it works, with a fault that was contained) or ``failed``;
        ``error`` is the reason in a line, ``traceback`` the whole of it.
    """
    record = new_record(found)
    with _stdout_caught() as printed:
        try:
            record.update(_collect(found))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and its like are what this process is for
            record = failed_record(found, reason(error, found), traceback.format_exc())
    if record["status"] == "ok" and printed:
        first = printed[0].strip().splitlines()[0][:80] if printed[0].strip() else "blank lines"
        record.update(
            status="warned",
            error=f"prints to standard output while it loads ({first!r}); kept out of modelgraft's own output",
        )
    record["watched"] = _watched(found)
    return record


def _collect(found: Found) -> dict[str, Any]:
    plugin = load_plugin(found.value)
    manager = new_manager()
    register(manager, plugin, found.key)
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    for entry in _called(manager, "modelgraft_entries", Entry):
        entry.check()
        if entry.name in seen:
            raise ValueError(f"brings the model {entry.name!r} twice")
        seen.add(entry.name)
        entries.append(entry.to_dict())
    json.dumps(entries)  # an entry that is not plain data fails here, with its plugin, and not in a later reader
    heads = [_head(spec) for spec in _called(manager, "modelgraft_heads", HeadSpec)]
    verbs = [_fields(spec) for spec in _called(manager, "modelgraft_verbs", VerbSpec)]
    sources = [_fields(spec) for spec in _called(manager, "modelgraft_sources", SourceSpec)]
    return {"entries": entries, "heads": heads, "verbs": verbs, "sources": sources}


def _called(manager: pluggy.PluginManager, hook: str, kind: type) -> Iterator[Any]:
    for answer in getattr(manager.hook, hook)():
        for item in answer:
            if not isinstance(item, kind):
                raise TypeError(f"{hook} must give {kind.__name__} objects, not {type(item).__name__}")
            yield item


def _fields(spec: HeadSpec | VerbSpec | SourceSpec) -> dict[str, str]:
    return {"name": spec.name, "target": spec.target, "help": spec.help}


def _head(spec: HeadSpec) -> dict[str, Any]:
    for what, known in (("tasks", HEAD_TASKS), ("needs", HEAD_NEEDS), ("uses", HEAD_NEEDS)):
        stated = getattr(spec, what)
        if isinstance(stated, str) or set(stated) - set(known):
            raise ValueError(
                f"the head {spec.name!r} states {what} {stated!r}; they must be some of {', '.join(known)}"
            )
    return {**_fields(spec), "tasks": list(spec.tasks), "needs": list(spec.needs), "uses": list(spec.uses)}


def reason(error: BaseException, found: Found) -> str:
    """The failure in one line: kind, text, and the line of the plugin where it happened."""
    if isinstance(error, ModelgraftError):
        return str(error)  # raised on purpose, and written for the user
    if isinstance(error, SystemExit):
        text = f"calls sys.exit({error.code!r}) while it loads"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        text = f"needs the module {error.name!r}, which is not installed"
        if wanted := _requirement_of(found, error.name):
            text += f" (pip install '{wanted}')"
    else:
        told = " ".join(str(error).split())  # pluggy explains itself over several lines
        text = f"{type(error).__name__}: {told[:400]}" if told else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text.removesuffix(f' ({Path(error.filename).name}, line {error.lineno})')} ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_hosts(frame.filename)]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def _is_hosts(filename: str) -> bool:
    # Frames of the machinery say nothing about the plugin.
    path = Path(filename)
    return filename.startswith("<") or path.parent in _MACHINERY or path.parent.name == "importlib"


def _requirement_of(found: Found, module: str) -> str | None:
    try:
        requires = distribution(found.distribution).requires or []
    except PackageNotFoundError:
        return None
    wanted = module.partition(".")[0].replace("_", "-").lower()
    for line in requires:
        if line.lower().replace("_", "-").startswith(wanted):
            return line.partition(";")[0].strip()
    return None


def _watched(found: Found) -> list[list[Any]]:
    """Files of an editable install, whose changes no installer announces: path, mtime, size."""
    try:
        dist = distribution(found.distribution)
        editable = '"editable": true' in (dist.read_text("direct_url.json") or "").replace('":true', '": true')
    except PackageNotFoundError:
        return []
    if not editable:
        return []
    module = sys.modules.get(EntryPoint(found.name, found.value, GROUP).module.partition(".")[0])
    if module is None or not getattr(module, "__file__", None):
        return []
    file = Path(str(module.__file__))
    watched = [file]
    if file.name == "__init__.py":
        # Folders too: a file that is added or removed changes the time of its folder.
        inside = (
            p
            for p in file.parent.rglob("*")
            if p.name != "__pycache__" and (p.is_dir() or p.suffix in (".py", ".json"))
        )
        watched = [file.parent, *sorted(inside)][:_MOST_FILES]
    return [[str(p), (s := p.stat()).st_mtime_ns, s.st_size] for p in watched]


@contextmanager
def _stdout_caught() -> Iterator[list[str]]:
    """Send file descriptor 1 to a file, so that even a C library's prints are seen; the list holds them afterwards."""
    printed: list[str] = []
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield printed
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            if text := file.read().decode(errors="replace"):
                printed.append(text)


def main(request: str, answer: str) -> None:
    """Read a JSON list of plugins from ``request``; append a record for each to ``answer`` as soon as it is known."""
    todo = json.loads(Path(request).read_text())
    with open(answer, "a", encoding="utf-8") as out:
        for item in todo:
            out.write(json.dumps(validate_one(Found(**item))) + "\n")
            out.flush()
