"""A process that works for this one: what breaks there, or is killed, takes nothing else with it, and memory is its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

from modelgraft.errors import ModelgraftError

MARK: Final = "modelgraft: "
"""Before each answer: what else is written to the pipe, by what starts with Python itself, is none."""


class NoProcessError(ModelgraftError):
    """The system starts no more processes."""


@contextmanager
def child(module: str, errors: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that runs ``main(answers)`` of a module of ours; it does not outlive the ``with``.

    Args:
        module: ``modelgraft_adapters.compare.worker``; its ``main`` reads standard input and writes to the descriptor that it is
            given. Standard output leads to standard error there: what a library prints is no answer.
        errors: a file that its standard error goes to.

    Raises:
        NoProcessError: none can be started.
    """
    # -P: a module in the folder that somebody stands in is not run; the path is ours. Nothing but answers is written to the pipe:
    # the first line takes it away from whatever is imported after.
    code = (
        "import os, sys; answers = os.dup(1); os.dup2(2, 1); import json; sys.path[:] = json.loads(sys.argv[1]); "
        f"from {module} import main; main(answers)"
    )
    command = [sys.executable, "-P", "-c", code, json.dumps(sys.path)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    except OSError as error:
        raise NoProcessError(f"no process could be started for it ({error.strerror or error})") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def how_it_ended(code: int, errors: IO[bytes]) -> str:
    """Return what to say of a process that ended with a code other than 0, and the last line that it wrote to ``errors``."""
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    how = f"ended by signal {-code}" + (", out of memory?" if code == -9 else "") if code < 0 else f"left with {code}"
    return f"its process {how}{': ' + said[-1][:300] if said else ''}"
