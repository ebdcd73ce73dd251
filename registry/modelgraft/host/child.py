"""One question to a function of ours, put in a process of its own: what runs there can end, hang or print without harm.

The child stands in a session of its own, which is killed at the deadline; the answer is JSON in a file, and read as a stranger's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from modelgraft.errors import PluginError

_CODE: Final = (
    "import json, sys; request = json.load(open(sys.argv[1], encoding='utf-8')); sys.path[:] = request['path']; "
    "from modelgraft.host.imports import load_plugin; answer = load_plugin(request['target'])(request['question']); "
    "open(sys.argv[2], 'w', encoding='utf-8').write(json.dumps(answer))"
)
_MOST: Final = 1 << 20
"""Bytes of an answer."""


def ask_child(target: str, question: Any, seconds: float) -> Any:
    """Return what ``target(question)`` gives in a process of its own.

    Args:
        target: ``package.module:function`` of ours; question and answer are plain JSON types.
        seconds: when it is killed, with all that it started.

    Raises:
        PluginError: it ended, hung, failed, or gave no answer that can be read; without the name of the plugin.
    """
    with tempfile.TemporaryDirectory(prefix="modelgraft-") as folder, tempfile.TemporaryFile() as said:
        request, answer = Path(folder, "request"), Path(folder, "answer")
        request.write_text(json.dumps({"path": sys.path, "target": target, "question": question}), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, request, answer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise PluginError(f"gave no answer within {seconds:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        try:
            content = answer.read_bytes() if answer.stat().st_size <= _MOST else b""
            return json.loads(content)
        except (OSError, ValueError, RecursionError):
            said.seek(0)
            last = said.read()[-4000:].decode(errors="replace").strip().splitlines()[-1:]
            told = f": {last[0][:300]}" if last else ""
            raise PluginError(f"ended without an answer (exit code {code}){told}") from None
