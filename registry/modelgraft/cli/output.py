"""Standard output that takes all that is written to it, or fails: a part of a result never passes for the whole."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from modelgraft.errors import OutputError


@contextmanager
def whole_output() -> Iterator[None]:
    """Put such a standard output in the place of Python's own, and see at the end that everything has left it.

    Python's own, where it is unbuffered (``PYTHONUNBUFFERED``, ``-u``), writes what there is room for and forgets the rest; where
    it is buffered, what fails when Python ends is told too late for an exit code of ours.

    Raises:
        OutputError: something could not be written; also where whoever wrote it let the error pass.
        BrokenPipeError: the reader has gone.
    """
    before: Any = sys.stdout
    try:
        descriptor = 1 if before is None else before.fileno()
    except (AttributeError, OSError, ValueError):  # an object that somebody put there: theirs to look after
        yield
        return
    raw = _Whole(descriptor)
    unbuffered = not isinstance(getattr(before, "buffer", None), io.BufferedWriter)
    ours = sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw, 1 << 16),
        encoding=getattr(before, "encoding", "utf-8"),
        errors=getattr(before, "errors", "backslashreplace"),
        line_buffering=unbuffered or before.line_buffering,
    )
    try:
        yield
    except BaseException as error:
        # What is known of a run that broke off is shown; that it could not be is told where nothing else is.
        with suppress(OutputError, BrokenPipeError):
            ours.flush()
        if isinstance(error, SystemExit):
            raw.check()
        raise
    else:
        ours.flush()
        raw.check()
    finally:
        sys.stdout = before


def no_closed_streams() -> None:
    """Fill the places of standard streams that were closed (``>&-``): else the next file that is opened gets what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except (
            OSError
        ):  # nothing can be written to standard output then, which is told; nobody listens to standard error
            os.open(os.devnull, os.O_RDONLY if descriptor == 1 else os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


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
                self._failed = error
                self.check()
        return whole

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


def _wait(descriptor: int) -> None:
    import select

    select.select([], [descriptor], [])
