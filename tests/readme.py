"""The README's command blocks, read from it so that tests and CI run what is shown and nothing else.

A block fenced as ``sh`` holds commands, one fenced as ``python`` a program; a ``text`` block right after it is the output that
a reader will see. A comment ``<!-- run: HOW -->`` before a block says how the tests run it: ``here`` (the default: in the
environment of the tests), ``ci`` (by .ci/run, in a new environment), ``throwaway`` (in an environment of its own) or ``hub``
(with weights from a stand-in for the hub). Run as a program it prints the command that CI runs.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"(?:<!-- run: (?P<how>\w+) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$\n*", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One block of commands or code, and the output shown for it."""

    language: str
    body: str
    how: str
    output: str | None
    line: int


def blocks(path: Path = README) -> list[Block]:
    """The runnable blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found: list[Block] = []
    end = -1
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["language"] in ("sh", "python"):
            found.append(Block(match["language"], match["body"], match["how"] or "here", None, line))
        elif match["language"] == "text" and found and not text[end : match.start()].strip():
            last = found.pop()
            found.append(Block(last.language, last.body, last.how, match["body"], last.line))
        end = match.end()
    return found


def test_command() -> str:
    """The one command that sets up and passes the tests."""
    (block,) = [b for b in blocks() if b.how == "ci" and "pytest" in b.body]
    return block.body.strip()


if __name__ == "__main__":
    assert sys.argv[1:] == ["test-command"]
    print(test_command())
