"""A process that has imported the model libraries once and forks a child for each command line: a case costs no start-up.

It reads a JSON object a line on standard input (``arguments``, ``env``, ``cwd``, ``out``: a folder) and answers with a line
of JSON: exit code, and what an audit hook saw that no case may do.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

WATCHED = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")

MORE_MEMORY = 6 << 30
"""Bytes a case may map beyond what the libraries do: one that wants more fails, and not the machine."""


def _warm() -> None:
    import modelgraft.cli.main
    import modelgraft_adapters
    import modelgraft_embedded.backbone
    import open_clip
    import sentence_transformers
    import timm
    import torch

    torch.set_num_threads(1)
    assert all((modelgraft, modelgraft_adapters, modelgraft_embedded, open_clip, sentence_transformers, timm))


def _watch(secret: str, into: Path) -> None:
    """Write down programs started, connections made and openings of the secret. The product's own children are Python's."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        seen = ""
        if event == "open" and secret and isinstance(arguments[0], (str, bytes)):
            seen = f"open {secret}" if os.fsdecode(arguments[0]) == secret else ""
        elif event in WATCHED:
            told = repr(arguments)[:300]
            seen = "" if event == "subprocess.Popen" and sys.executable in told else f"{event} {told}"
        if seen:
            handle = os.open(into, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(handle, (seen + "\n").encode())
            os.close(handle)

    sys.addaudithook(hook)


def _child(job: dict[str, Any]) -> None:
    os.setsid()
    folder = Path(job["out"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.dup2(os.open(job.get("stdin") or os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, encoding="utf-8", errors="surrogateescape", closefd=False),
        open(1, "w", encoding="utf-8", closefd=False),
        open(2, "w", encoding="utf-8", closefd=False, buffering=1),
    )
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.environ.update(job.get("env", {}))
    os.chdir(job["cwd"])
    _watch(job.get("secret", ""), folder / "audit")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY,) * 2)
    from modelgraft.cli.main import main

    code: Any = 0
    try:
        main(job["arguments"])
    except SystemExit as error:
        code = error.code
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _serve(job: dict[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        try:
            _child(job)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(70)
    until = time.monotonic() + float(job.get("seconds", 60))
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            code = None
            break
        time.sleep(0.01)
    audit = Path(job["out"]) / "audit"
    return {"code": code, "audit": audit.read_text().splitlines() if audit.exists() else []}


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _warm()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_serve(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
