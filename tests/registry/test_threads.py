"""Where threads and processes cannot be started, work is done with fewer or with none, and nobody waits for what is not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from modelgraft.threads import thread_pool


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """[n]: how many more threads the system starts."""
    left, real, lock = [0], threading._start_new_thread, threading.Lock()  # type: ignore[attr-defined]

    def limited(function: Any, arguments: Any, *more: Any) -> Any:
        with lock:
            if left[0] <= 0:
                raise RuntimeError("can't start new thread")
            left[0] -= 1

        def counted(*given: Any, **named: Any) -> None:
            try:
                function(*given, **named)
            finally:
                with lock:
                    left[0] += 1

        return real(counted, arguments, *more)

    monkeypatch.setattr(threading, "_start_new_thread", limited)
    yield left


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_as_many_as_can_be_started(count: int, allowed: list[int]) -> None:
    allowed[0] = count
    begun: list[int] = []
    with thread_pool(4, "these", lambda: begun.append(threading.get_ident())) as pool:
        assert bool(begun) == bool(count)
        names = set(pool.map(lambda n: threading.current_thread().name.partition("_")[0], range(20)))
        assert list(pool.map(lambda n: n * n, range(20))) == [n * n for n in range(20)]
        failing = pool.submit(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            failing.result()
    assert names == ({"these"} if count else {"MainThread"})


def test_the_librarys_own_pool_fails(allowed: list[int]) -> None:
    """What is guarded against: work that was taken in and is never done."""
    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="can't start new thread"):
        pool.submit(int)


def test_doctor_and_digests_work_without_threads(allowed: list[int], tmp_path: Any) -> None:
    from modelgraft import doctor
    from modelgraft.contract import Stored
    from modelgraft.doctor.row import Row
    from modelgraft.resolution import File, Part
    from modelgraft.weights.verifying import faults

    rows = doctor.examine({"one": lambda: [Row("one", "ok", "")], "two": lambda: 1 // 0})  # type: ignore[dict-item,return-value]
    assert [row.status for row in rows] == ["ok", "fail"]
    (tmp_path / "a").write_bytes(b"abc")
    part = Part("file:x", None, (File("a", 3, sha256="0" * 64), File("b", 3)))
    assert set(faults(part, Stored(tmp_path, tmp_path))) == {"a", "b"}
