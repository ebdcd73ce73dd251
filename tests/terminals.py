"""Commands on real terminals: standard streams that are a pseudo-terminal, a file, a pipe or closed, in every combination.

One process imports the model libraries and forks a child for each command, so that a case costs no start-up:
``with Terminals() as terminals: terminals.run("classify", ..., stdout="file", stderr="tty")``.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

KINDS = ("tty", "file", "pipe", "closed")
LIMIT = 60.0
"""Seconds after which a command is taken to hang."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a command."""

    code: int | None
    """None: it had not ended after `LIMIT` seconds."""
    out: bytes
    """What went to standard output, where that was a file or a pipe."""
    err: bytes
    terminal: bytes
    """What the terminal got, of whatever led to it."""


def two_classes(folder: Path, name: str, count: int) -> list[str]:
    """Small photographs of a cat and a cup, ``count`` of each, at ``folder/name/CLASS/NUMBER.png``; the lines of their table."""
    from PIL import Image

    photos = Path(__file__).resolve().parent.parent / "docs" / "photos"
    rows = ["path,label,kind"]
    for label in ("cat", "cup"):
        (folder / name / label).mkdir(parents=True)
        with Image.open(photos / f"{label}.jpg") as image:
            small = image.convert("RGB").resize((64, 64))
        for number in range(count):
            small.rotate(number).save(folder / name / label / f"{number:02}.png")
            rows.append(f"{name}/{label}/{number:02}.png,{label},{label}s")
    return rows


class Terminals:
    """Starts the process that forks, and ends it."""

    environment: dict[str, str]
    """Of which the process was started."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", "from tests.terminals import serve; serve()"]
        root = Path(__file__).resolve().parent.parent
        self.environment = dict(os.environ)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=root
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def run(
        self,
        *arguments: str,
        stdin: str = "null",
        stdout: str = "file",
        stderr: str = "file",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        setup: str = "",
        seconds: float = LIMIT,
    ) -> Ended:
        """Run ``modelgraft`` with these arguments.

        Args:
            stdin: ``null``, ``closed``, ``tty``, or ``text:...``.
            stdout, stderr: one of `KINDS`; ``gone`` is a pipe whose reader has gone; or the path of a file that is there.
            setup: Python that is run in the child before anything else: limits, faults.
        """
        assert self._process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            job = {
                "arguments": arguments, "stdin": stdin, "stdout": stdout, "stderr": stderr, "env": env or {},
                "cwd": str(cwd or folder), "folder": folder, "setup": setup, "seconds": seconds,
            }  # fmt: skip
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = self._answer()
            out, err = (
                Path(folder, name).read_bytes() if Path(folder, name).exists() else b"" for name in ("out", "err")
            )
        return Ended(answer["code"], out, err, base64.b64decode(answer["terminal"]))

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return json.loads(line)


def serve() -> None:
    """Fork a child for each line of standard input, until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import modelgraft.cli.main
    import modelgraft_adapters
    import modelgraft_embedded.backbone
    import rich.progress
    import sklearn.linear_model
    import torch

    torch.set_num_threads(1)
    assert all((modelgraft, modelgraft_adapters, modelgraft_embedded, rich, sklearn))
    gc.collect()
    gc.freeze()  # else each child copies what its collector looks at
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_serve(json.loads(line))) + "\n")
        answers.flush()


def _serve(job: dict[str, Any]) -> dict[str, Any]:
    import fcntl
    import pty
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    pipes: dict[int, tuple[str, bytearray]] = {}
    ends = {name: _end(job, name, slave, pipes) for name in ("stdin", "stdout", "stderr")}
    child = os.fork()
    if child == 0:
        try:
            os.close(master)
            _child(job, ends, slave)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(70)
    for handle in {slave, *(end for end in ends.values() if end is not None)}:
        os.close(handle)
    shown = bytearray()
    code = _watch(child, master, shown, pipes, job["seconds"])
    os.close(master)
    for handle, (name, held) in pipes.items():
        os.close(handle)
        Path(job["folder"], name).write_bytes(bytes(held))
    return {"code": code, "terminal": base64.b64encode(bytes(shown)).decode()}


def _end(job: dict[str, Any], stream: str, slave: int, pipes: dict[int, tuple[str, bytearray]]) -> int | None:
    """The descriptor that is to be a stream of the child; None where it is to be closed."""
    kind, name = job[stream], {"stdin": "in", "stdout": "out", "stderr": "err"}[stream]
    if kind == "closed":
        return None
    if kind == "tty":
        return os.dup(slave)
    if stream == "stdin":
        if not kind.startswith("text:"):
            return os.open(os.devnull, os.O_RDONLY)
        path = Path(job["folder"], "in")
        path.write_bytes(kind[5:].encode("utf-8", "surrogateescape"))
        return os.open(path, os.O_RDONLY)
    if kind in ("pipe", "gone"):
        reading, writing = os.pipe()
        os.close(reading) if kind == "gone" else pipes.update({reading: (name, bytearray())})
        return writing
    return os.open(Path(job["folder"], name) if kind == "file" else kind, os.O_WRONLY | os.O_CREAT, 0o600)


def _watch(
    child: int, master: int, shown: bytearray, pipes: dict[int, tuple[str, bytearray]], seconds: float
) -> int | None:
    until, code, ended = time.monotonic() + seconds, None, False
    while True:
        ready, _, _ = select.select([master, *pipes], [], [], 0.0 if ended else 0.01)
        got = False
        for handle in ready:
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                data = os.read(handle, 1 << 16)
                got = got or bool(data)
                (shown if handle == master else pipes[handle][1]).extend(data)
        if ended and not got:
            return code
        if not ended:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ended, code = True, os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                ended = True


def _child(job: dict[str, Any], ends: dict[str, int | None], slave: int) -> None:
    import fcntl
    import termios

    os.setsid()
    if "tty" in (job["stdin"], job["stdout"], job["stderr"]):
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    high = {
        number: None if end is None else fcntl.fcntl(end, fcntl.F_DUPFD, 100)
        for number, end in enumerate(ends.values())
    }
    os.closerange(0, 100)
    for number, handle in high.items():
        if handle is not None:
            os.dup2(handle, number)
            os.close(handle)
    os.environ.pop("PYTHONPATH", None)  # of this process alone
    os.environ.update({"TERM": "xterm-256color", **job["env"]})
    os.chdir(job["cwd"])
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    streams: list[Any] = []
    for number in range(3):  # as Python itself makes them
        if high[number] is None:
            streams.append(None)
        elif number == 0:
            streams.append(open(0, encoding=encoding, errors=errors or "strict", closefd=False))
        else:
            buffering = 1 if number == 2 or os.isatty(number) else -1
            streams.append(
                open(number, "w", encoding=encoding, errors=errors or "strict", buffering=buffering, closefd=False)
            )
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
    sys.argv = ["modelgraft", *job["arguments"]]
    exec(job["setup"], {"__name__": "setup"})
    from modelgraft.cli.main import main

    code: Any = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    threading._shutdown()  # type: ignore[attr-defined]  # as Python ends: it waits for threads that have not
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
