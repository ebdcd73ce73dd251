"""Standard output belongs to the result of a command, and takes all of it or fails.

Plugins and the libraries below them print: progress, warnings, things forgotten. Between the lines of JSON that is damage. So the
process keeps a private copy of descriptor 1 for what commands write, and descriptor 1 itself leads to standard error, for
programs that are started and libraries in C; what Python code of a plugin prints is told by `modelgraft.guard`.

Python's own standard output, where it is unbuffered (``PYTHONUNBUFFERED``, ``-u``), writes what there is room for and forgets the
rest; here each write goes on until nothing is left of it, and what failed is told, whoever swallowed the error.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

from modelgraft.errors import OutputError
from modelgraft.guard import in_plugin_code


def keep_output() -> None:
    """Make standard output this command's own. Does nothing where it is not the process's real one (tests that capture it)."""
    stream = sys.stdout
    if stream is not sys.__stdout__:
        return
    try:
        if stream is not None:
            if stream.fileno() != 1:
                return
            stream.flush()
        private = os.dup(1)
    except (OSError, ValueError):
        return  # no descriptor at all
    os.dup2(2, 1)
    raw = _Whole(private)
    _made.append(raw)
    unbuffered = stream is not None and not isinstance(stream.buffer, io.BufferedWriter)
    sys.stdout = _Text(
        _Buffer(raw, 1 << 16),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace" if stream is None else stream.errors,
        line_buffering=unbuffered or raw.isatty(),
    )


def keep_notes() -> None:
    """Make standard error take everything: what is said beside a result ends no run where nobody listens or the disk is full."""
    stream = sys.stderr
    if sys.__stderr__ is None or stream is not sys.__stderr__:
        return
    try:
        if stream.fileno() != 2:
            return
        stream.flush()
    except (OSError, ValueError):
        pass
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Heedless(2)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )


def finish_output() -> None:
    """Have everything written.

    Raises:
        OutputError: something could not be, now or before.
        BrokenPipeError: the reader has gone.
        OSError, ValueError: as the stream that somebody put in the place of ours raises them.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    for raw in _made:
        raw.check()


def no_closed_streams() -> None:
    """Fill the places of standard streams that were closed (``>&-``): else the next file that is opened gets what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except (
            OSError
        ):  # nothing can be written to standard output then, which is told; nobody listens to standard error
            os.open(os.devnull, os.O_RDONLY if descriptor == 1 else os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


def _is_ours() -> bool:
    return not in_plugin_code() and threading.current_thread() is threading.main_thread()


class _Whole(io.RawIOBase):
    """A descriptor that each write is passed on to until nothing is left of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._failed: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        whole = len(view)
        while view and self._failed is None:  # after a failure, what is buffered goes nowhere: it has been told
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # a pipe that somebody made non-blocking, and whose reader is slow
                _wait(self._descriptor)
            except OSError as error:
                self._fail(error)
                break
        return whole

    def _fail(self, error: OSError) -> None:
        self._failed = error
        self.check()

    def check(self) -> None:
        """Tell again what failed."""
        if isinstance(self._failed, BrokenPipeError):
            raise self._failed
        if self._failed is not None:
            raise OutputError(f"standard output cannot be written: {self._failed.strerror}; what came out is a part")

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


class _Heedless(_Whole):
    """The same, and what cannot be written goes nowhere, without a word."""

    def _fail(self, error: OSError) -> None:
        pass


_made: list[_Whole] = []
"""Under the standard output that was made, whatever stands in its place by now."""


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


def _wait(descriptor: int) -> None:
    import select

    select.select([], [descriptor], [])
