"""Options that may stand anywhere on the line: ``--debug``, ``--locked[=PATH]``, ``--trust-remote-code NAME``.

The last two become environment variables, because worker processes must follow them too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from modelgraft.errors import UsageError


def take(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The words without these options, which take effect; and whether ``--debug`` was among them. Nothing after ``--`` counts.

    Raises:
        UsageError: an option without the word it needs.
    """
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    debug, trusted = False, []
    ahead = iter(words[:end])
    for word in ahead:
        option, _, value = word.partition("=")
        if word == "--debug":
            debug = True
        elif option == "--locked":
            _lock(value)
        elif option == "--trust-remote-code":
            value = value or next(ahead, "")
            if not value or value.startswith("-"):
                raise UsageError("--trust-remote-code takes the name of the one model whose code may run")
            trusted.append(value)
        else:
            kept.append(word)
    if trusted:
        _trust(trusted)
    return kept + words[end:], debug or os.environ.get("MODELGRAFT_DEBUG", "") not in ("", "0")


def _lock(path: str) -> None:
    from modelgraft.project.lockfile import VARIABLE, default_path

    # An absolute path, for a verb that changes the folder.
    os.environ[VARIABLE] = os.path.abspath(os.path.expanduser(path)) if path else str(default_path())


def _trust(names: list[str]) -> None:
    from modelgraft.registry import resolve
    from modelgraft.trust import VARIABLE

    os.environ[VARIABLE] = ",".join(dict.fromkeys(resolve(name).name for name in names))
