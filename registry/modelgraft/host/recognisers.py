"""Ask strangers' plugins whether they know the model at a place, in processes of their own and with one deadline.

Whoever names a path has not named a plugin: none of them may end, hold up or change the process that asks. The answer is an
entry as JSON, read as a stranger's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from modelgraft.entry import Entry, Weights
from modelgraft.fields import check_entry
from modelgraft.host.records import key_of, one_line
from modelgraft.host.trials import INSIDE, time_limit

SECONDS: Final = 30.0
"""For all plugins together, and no more than trials have; they are asked at the same time, so many at once as there are cores."""
_AT_ONCE: Final = 16
_PATIENCE: Final = 1.5  # seconds after which one that has not answered no longer keeps others from being asked
_MOST: Final = 1 << 20  # bytes of an answer
_CODE: Final = (
    "import json, os, sys; out = os.dup(1); os.dup2(2, 1); request = json.loads(sys.stdin.buffer.readline()); "
    "sys.path[:] = request['path']; from modelgraft.host.recognisers import main; main(request, out)"
)


def ask_strangers(
    records: Sequence[Mapping[str, Any]],
    name: str,
    weights: Weights,
    configs: Mapping[str, Any],
    owners: Mapping[str, str],
) -> tuple[Entry | None, Mapping[str, Any] | None, list[str]]:
    """Return the entry of the first plugin that knows a place, its record, and what went wrong with others.

    Args:
        records: of plugins that have a ``modelgraft_recognise``, in the order that decides.
        name, weights, configs: what the hook is given.
        owners: provider (lower case) -> the distribution whose it is.
    """
    wrong: list[str] = []
    answers: dict[str, Entry | None] = {}
    seconds = min(SECONDS, time_limit())
    until = time.monotonic() + seconds
    waiting, running = list(records), list[_Asked]()
    try:
        while waiting or running:
            while (
                waiting and len(running) < _AT_ONCE and sum(map(_Asked.is_new, running)) < max(2, os.cpu_count() or 1)
            ):
                running.append(_Asked(waiting.pop(0), name, weights, configs, until))
            done = [asked for asked in running if asked.has_ended() or time.monotonic() > until]
            for asked in done:
                running.remove(asked)
                try:
                    entry = asked.answer(seconds)
                    whose = entry and owners.get(entry.provider.lower(), asked.record["distribution"])
                    if entry and whose != asked.record["distribution"]:
                        raise ValueError(f"it calls the model {entry.name!r}, and {entry.provider} is {whose}'s")
                    answers[key_of(asked.record)] = entry
                except ValueError as error:
                    record = asked.record
                    told = one_line(str(error), 300)
                    wrong.append(f"{record['distribution']} {record['version']} could not be asked: {told}")
            if not done:
                time.sleep(0.01)
    finally:
        for asked in running:
            asked.end()
    for record in records:
        if (entry := answers.get(key_of(record))) is not None:
            return entry, record, wrong
    return None, None, wrong


class _Asked:
    """One plugin that is being asked."""

    def __init__(
        self,
        record: Mapping[str, Any],
        name: str,
        weights: Weights,
        configs: Mapping[str, Any],
        until: float,
    ) -> None:
        self.record, self._name, self._since = record, name, time.monotonic()
        self._out = tempfile.TemporaryFile()
        seconds = max(1, int(until - time.monotonic()) + 5)
        request = {
            "path": sys.path,
            "value": record["value"],
            "key": key_of(record),
            "name": name,
            "weights": asdict(weights),
            "configs": dict(configs),
            "seconds": seconds,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=subprocess.DEVNULL,
            env={**os.environ, INSIDE: "1"},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def is_new(self) -> bool:
        return time.monotonic() < self._since + _PATIENCE

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """End it and everything it has started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def answer(self, seconds: float) -> Entry | None:
        """The entry, if it knows the place; ``seconds`` are what it was given.

        Raises:
            ValueError: it has not answered, or with something else.
        """
        code = self._process.poll()
        self.end()
        with self._out:
            self._out.seek(0)
            line = self._out.read(_MOST + 1)
        if code is None:
            raise ValueError(f"it did not answer in {seconds:g} s")
        if not line.endswith(b"\n") or len(line) > _MOST:
            raise ValueError(f"it ended its process in the middle of it (exit code {code})")
        try:
            found = json.loads(line)
            if type(found) is not dict or found.keys() - {"entry", "error"}:
                raise ValueError("no answer")
        except (ValueError, RecursionError):
            raise ValueError("its answer cannot be read") from None
        if "error" in found:
            raise ValueError(str(found["error"]))
        if found["entry"] is None:
            return None
        entry = Entry.from_dict(found["entry"])
        check_entry(entry)
        if entry.name != f"{entry.provider}/{self._name}":
            raise ValueError(f"it calls the model {entry.name!r}, not PROVIDER/{self._name}")
        return entry


def main(request: dict[str, Any], out: int) -> None:
    """Answer one request, in the process that was started for it. Never returns."""
    from modelgraft.host.imports import load_plugin, new_manager, register

    with contextlib.suppress(AttributeError):  # Windows
        signal.alarm(request["seconds"])  # nobody may be left to end it
    write, leave, encode = os.write, os._exit, json.dumps
    try:
        manager = new_manager()
        register(manager, load_plugin(request["value"]), request["key"])
        stated: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in request["weights"].items()}
        found = manager.hook.modelgraft_recognise(
            name=request["name"], weights=Weights(**stated), configs=request["configs"]
        )
        entry = found[0] if found else None
        if entry is not None and type(entry) is not Entry:
            raise TypeError(f"it gave {type(entry).__name__}, not an Entry")
        answer = encode({"entry": None if entry is None else entry.to_dict()})
    except BaseException as error:
        try:
            answer = encode({"error": f"{type(error).__name__}: {error}"[:2000]})
        except BaseException:
            answer = encode({"error": type(error).__name__})
    data = answer.encode() + b"\n"
    while data:
        data = data[write(out, data) :]
    leave(0)
