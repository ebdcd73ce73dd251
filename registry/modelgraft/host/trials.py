"""Have plugins tried by another process, with one deadline for all of them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO, Any, Final

from modelgraft.errors import PluginError, UsageError
from modelgraft.host.discovery import Found
from modelgraft.host.records import failed_record, key_of, one_line

TIMEOUT: Final = "MODELGRAFT_PLUGIN_TIMEOUT"
INSIDE: Final = "MODELGRAFT_TRIAL"
"""Set in the process of a trial, and in whatever it starts."""
_DEFAULT_SECONDS: Final = 60.0
_GRACE: Final = 10.0  # for the server to start and to clean up
_SILENT: Final = 2.0  # seconds until a user is told what is waited for
_CODE: Final = (
    "import json, sys; request = json.loads(sys.stdin.buffer.readline()); sys.path[:] = request['path']; "
    "from modelgraft.host.trial_server import main; main(request)"
)


def time_limit() -> float:
    """Seconds that all trials of one command may take together.

    Raises:
        UsageError: the variable holds no number of seconds.
    """
    text = os.environ.get(TIMEOUT, "").strip()
    try:
        seconds = float(text) if text else _DEFAULT_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise UsageError(f"{TIMEOUT}={one_line(text, 60)} is no number of seconds between 0 and 86400")
    return seconds


def refuse_inside_a_trial() -> None:
    """Refuse to look at the installed plugins while one of them is being tried: that would try them all again, without end.

    Raises:
        PluginError: this is the process of a trial, or was started by one.
    """
    if os.environ.get(INSIDE):
        raise PluginError("asks which models there are (list_models, resolve ...) while it is being tried itself")


def try_plugins(found: Sequence[Found]) -> list[dict[str, Any]]:
    """A record for each plugin, in order. Those whose metadata is at fault are not imported at all."""
    refuse_inside_a_trial()
    records = {f.key: failed_record(f, f.fault) for f in found if f.fault is not None}
    todo = [f for f in found if f.fault is None]
    if todo:
        records.update(_Trials(todo, time_limit()).run())
    return [records[f.key] for f in found]


class _Trials:
    def __init__(self, plugins: list[Found], seconds: float) -> None:
        self.plugins = {f.key: f for f in plugins}
        self.seconds, self.until = seconds, time.monotonic() + seconds
        self.notice = Notice(plugins, seconds)
        self.records: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """The records by key."""
        died, said = self._serve([*self.plugins.values()])
        if died:  # a plugin has killed it: each distribution gets one of its own, so that it is seen which
            by_distribution: dict[str, list[Found]] = {}
            for f in self._left():
                by_distribution.setdefault(f.distribution, []).append(f)
            for plugins in by_distribution.values():
                if self._serve(plugins)[0]:
                    told = "kills the process that tries it"
                    self.records.update({f.key: failed_record(f, told) for f in plugins if f.key not in self.records})
        self.records.update({f.key: self._missing(f, said) for f in self._left()})
        return self.records

    def _left(self) -> list[Found]:
        return [f for key, f in self.plugins.items() if key not in self.records]

    def _serve(self, plugins: list[Found]) -> tuple[bool, str]:
        """Whether a server was killed over these plugins, and what it said."""
        if time.monotonic() > self.until:
            return False, ""
        with tempfile.TemporaryFile() as errors:
            server = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE],
                stdin=subprocess.PIPE,  # stays open: its end tells the server that nobody waits any more
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, INSIDE: "1"},
                start_new_session=True,
            )
            try:
                answered = self._talk(server, plugins)
            finally:
                _end(server)
            errors.seek(0)
            return answered and server.returncode < 0, errors.read(4000).decode(errors="replace")

    def _talk(self, server: subprocess.Popen[bytes], plugins: list[Found]) -> bool:
        """Take in what the server answers; whether it has ended by itself."""
        assert server.stdin is not None and server.stdout is not None
        request = {
            "path": sys.path,
            "plugins": [f.to_dict() for f in plugins],
            "seconds": max(0.0, self.until - time.monotonic()),
            "allowed": self.seconds,
            "width": min(8, max(2, _cores())),
        }
        try:
            server.stdin.write(json.dumps(request).encode() + b"\n")
            server.stdin.flush()
        except BrokenPipeError:
            return True  # it did not start; what it said is told
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        try:
            threading.Thread(target=_pass_on, args=(server.stdout, lines), daemon=True).start()
        except RuntimeError:  # no more threads are allowed; the server keeps to the time by itself
            _pass_on(server.stdout, lines)
        while time.monotonic() < self.until + _GRACE:
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                line = b"\n"
            if not line:
                server.wait(_GRACE)
                return True
            self._take(line)
            self.notice.when_due(self._left())
        return False

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            key = key_of(record)
        except (ValueError, TypeError, KeyError):
            return  # printed by a start-up hook of Python
        if key in self.plugins:
            self.records[key] = record

    def _missing(self, plugin: Found, said: str) -> dict[str, Any]:
        last = one_line(([line for line in said.splitlines() if line.strip()] or [""])[-1], 300)
        if last:
            why = f"could not be tried: the process for that ended ({last})"
        else:
            why = f"was not tried: others took the {self.seconds:g} s there are for all ({TIMEOUT}); the next command tries it"
        return {**failed_record(plugin, why), "late": 0.0}


class Notice:
    """One line on standard error, once a wait has taken a while, if it is for plugins other than the project's own."""

    def __init__(self, plugins: Sequence[Found], seconds: float, since: float | None = None) -> None:
        self.since = time.monotonic() if since is None else since
        self.seconds = seconds
        self.due = any(not f.own for f in plugins)

    def when_due(self, left: Sequence[Found], by: str = "") -> None:
        """Say what is waited for, if it is time to and has not been said."""
        names = list(dict.fromkeys(f.distribution for f in left if not f.own))
        if not self.due or not names or time.monotonic() - self.since < _SILENT:
            return
        self.due = False
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        limit = f"for {self.seconds:g} s at most ({TIMEOUT})"
        print(
            f"modelgraft: trying newly installed plugins{by}, {limit}: {one_line(shown)}", file=sys.stderr, flush=True
        )


def _pass_on(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """Lines as they come, and an empty one at the end."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(b"")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(server: subprocess.Popen[bytes]) -> None:
    """Let the server end its children and itself; then make sure of it."""
    assert server.stdin is not None
    with contextlib.suppress(OSError):
        server.stdin.close()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(5)
    finally:
        if server.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(server.pid, signal.SIGKILL)
            server.kill()
            server.wait()
