"""What a verb says beside its result: lines and progress, on standard error.

Progress never touches standard output: rich would lead that to the terminal too, past the file it was redirected to.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import typer
from modelgraft.cli.render import printable

_live: list[Any] = []
"""The progress that is on the terminal now: lines go above it."""


def say(text: str) -> None:
    """A line for the user; control characters of names in it are shown, never sent to the terminal."""
    line = f"modelgraft: {printable(text)}"
    with contextlib.suppress(OSError):  # a log that is full ends no run
        if _live:
            _live[-1].console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)


class Live:
    """A display of rich's `Progress` on standard error for the time of a ``with``; None where that is no terminal.

    Args:
        columns: as for `Progress`; none are its usual ones.
        wanted: False shows nothing.
    """

    def __init__(self, *columns: Any, wanted: bool = True) -> None:
        self.progress: Any = None
        if wanted and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.progress = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self.progress is not None:
            try:
                self.progress.start()
            except (RuntimeError, OSError):  # no thread to draw with, or the terminal is gone
                with contextlib.suppress(RuntimeError, OSError):
                    self.progress.stop()
                self.progress = None
            else:
                _live.append(self.progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            _live.remove(self.progress)
            with contextlib.suppress(OSError):
                self.progress.stop()


class Bar(Live):
    """Progress bars, one for each thing that is done; none where standard error is no terminal, or there is little to wait for."""

    LEAST = 64

    def __init__(self, *, wanted: bool = True) -> None:
        super().__init__(wanted=wanted)
        self._tasks: dict[str, Any] = {}

    def tell(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` items of one thing are done."""
        if self.progress is None or total < self.LEAST:
            return
        if what not in self._tasks:
            self._tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self._tasks[what], completed=done)


def say_all(notes: Iterable[str]) -> None:
    """Print lines to standard error."""
    for note in notes:
        say(note)


def end_with(broken: int, items: int, first: str = "") -> None:
    """Leave with 1 where some of the items could not be read, and say so.

    Args:
        first: the first of them, with the reason.

    Raises:
        typer.Exit: there are some.
    """
    if broken:
        say(f"{broken} of {items} items could not be read{'; the first: ' + first if first else ''}")
        raise typer.Exit(1)
