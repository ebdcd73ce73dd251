"""How a run is followed while it trains: a bar or lines on standard error, a log of its steps, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from modelgraft.cli.render import json_line
from modelgraft.errors import UsageError
from modelgraft.paths import write_atomic

from modelgraft_adapters.cli.progress import Live, say
from modelgraft_adapters.finetuning.loop import Progress

LOG: Final = "steps.jsonl"
"""One line for each step: ``step``, ``loss``, ``accuracy``, ``lr``, ``items_per_s``."""
_SECONDS: Final = 10.0
"""Between two lines, where standard error is no terminal."""


class Follower:
    """Told after each step.

    Args:
        folder: where the log goes; None writes none.
        tensorboard: write event files there too.
        quiet: say nothing: another process speaks.
        resumed: the log of the steps before goes on.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool, quiet: bool, resumed: bool) -> None:
        self._quiet = quiet
        self._log: Any = None
        self._events: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._said = time.monotonic()
        self._folder, self._tensorboard, self._resumed = folder, tensorboard, resumed

    def __enter__(self) -> Self:
        if self._folder is not None and not self._quiet:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._tensorboard:
                self._events = _event_writer(self._folder)
        self._live = live(wanted=not self._quiet)
        self._bar = self._live.__enter__().progress
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for open_ in (self._log, self._events):
            if open_ is not None:
                open_.close()
        self._live.__exit__(kind, error, trace)

    def __call__(self, now: Progress) -> None:
        """A step is done."""
        if self._folder is not None and not self._quiet and self._log is None:
            self._log = _log_from(self._folder / LOG, now.step if self._resumed else 1)
        if self._log is not None:
            facts = {"step": now.step, "loss": now.loss, "accuracy": now.accuracy, "lr": now.rate}
            self._log.write(json_line({**facts, "items_per_s": round(now.items_per_s, 2)}))
        if self._events is not None:
            self._events.add_scalar("train/loss", now.loss, now.step)
            self._events.add_scalar("train/lr", now.rate, now.step)
            self._events.add_scalar("train/items_per_s", now.items_per_s, now.step)
            if now.accuracy is not None:
                self._events.add_scalar("train/accuracy", now.accuracy, now.step)
        if self._quiet:
            return
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=now.steps)
            self._bar.update(self._task, completed=now.step, description=described(now))
        elif now.step == now.steps or time.monotonic() > self._said + _SECONDS:
            self._said = time.monotonic()
            say(described(now))


def live(*, wanted: bool) -> Live:
    """A bar that is described by its text alone."""
    if not wanted or not sys.stderr.isatty():  # rich is not imported then
        return Live(wanted=False)
    from rich.progress import BarColumn, TextColumn

    return Live(BarColumn(), TextColumn("{task.description}"))


def _log_from(path: Path, step: int) -> Any:
    """A log to write the steps from number ``step`` on: whole lines of steps before it stay, of this run or of none.

    It is opened at the first step, so that a run that is refused leaves the log of another as it is; a run that was killed has
    lines of steps after its checkpoint, which come again, and half a line.
    """
    kept = b""
    if step > 1 and path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n") and _step_of(line) in range(1, step):
                kept += line
    write_atomic(path, kept)
    return path.open("a", encoding="utf-8", buffering=1)


def _step_of(line: bytes) -> int | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found.get("step") if isinstance(found, dict) else None


def described(now: Progress) -> str:
    """``step 40 of 100: loss 0.523, accuracy 0.81, 12.3 items/s, 20 s left``."""
    right = "" if now.accuracy is None else f", accuracy {now.accuracy:.2f}"
    left = f"{now.seconds_left:.0f} s" if now.seconds_left < 120 else f"{now.seconds_left / 60:.0f} min"
    return f"step {now.step} of {now.steps}: loss {now.loss:.3f}{right}, {now.items_per_s:.1f} items/s, {left} left"


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("TensorBoard is not installed: pip install 'modelgraft[tensorboard]'") from None
    return SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
