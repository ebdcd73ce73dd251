"""Python code in a process of its own, with a time limit: what hangs, crashes or prints there does no harm here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

_PRELUDE: Final = """\
import json, sys
sys.path[:] = json.loads(sys.argv[2])
_out = open(sys.argv[1], "a", encoding="utf-8")
def say(**facts):
    _out.write(json.dumps(facts) + "\\n")
    _out.flush()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the code said before it ended."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Everything it told with ``say(key=value)``."""
    died: str | None = None
    """How it ended, if not well: its last line on standard error, a signal, or the time limit."""
    stderr: str = ""


def run(code: str, seconds: float, environment: Mapping[str, str] | None = None) -> Answer:
    """Run code that tells what it finds with ``say(key=value)``; a crash loses nothing that was said before it."""
    with tempfile.TemporaryDirectory(prefix="modelgraft-") as folder:
        said, errors = Path(folder, "said"), Path(folder, "stderr")
        said.touch()
        with errors.open("wb") as stderr:
            process = _started(
                [sys.executable, "-P", "-c", _PRELUDE + code, str(said), json.dumps(sys.path)],
                stderr,
                {**os.environ, **(environment or {})},
            )
            if isinstance(process, str):
                return Answer({}, process)
            died = None
            try:
                if status := process.wait(seconds):
                    died = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
            except subprocess.TimeoutExpired:
                died = f"no answer in {seconds:g} s"
            finally:
                _end(process)
        facts: dict[str, Any] = {}
        for line in said.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                facts.update(json.loads(line))
            except (ValueError, TypeError):
                pass  # the line it was writing when it died
        text = errors.read_bytes().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if died and died.startswith("exit") and lines:
        died = lines[-1]
    return Answer(facts, died, text)


def _started(command: list[str], stderr: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes] | str:
    """The process, or why there is none."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
            start_new_session=True,  # so that its own children can be ended with it
        )
    except OSError as error:
        return f"no process could be started ({error.strerror or error})"


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nobody of its session is left
    else:
        process.kill()
    process.wait()
