"""The trial of one plugin: import it, ask what it brings, check every field of that, or say why it fails.

Runs in a process of its own (`modelgraft.host.trial_server`), for a plugin may do anything to the process it is imported in.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pluggy

from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError
from modelgraft.fields import shown
from modelgraft.host.code import is_editable
from modelgraft.host.discovery import GROUP, Found
from modelgraft.host.imports import load_plugin, new_manager, register
from modelgraft.host.records import MOST_BYTES, MOST_ENTRIES, MOST_SPECS, failed_record, lines, new_record, one_line
from modelgraft.host.verdicts import check_entries, check_specs
from modelgraft.specs import EngineSpec, HeadSpec, SourceSpec, VerbSpec

# Frames of the machinery say nothing about the plugin.
_MACHINERY = {Path(__file__).parent, Path(pluggy.__file__).parent}
_PACKAGE = Path(__file__).parent.parent
_MACHINERY_FILES = {_PACKAGE / "entry.py", _PACKAGE / "fields.py"}
_MOST_FILES = 300  # of an editable plugin that are watched for changes


def validate_one(found: Found) -> dict[str, Any]:
    """Import one plugin, check its hooks, collect its entries, heads, verbs, sources and engines.

    Returns:
        a record in plain JSON types: ``status`` is ``ok`` or ``failed``; ``error`` is the reason in a line, ``traceback`` the
        whole of it.
    """
    record = new_record(found)
    try:
        record.update(_collect(found))
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the plugin's own here: nobody else sends any
        record = failed_record(found, _safely(reason, error, found), _safely(_traceback, error))
    try:
        record["watched"] = _watched(found)
    except Exception:
        pass  # it moved what it was imported from; a reinstall is seen all the same
    return record


def _collect(found: Found) -> dict[str, Any]:
    plugin = load_plugin(found.value)
    manager = new_manager()
    register(manager, plugin, found.key)
    entries = _called(manager, "modelgraft_entries", Entry, MOST_ENTRIES)
    check_entries(entries)
    heads = _called(manager, "modelgraft_heads", HeadSpec, MOST_SPECS)
    check_specs("heads", heads)
    verbs = _called(manager, "modelgraft_verbs", VerbSpec, MOST_SPECS)
    check_specs("verbs", verbs)
    sources = _called(manager, "modelgraft_sources", SourceSpec, MOST_SPECS)
    check_specs("sources", sources)
    engines = _called(manager, "modelgraft_engines", EngineSpec, MOST_SPECS)
    check_specs("engines", engines)
    brought: dict[str, Any] = {
        "entries": [entry.to_dict() for entry in entries],
        "heads": [_head(spec) for spec in heads],
        "verbs": [_fields(spec) for spec in verbs],
        "sources": [_fields(spec) for spec in sources],
        "engines": [_fields(spec) for spec in engines],
        "recognises": bool(manager.hook.modelgraft_recognise.get_hookimpls()),
    }
    if (long := len(json.dumps(brought))) > MOST_BYTES:
        raise ValueError(f"brings {long:,} characters of facts; {MOST_BYTES:,} are the most")
    return brought


def _called(manager: pluggy.PluginManager, hook: str, kind: type, most: int) -> list[Any]:
    found: list[Any] = []
    for answer in getattr(manager.hook, hook)():
        if isinstance(answer, (str, bytes, dict)) or not hasattr(type(answer), "__iter__"):
            raise TypeError(f"{hook} must give a list of {kind.__name__} objects, not {shown(answer)}")
        for item in answer:
            if type(item) is not kind:
                raise TypeError(f"{hook} must give {kind.__name__} objects, not {shown(item)}")
            found.append(item)
            if len(found) > most:
                raise ValueError(f"{hook} gives more than {most:,} {kind.__name__} objects, which is the most")
    return found


def _fields(spec: HeadSpec | VerbSpec | SourceSpec | EngineSpec) -> dict[str, Any]:
    return {"name": spec.name, "target": spec.target, "help": spec.help}


def _head(spec: HeadSpec) -> dict[str, Any]:
    return {**_fields(spec), "tasks": list(spec.tasks), "needs": list(spec.needs), "uses": list(spec.uses)}


def _safely(tell: Callable[..., str], error: BaseException, *more: Any) -> str:
    """What ``tell`` makes of an error, whose own methods may fail too."""
    try:
        return tell(error, *more)
    except BaseException:
        return f"{type(error).__name__}, whose text cannot be read"


def _traceback(error: BaseException) -> str:
    return lines("".join(traceback.format_exception(error)))


def reason(error: BaseException, found: Found) -> str:
    """The failure in one line: kind, text, and the line of the plugin where it happened."""
    if isinstance(error, ModelgraftError):
        return one_line(str(error))  # raised on purpose, and written for the user
    if isinstance(error, SystemExit):
        text = f"calls sys.exit({shown(error.code)}) while it loads"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        text = f"needs the module {error.name!r}, which is not installed"
        if wanted := _requirement_of(found, error.name):
            text += f" (pip install '{wanted}')"
    else:
        told = one_line(str(error), 400)  # pluggy explains itself over several lines
        text = f"{type(error).__name__}: {told}" if told else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        text = text.removesuffix(f" ({Path(error.filename).name}, line {error.lineno})")
        return one_line(f"{text} ({error.filename}:{error.lineno})")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_hosts(frame.filename)]
    return one_line(f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text)


def _is_hosts(filename: str) -> bool:
    path = Path(filename)
    inside = path.parent in _MACHINERY or path in _MACHINERY_FILES
    return filename.startswith("<") or inside or path.parent.name == "importlib"


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
    except PackageNotFoundError:
        return []
    if dist.read_text("RECORD") is not None and not is_editable(dist):
        return []
    module = EntryPoint(found.name, found.value, GROUP).module
    # The module itself may have failed to import, so it is found as the import finds it.
    spec = find_spec(module.partition(".")[0])
    if spec is None:
        return []
    files = {Path(spec.origin)} if spec.origin and Path(spec.origin).is_file() else set()
    for folder in map(Path, spec.submodule_search_locations or ()):
        # Folders too: a file that is added or removed changes the time of its folder.
        inside = (p for p in folder.rglob("*") if p.is_dir() or p.suffix in (".py", ".json"))
        files |= {folder, *(p for p in inside if "__pycache__" not in p.parts)}
    direct = json.loads(dist.read_text("direct_url.json") or "{}")
    project = unquote(urlsplit(str(direct.get("url", ""))).path)
    if project:  # what it imports beside itself, out of the same project
        loaded = (getattr(other, "__file__", None) for other in list(sys.modules.values()))
        inside = (Path(file) for file in loaded if isinstance(file, str) and file.startswith(project + "/"))
        files |= {p for p in inside if "site-packages" not in p.parts and _PACKAGE not in p.parents}
    return [[str(p), (s := p.stat()).st_mtime_ns, s.st_size] for p in sorted(files)[:_MOST_FILES]]
