"""Standard output belongs to the result of a command: whatever else is printed in the process goes to standard error.

Plugins and the libraries below them print: progress, warnings, things forgotten. Between the lines of JSON that is damage. So the
process keeps a private copy of descriptor 1 for what commands write, and descriptor 1 itself leads to standard error, for
programs that are started and libraries in C; what Python code of a plugin prints is told by `modelgraft.guard`.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

from modelgraft.guard import in_plugin_code


def keep_output() -> None:
    """Make standard output this command's own. Does nothing where it is not the process's real one (tests that capture it)."""
    stream = sys.stdout
    if stream is None or stream is not sys.__stdout__:
        return
    try:
        if stream.fileno() != 1:
            return
        stream.flush()
        private = os.dup(1)
    except (OSError, ValueError):
        return  # closed, or no descriptor at all
    try:
        os.dup2(2, 1)
    except OSError:  # standard error is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raw = io.FileIO(private, "wb", closefd=False)
    sys.stdout = _Text(_Buffer(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=raw.isatty())


def _is_ours() -> bool:
    return not in_plugin_code() and threading.current_thread() is threading.main_thread()


class _Buffer(io.BufferedWriter):
    def write(self, data: Any, /) -> int:
        if _is_ours():
            return super().write(data)
        if sys.stderr is not None:
            sys.stderr.flush()
            sys.stderr.buffer.write(data)
        return len(data)


class _Text(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        if _is_ours():
            return super().write(text)
        if sys.stderr is not None:
            sys.stderr.write(text)
        return len(text)
