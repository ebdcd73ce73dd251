"""The process that tries plugins: it imports modelgraft once and forks a child a distribution, for a child may do anything.

It runs no plugin code itself and has one thread, so forking it is safe. What a child writes is read with limits; a child that
crashes, hangs or floods costs its own distribution alone; whatever a child has started ends with it. The server ends when its
standard input does, so when the process that asked dies, however it dies.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import Any, Final

from modelgraft.host.discovery import Found
from modelgraft.host.records import MOST_BYTES, failed_record, lines
from modelgraft.host.validate import validate_one
from modelgraft.host.verdicts import read_answer

SLICE: Final = 8.0
"""Seconds, a quarter of all at most, after which a child makes room if others wait; it has another go when none does."""
_KEPT: Final = 4000  # bytes of what a child prints, the first of standard output and the last of standard error
_libc: Any = None


class Child:
    """One process that tries the plugins of one distribution, one after the other."""

    def __init__(self, plugins: list[Found]) -> None:
        self.left = plugins
        self.started = time.monotonic()
        self.answer, self.printed, self.complained = bytearray(), b"", b""
        self.bytes = 0
        ours, theirs = socket.socketpair()
        out, out_child = os.pipe()
        err, err_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(plugins, theirs.detach(), out_child, err_child)
        theirs.close()
        os.close(out_child)
        os.close(err_child)
        self.line, self.out, self.err = ours, out, err
        self.status: int | None = None
        self.open = {self.line.fileno(), out, err}
        for fd in self.open:
            os.set_blocking(fd, False)

    def read(self) -> None:
        """Take in what has been written."""
        # The answer last: what a plugin printed was printed before its answer, and so is attributed to it.
        for n in range(2):
            answer = self._drained(self.line.fileno()) if n else b""
            self.printed = (self.printed + self._drained(self.out))[:_KEPT]
            self.complained = (self.complained + self._drained(self.err))[-_KEPT:]
            self.answer += answer
            self.bytes += len(answer)

    def _drained(self, fd: int, most: int = 1 << 20) -> bytes:
        found = bytearray()
        while fd in self.open and len(found) < most:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:  # closed at the other end: looked at again it would always be ready
                self.open.remove(fd)
            found += data
        return bytes(found)

    def records(self) -> list[dict[str, Any]]:
        """The records of plugins that are done; the child is told to go on."""
        found = []
        while self.left and b"\n" in self.answer:
            line, _, self.answer = self.answer.partition(b"\n")
            record = read_answer(self.left.pop(0), bytes(line))
            if record["status"] == "ok" and self.printed:
                first = (self.printed.decode(errors="replace").strip().splitlines() or ["blank lines"])[0][:80]
                told = f"prints to standard output while it loads ({first!r}); kept out of modelgraft's own output"
                record.update(status="warned", error=told)
            found.append(record)
            self.printed = self.complained = b""
            with contextlib.suppress(OSError):
                self.line.send(b"\n")
        return found

    def ended(self) -> bool:
        """Whether the process is gone."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def end(self) -> None:
        """End it and everything of its session."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.status is None:
            with contextlib.suppress(OSError):  # before it has a session of its own
                os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
        self.line.close()
        os.close(self.out)
        os.close(self.err)

    def why(self) -> str:
        """Why a process that ended by itself has not answered."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code == 0:
            return "ended its process while it loads (os._exit)"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"crashes the interpreter while it loads ({how})"


def _live(plugins: list[Found], line: int, out: int, err: int) -> None:
    """The life of a child: never returns."""
    try:
        os.setsid()
        _end_with_parent()
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # if memory runs out, this is what the system is to end
        null = os.open(os.devnull, os.O_RDWR)
        for fd, to in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, to)
        line = os.dup2(line, max(line, 10), inheritable=False)
        os.closerange(3, line)  # other children's answers are not for this one
        os.closerange(line + 1, 4096)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGPIPE else signal.SIG_IGN)
        write, read, leave, encode = (
            os.write,
            os.read,
            os._exit,
            json.dumps,
        )  # as they are before a plugin can change them
        for found in plugins:
            record = validate_one(found)
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            data = (encode(record) + "\n").encode()
            while data:
                data = data[write(line, data) :]
            if not read(line, 1):
                break
        leave(0)  # not by way of the interpreter, which would wait for threads that the plugin has started
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(70)


def _end_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    """Tries distributions, so many at once, until all are done or the time is up."""

    def __init__(self, plugins: list[Found], seconds: float, allowed: float, width: int, out: int) -> None:
        """``seconds`` are those left of the ones ``allowed`` for all."""
        by_distribution: dict[str, list[Found]] = {}
        for found in plugins:
            by_distribution.setdefault(found.distribution, []).append(found)
        self.waiting = deque(by_distribution.values())
        self.second: deque[list[Found]] = deque()  # had their slice while others waited
        self.running: list[Child] = []
        self.until = time.monotonic() + seconds
        self.allowed, self.width, self.out = allowed, width, out
        self.slice = min(SLICE, allowed / 4)

    def run(self) -> None:
        """Send a line of JSON for each record as soon as there is one."""
        try:
            while self.waiting or self.second or self.running:
                now = time.monotonic()
                if now >= self.until:
                    break
                while len(self.running) < self.width and (queue := self.waiting or self.second):
                    self.running.append(Child(queue.popleft()))
                if self._asked_to_end():
                    return
                for child in list(self.running):
                    self._look_at(child)
            for child in list(self.running):
                self._give_up(child, f"did not finish loading in {self.allowed:g} s (MODELGRAFT_PLUGIN_TIMEOUT)")
            for plugins in self.second:
                told = f"did not finish loading in {self.slice:g} s while others waited, of {self.allowed:g} s for all"
                self._send({**failed_record(plugins[0], f"{told} (MODELGRAFT_PLUGIN_TIMEOUT)"), "late": self.allowed})
        finally:
            for child in self.running:
                child.end()
            _end_orphans()

    def _asked_to_end(self) -> bool:
        """Wait until a child writes or ends; whether nobody is there any more to tell."""
        fds = [fd for child in self.running for fd in child.open]
        return 0 in select.select([0, *fds], [], [], 0.02)[0] and not os.read(0, 1)

    def _look_at(self, child: Child) -> None:
        ended = child.ended()  # asked before reading: what it wrote is there by then
        child.read()
        for record in child.records():
            self._send(record)
        if not child.left or ended:
            child.end()
            self.running.remove(child)
            if child.left:
                self._blame(child, child.why())
        elif child.bytes > MOST_BYTES or len(child.answer) > MOST_BYTES:
            self._give_up(child, f"its answer has more than {MOST_BYTES:,} bytes")
        elif self.waiting and time.monotonic() - child.started > self.slice:
            child.end()
            self.running.remove(child)
            self.second.append(child.left)

    def _give_up(self, child: Child, why: str) -> None:
        child.end()
        self.running.remove(child)
        self._blame(child, why)

    def _blame(self, child: Child, why: str) -> None:
        """The plugin it was at fails; the rest of its distribution gets another process, while there is time."""
        guilty, *rest = child.left
        late = self.allowed if time.monotonic() >= self.until else None
        said = lines(child.complained.decode(errors="replace")) or None
        self._send({**failed_record(guilty, why, said), "late": late})
        if rest:
            self.waiting.append(rest)

    def _send(self, record: dict[str, Any]) -> None:
        data = json.dumps(record).encode() + b"\n"
        while data:
            data = data[os.write(self.out, data) :]


def _end_orphans() -> None:
    """End what children of children are left: those that took a session of their own have come to this process."""
    for _ in range(100):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                orphans = [int(word) for word in file.read().split()]
        except (OSError, ValueError):
            return
        for pid in orphans:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)
        if not orphans:
            return


def main(request: dict[str, Any]) -> None:
    """Try what a request names; answers go to standard output, whose end is that of the trials."""
    global _libc
    out = os.dup(1)
    os.dup2(2, 1)
    plugins = [Found(**item) for item in request["plugins"]]
    os.write(out, b"\n")  # whatever a start-up hook of Python printed ends here
    if not hasattr(os, "fork"):  # one after the other, and the first that ends the process ends the trials
        for found in plugins:
            record = read_answer(found, json.dumps(validate_one(found)).encode())
            os.write(out, json.dumps(record).encode() + b"\n")
        os._exit(0)
    with contextlib.suppress(Exception):
        import ctypes

        _libc = ctypes.CDLL(None)
        _libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        _end_with_parent()
    sys.dont_write_bytecode = True  # a new __pycache__ would look like something newly installed
    gc.freeze()
    Server(plugins, request["seconds"], request["allowed"], request["width"], out).run()
    os._exit(0)
