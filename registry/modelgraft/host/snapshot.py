"""What the trials found, kept on disk so that listing models runs no plugin at all.

One file per Python environment. A record holds as long as the plugin's installed metadata, the folder it is installed in, the
version of modelgraft and (for an editable install) its files are what they were; a failed one is tried again as soon as
anything is installed or removed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from modelgraft.host.discovery import Found
from modelgraft.host.records import failed_record, key_of
from modelgraft.host.table import Table
from modelgraft.paths import cache_dir, write_atomic
from modelgraft.version import __version__

FORMAT: Final = 4
TRIAL_SECONDS: Final = float(os.environ.get("MODELGRAFT_PLUGIN_TIMEOUT", "300"))
"""A plugin that has not answered by then is reported as failed. Generous: it may have to import its model library."""


def snapshot_path() -> Path:
    """This environment's file; two environments that share a home folder do not share one."""
    environment = f"{sys.prefix}\0{sys.version}\0{__file__}"
    return cache_dir() / f"plugins-{hashlib.sha256(environment.encode()).hexdigest()[:16]}.json"


def records_for(found: Sequence[Found]) -> list[dict[str, Any]]:
    """A record for every plugin, in order: from the snapshot where it still holds, else from a fresh trial."""
    known = _read()
    fresh = {f.key: record for f in found if (record := known.get(f.key)) and _holds(record, f)}
    stale = [f for f in found if f.key not in fresh]
    if stale:
        for record in try_plugins(stale):
            fresh[key_of(record)] = {**record, "entries": Table.of(record["entries"])}
        # Records of plugins that are barred this time stay, so that a variable set for one command costs the next nothing.
        kept = {key: record for key, record in known.items() if key not in fresh}
        _write({**kept, **fresh})
    return [fresh[f.key] for f in found]


def _read() -> dict[str, dict[str, Any]]:
    try:
        content = snapshot_path().read_bytes()
        start = content.index(b"\n") + 1
        data = json.loads(content[:start])
        # Entries are parsed when they are looked at, too late to make them anew: damage has to be seen here.
        crc32 = zlib.crc32(memoryview(content)[start:])
        if data["format"] == FORMAT and data["modelgraft"] == __version__ and data["crc32"] == crc32:
            for record in data["plugins"]:
                record["entries"] = Table(record["entries"], content, start)
                start = record["entries"].end
            return {key_of(record): record for record in data["plugins"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or not ours any more: the trials make it anew
    return {}


def _write(records: dict[str, dict[str, Any]]) -> None:
    """A line of JSON with the records and the columns of their entries, then the lines of their tables."""
    body = b"".join(record["entries"].raw for record in records.values())
    plugins = [{**record, "entries": record["entries"].columns} for record in records.values()]
    data = {"format": FORMAT, "modelgraft": __version__, "crc32": zlib.crc32(body), "plugins": plugins}
    try:
        write_atomic(snapshot_path(), json.dumps(data, separators=(",", ":")).encode() + b"\n" + body)
    except OSError:
        pass  # a read-only home: every command tries its plugins itself, slower but right


def _holds(record: dict[str, Any], found: Found) -> bool:
    if any(record.get(field) != value for field, value in found.to_dict().items()):
        return False
    for path, modified, size in record["watched"]:
        try:
            now = os.stat(path)
        except OSError:
            return False
        if (now.st_mtime_ns, now.st_size) != (modified, size):
            return False
    return True


def try_plugins(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Try plugins in child processes: one for the project's own, one for each other distribution, all at once."""
    by_distribution: dict[str, list[Found]] = {}
    for f in found:
        by_distribution.setdefault(f.distribution, []).append(f)
    records: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="modelgraft-") as folder:
        trials = [_Trial(plugins, Path(folder) / str(n)) for n, plugins in enumerate(by_distribution.values())]
        while trials:
            again: list[_Trial] = []
            for trial in trials:
                done, left = trial.finish()
                records.update(done)
                if left:  # it died on one plugin; the rest of its distribution gets another process
                    again.append(_Trial(left, trial.folder.with_name(trial.folder.name + "r")))
            trials = again
    return [records[f.key] for f in found]


class _Trial:
    """One child process that tries the plugins of one distribution."""

    def __init__(self, plugins: list[Found], folder: Path) -> None:
        self.plugins = plugins
        self.folder = folder
        folder.mkdir()
        (folder / "request").write_text(json.dumps([f.to_dict() for f in plugins]))
        (folder / "path").write_text(json.dumps(sys.path))
        code = (
            "import json, sys; sys.path[:] = json.load(open(sys.argv[3])); "
            "from modelgraft.host.validate import main; main(sys.argv[1], sys.argv[2])"
        )
        arguments = [str(folder / name) for name in ("request", "answer", "path")]
        self.stderr = open(folder / "stderr", "w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.stderr,
        )

    def finish(self) -> tuple[dict[str, dict[str, Any]], list[Found]]:
        """Wait; return the records by key, and the plugins that could not be tried because the process died before them."""
        died = ""
        try:
            code = self.process.wait(TRIAL_SECONDS)
            if code:
                died = (
                    f"crashes the interpreter while it loads ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
                )
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            died = f"did not finish loading in {TRIAL_SECONDS:g} s"
        finally:
            self.stderr.seek(0)
            said = self.stderr.read().decode(errors="replace")[-4000:]
            self.stderr.close()
        answer = self.folder / "answer"
        lines = answer.read_text(encoding="utf-8").splitlines() if answer.exists() else []
        done = {}
        for found, line in zip(self.plugins, lines, strict=False):
            done[found.key] = json.loads(line)
        left = self.plugins[len(done) :]
        if left:
            guilty = left.pop(0)
            error = died or "ended its process while it loads (os._exit)"
            done[guilty.key] = failed_record(guilty, error, said or None)
        return done, left
