"""What `tests.hub_standin` can do wrong on demand: refusals, broken connections, bodies that are not what was announced.

    fault = hub.fault("*/resolve/*/model.safetensors", "reset", times=2, after=100_000)
    ...
    assert fault.struck == 2

A fault strikes the requests whose path matches its pattern, ``times`` of them or all; of several that match, the one set last.
Kinds that concern the body strike GET alone, the others GET and HEAD.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16


@dataclass(slots=True)
class Answer:
    """What goes back: a body in memory, or part of a file."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Path = b""
    start: int = 0
    length: int = 0
    """Bytes of the body, from ``start``."""


def json_answer(content: object) -> Answer:
    """Data as the hub's API gives it."""
    body = json.dumps(content).encode()
    return Answer(200, {"Content-Type": "application/json"}, body, 0, len(body))


def error_answer(status: int, code: str | None, message: str, commit: str | None = None) -> Answer:
    """A refusal with the headers that the client reads."""
    answer = json_answer({"error": message})
    answer.status = status
    answer.headers |= {"X-Error-Message": message}
    if code:
        answer.headers["X-Error-Code"] = code
    if commit:
        answer.headers["X-Repo-Commit"] = commit
    return answer


REFUSALS: Final[dict[str, tuple[int, str | None, str]]] = {
    "401": (401, None, "Invalid username or password."),
    "403": (403, None, "You are not allowed to do that."),
    "gated": (403, "GatedRepo", "Access to this model is restricted and you are not in the authorized list."),
    "no_repo": (404, "RepoNotFound", "Repository not found"),
    "no_revision": (404, "RevisionNotFound", "Invalid rev id"),
    "no_file": (404, "EntryNotFound", "Entry not found"),
    "throttled": (429, None, "Too Many Requests"),
    "500": (500, None, "Internal Server Error"),
    "502": (502, None, "Bad Gateway"),
    "503": (503, None, "Service Unavailable"),
}
"""Kind -> status, the hub's error code, message."""

BODIES: Final = {
    "reset": "the connection is reset (RST) after `after` bytes of the body",
    "cut": "the connection is closed (FIN) after `after` bytes of the body",
    "slow": "after `after` bytes, one byte every `seconds`",
    "pause": "after `after` bytes, nothing for `seconds`, then the rest",
    "hold": "after `after` bytes, nothing until `Fault.release`, then the rest",
    "long": "`by` more bytes are announced than come",
    "short": "`by` fewer bytes are announced than come",
    "flip": "the byte at `after` (a position in the file) has every bit turned",
    "swap": "the body is that of another file (`other`), of whatever length",
}
OTHERS: Final = {
    "redirect": "sent on to the same address, for ever",
    "date": "honest, but for a Date header that is `seconds` off",
}
KINDS: Final = frozenset({*REFUSALS, *BODIES, *OTHERS})


@dataclass(slots=True, eq=False)
class Fault:
    """One thing that goes wrong. See `REFUSALS`, `BODIES` and `OTHERS` for the kinds."""

    pattern: str
    kind: str
    times: int | None = None
    method: str | None = None
    after: int = 0
    seconds: float = 1.0
    by: int = 1000
    other: Path | None = None
    struck: int = 0
    """Requests that met it."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set once ``after`` bytes have been sent."""
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind
        if self.kind in BODIES:
            self.method = "GET"

    def release(self) -> None:
        """End the waiting of ``slow``, ``pause`` and ``hold``: what is under way goes on at full speed."""
        self.released.set()

    def meets(self, method: str, path: str) -> bool:
        """True for a request that this fault strikes."""
        spent = self.times is not None and self.struck >= self.times
        return not spent and self.method in (None, method) and fnmatchcase(path, self.pattern)

    def twist(self, path: str, honest: Answer) -> Answer:
        """The answer that goes out in the place of the honest one."""
        if self.kind in REFUSALS:
            return self._refusal(honest)
        if self.kind == "redirect":
            return Answer(302, {"Location": path})
        if honest.status >= 300:
            return honest
        if self.kind == "flip" and honest.start <= self.after < honest.start + honest.length:
            body = bytearray(_read(honest))
            body[self.after - honest.start] ^= 0xFF
            return replace(honest, body=bytes(body), start=0)
        if self.kind == "swap":
            assert self.other is not None
            body = self.other.read_bytes()[honest.start :]
            return replace(honest, body=bytes(body), start=0, length=len(body))
        return honest

    def _refusal(self, honest: Answer) -> Answer:
        status, code, message = REFUSALS[self.kind]
        answer = error_answer(status, code, message, honest.headers.get("X-Repo-Commit") if status >= 500 else None)
        if status == 429:
            answer.headers["Retry-After"] = str(round(self.seconds))
        return answer

    def announced(self, answer: Answer) -> int:
        """The Content-Length that goes out."""
        return answer.length + {"long": self.by, "short": -self.by}.get(self.kind, 0)


def send_body(handler: BaseHTTPRequestHandler, answer: Answer, fault: Fault | None) -> Iterator[int]:
    """Send the body, the fault's way; yields the bytes sent so far, so that a broken connection loses no count."""
    sent = 0
    striking = fault is not None and fault.kind in ("reset", "cut", "slow", "pause", "hold")
    for chunk in _chunks(answer, fault.after if fault and striking else None):
        if striking and fault and sent == fault.after:
            _drain(handler.connection)
            fault.reached.set()
            if fault.kind in ("reset", "cut"):
                _break_off(handler, hard=fault.kind == "reset")
                return
            if fault.kind == "slow":
                for n in range(len(chunk)):
                    if fault.released.wait(fault.seconds):
                        chunk = chunk[n:]
                        break
                    handler.wfile.write(chunk[n : n + 1])
                    sent += 1
                    yield sent
                else:
                    continue
            elif not _wait(handler.connection, fault):
                handler.close_connection = True
                return
        handler.wfile.write(chunk)
        sent += len(chunk)
        yield sent
    if fault and fault.kind in ("long", "short"):
        handler.close_connection = True


def _chunks(answer: Answer, mark: int | None) -> Iterator[bytes]:
    """The body in pieces, one of which begins at ``mark``."""
    body = memoryview(_read(answer)) if isinstance(answer.body, bytes) or mark is not None else None
    if body is not None:
        cuts = sorted({*range(0, len(body), _CHUNK), *([mark] if mark is not None else []), len(body)})
        for first, last in pairwise(cuts):
            yield bytes(body[first:last])
        return
    assert isinstance(answer.body, Path)
    with answer.body.open("rb") as file:
        file.seek(answer.start)
        left = answer.length
        while left and (chunk := file.read(min(1 << 20, left))):
            yield chunk
            left -= len(chunk)


def _read(answer: Answer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body[answer.start : answer.start + answer.length]
    with answer.body.open("rb") as file:
        file.seek(answer.start)
        return file.read(answer.length)


def _wait(connection: socket.socket, fault: Fault) -> bool:
    """Until the fault is released or its time is up; False if the client has gone meanwhile."""
    until = time.monotonic() + (fault.seconds if fault.kind == "pause" else 600)
    while time.monotonic() < until and not fault.released.wait(0.02):
        if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
            return False
    return True


def _drain(connection: socket.socket) -> None:
    """Until the other side has taken in what was sent: a reset throws away what is still in this side's buffer."""
    for _ in range(200):
        if not struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:
            return
        time.sleep(0.01)


def _break_off(handler: BaseHTTPRequestHandler, hard: bool) -> None:
    handler.close_connection = True
    if hard:
        connection = handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())  # at once, and not after the polite shutdown that the server would do
