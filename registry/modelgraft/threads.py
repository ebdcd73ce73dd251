"""Threads to work in, as many as can be started: containers and batch systems put a limit on them, which may be none at all.

A thread that cannot be started is found out here, once, before there is work to wait for; with none the work is done by whoever
asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

__all__ = ["thread_pool"]


def thread_pool(workers: int, name: str = "modelgraft", first: Callable[[], object] | None = None) -> Executor:
    """Return an executor of ``workers`` threads, which have all been started; of fewer where no more can be.

    Args:
        name: how the threads' names begin.
        first: done in each thread before anything else, and by all before this returns.
    """
    while workers > 0:
        pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        started = _start(pool, workers, first)
        if started == workers:
            return pool
        pool.shutdown(wait=True)
        workers = started
    return _Here()


def _start(pool: ThreadPoolExecutor, workers: int, first: Callable[[], object] | None) -> int:
    """Start all threads of a pool; how many could be."""
    ready, go = threading.Semaphore(0), threading.Event()

    def begin() -> None:
        try:
            if first is not None:
                first()
        finally:
            ready.release()
            go.wait()  # else it would be idle, and be given the next thread's beginning

    started: list[Future[None]] = []
    try:
        for _ in range(workers):
            started.append(pool.submit(begin))
    except (RuntimeError, MemoryError):  # "can't start new thread"
        pass
    for _ in started:
        ready.acquire()
    go.set()
    for one in started:
        one.result()
    return len(started)


class _Here(Executor):
    """No threads: what is submitted is done at once, by who submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            done.set_exception(error)
        return done
