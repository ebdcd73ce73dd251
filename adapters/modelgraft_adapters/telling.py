"""What a verb says beside its result: lines and progress, on standard error."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Any, Self

from modelgraft.cli.render import printable


def say(text: str) -> None:
    """A line for the user; control characters of names in it are shown, never sent to the terminal."""
    with contextlib.suppress(OSError):  # a log that is full ends no run
        print(f"modelgraft: {printable(text)}", file=sys.stderr)


class Bar:
    """Progress bars, one for each thing that is done; none where standard error is no terminal, or there is little to wait for."""

    LEAST = 64

    def __init__(self) -> None:
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` items of one thing are done."""
        if self._progress is None or total < self.LEAST:
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)
