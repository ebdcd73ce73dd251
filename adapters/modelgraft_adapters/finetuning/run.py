"""A run of the loop from its first step to what is kept of it: checkpoints, the held-out part, the best, interruptions."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.finetuning.checkpoint import FILE, load_checkpoint, save_checkpoint
from modelgraft_adapters.finetuning.loop import Loop, Progress

CHECKPOINT_SECONDS: Final = 300.0
"""A checkpoint is written at least so often (and after a pass over the items where the last is a while ago)."""


UNSCORED: Final = (
    "the main score is not defined on the part held out of training (of several labels an item: no item of it has any); the best "
    "is chosen by the loss there"
)
"""For the user."""


class Interrupted(ModelgraftError):
    """The user stopped the run; what is done is in its checkpoint."""


@dataclass(frozen=True, slots=True)
class Held:
    """How good the model is on the held-out part."""

    step: int
    score: float | None
    """The main score; higher is better. None where it is not defined: no item of the part has what is scored."""
    loss: float

    def beats(self, other: Held | None) -> bool:
        """Whether it is the better one: by score, then by loss; by loss alone where a score is not defined."""
        if other is None:
            return True
        if self.score is None or other.score is None:
            return self.loss < other.loss
        return (self.score, -self.loss) > (other.score, -other.loss)


@dataclass(slots=True)
class Course:
    """What became of a run."""

    seconds: float = 0.0
    """Of this call."""
    held: list[Held] = field(default_factory=list)
    best: Held | None = None
    stopped_early: bool = False


def run(
    loop: Loop,
    *,
    folder: Path | None,
    about: dict[str, Any],
    resume: bool,
    judge: Callable[[], tuple[float | None, float]] | None,
    patience: int | None,
    tell: Callable[[Progress], None] | None,
    say: Callable[[str], None],
) -> Course:
    """Train to the end, or until nothing gets better; afterwards the module holds what is kept.

    That is the best by ``judge`` where there is one, else the average of the weights where it was asked for, else the last.

    Args:
        folder: for the checkpoint; None writes none.
        about: see `save_checkpoint`.
        judge: (score, loss) of the module on the held-out part; the score is None where it is not defined.
        patience: passes without anything better after which to stop.

    Raises:
        Interrupted: by Ctrl-C.
    """
    course, began = Course(), time.perf_counter()
    kept: dict[str, torch.Tensor] | None = None
    path = folder / FILE if folder else None
    if resume and folder is None:
        raise UsageError("there is nothing to resume without the folder that the checkpoint is in; give folder=")
    if folder is not None and loop.accelerator.is_main_process:
        _check_writable(folder)
    if resume and path:
        stored = load_checkpoint(path, loop, about)
        if stored is not None:
            course.held = [Held(**held) for held in stored["held"]]
            kept = stored["tensors"]
            course.best = Held(**stored["best"]) if stored["best"] else None
        say(f"resumed at step {loop.done.step} of {loop.steps}")
    pass_ = max(1, round(len(loop.batches.data.items) / loop.batches.size))
    main = loop.accelerator.is_main_process

    def save() -> None:
        if path and main:
            held = [_plain(h) for h in course.held]
            best = {"held": held, "tensors": kept, "best": _plain(course.best) if course.best else None}
            save_checkpoint(path, loop, about, best)

    saved = time.monotonic()
    with _interruptible() as asked:

        def pause() -> bool:
            # Processes that train together must not stop at steps of their own.
            alone = loop.accelerator.num_processes == 1
            return alone and (asked() or time.monotonic() > saved + CHECKPOINT_SECONDS)

        while loop.done.step < loop.steps and not course.stopped_early:
            until = min(loop.steps, (loop.done.step // pass_ + 1) * pass_)
            whole = loop.run(until, tell, pause)
            if whole and judge:
                kept = _judged(loop, course, judge, say) or kept
                behind = sum(held.step > course.best.step for held in course.held) if course.best else 0
                course.stopped_early = patience is not None and behind >= patience
            if asked() or not whole or until == loop.steps or time.monotonic() > saved + CHECKPOINT_SECONDS / 10:
                save()
                saved = time.monotonic()
            if asked() and loop.done.step < loop.steps:
                where = f"; go on with resume from {folder}" if folder else ", and without a folder nothing is kept"
                raise Interrupted(f"stopped at step {loop.done.step} of {loop.steps}{where}")
    _put(loop, kept)
    if not loop.done.read:
        first = next(iter(loop.done.broken.values()), "no step was taken")
        raise ModelgraftError(f"no item of the {loop.done.step} steps could be read, so nothing was trained: {first}")
    course.seconds = time.perf_counter() - began
    return course


def _judged(
    loop: Loop, course: Course, judge: Callable[[], tuple[float | None, float]], say: Callable[[str], None]
) -> dict[str, torch.Tensor] | None:
    """Judge the module as it is now; its weights, if it is the best so far."""
    with _averaged(loop):
        now = Held(loop.done.step, *judge())
        if now.score is None and not course.held:
            say(UNSCORED)
        course.held.append(now)
        if not now.beats(course.best):
            return None
        course.best = now
        return {name: value.detach().cpu().clone() for name, value in loop.live.items()}


@torch.no_grad()
def _put(loop: Loop, kept: dict[str, torch.Tensor] | None) -> None:
    """Leave the module with the best weights, else with the average, where there is one."""
    values = kept if kept is not None else loop.average.values if loop.average else {}
    for name, value in values.items():
        loop.live[name].copy_(value)


def _check_writable(folder: Path) -> None:
    """Try before the first step whether a checkpoint can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ModelgraftError(
            f"no checkpoint could be written to {folder}: {error.strerror or error}; give another folder"
        ) from None


@contextmanager
def _averaged(loop: Loop) -> Iterator[None]:
    """The average of the weights in their place, where it is kept."""
    if loop.average is None:
        yield
        return
    own = {name: loop.live[name].detach().clone() for name in loop.average.values}
    with torch.no_grad():
        for name, value in loop.average.values.items():
            loop.live[name].copy_(value)
        try:
            yield
        finally:
            for name, value in own.items():
                loop.live[name].copy_(value)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C ends the run after the step it is in; the second ends it at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _plain(held: Held) -> dict[str, Any]:
    return {"step": held.step, "score": held.score, "loss": held.loss}
