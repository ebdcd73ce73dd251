"""Processes that score candidates, a few at a time."""

from __future__ import annotations

import json
import pickle
import queue
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

from modelgraft.threads import thread_pool

from modelgraft_adapters.calls.child import MARK, NoProcessError, child, how_it_ended
from modelgraft_adapters.ranking import worker
from modelgraft_adapters.ranking.worker import Job

_MARK = MARK.encode()


class Pool:
    """Up to ``count`` processes, started when there is work; one that ends before its time is one candidate's failure."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._all: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.close()

    def answers(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Return what became of each job: `worker.work`'s mapping, or one with ``cannot`` or ``failed`` and the reason."""
        if self.count == 1 or len(jobs) < 2:
            return [self._answer(job) for job in jobs]
        pool = thread_pool(min(self.count, len(jobs)), "modelgraft-rank")
        try:
            return [one.result() for one in [pool.submit(self._answer, job) for job in jobs]]
        except BaseException:
            for process in self._all:  # threads that wait for an answer get none
                process.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _answer(self, job: Job) -> dict[str, Any]:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            try:
                process = _Process()
            except NoProcessError as error:
                return {"failed": str(error)}
            self._all.append(process)
        found = process.ask(job)
        if process.alive:
            self._idle.put(process)
        return found


class _Process:
    """One process, and its pipes."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        try:
            self._errors = self._stack.enter_context(tempfile.TemporaryFile())
            self._process = self._stack.enter_context(child(worker.__name__, self._errors))
        except BaseException:
            self._stack.close()
            raise
        self.alive = True

    def ask(self, job: Job) -> dict[str, Any]:
        """Have a job done, and wait for it."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
        except OSError:
            pass  # it has ended; how is said below
        for line in process.stdout:
            if line.startswith(_MARK):
                found: dict[str, Any] = json.loads(line.removeprefix(_MARK))
                return found
        self.alive = False
        code = process.wait()
        return {"failed": how_it_ended(code, self._errors)}

    def close(self) -> None:
        """End it."""
        self.alive = False
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was to be written to it is of no use now
                    pass
        self._stack.close()
