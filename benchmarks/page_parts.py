"""What all pages are made of: raw results, paragraphs, and the line that says what figures were taken on."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    """The raw results of a script."""
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return data


def prose(text: str) -> str:
    """One paragraph in lines as long as the pages' own."""
    return textwrap.fill(text, 132, break_long_words=False, break_on_hyphens=False)


def taken(data: dict[str, Any]) -> str:
    """The line under a table: what its figures were taken on."""
    machine = {"cores": data["machine"]["cores"], **data["machine"]}
    return prose("Taken on: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".") + "\n"


def section(rows: Sequence[str], data: dict[str, Any], text: str = "") -> str:
    """A table, a paragraph where there is one, and what the figures were taken on."""
    return "\n\n".join(["\n".join(rows), *([prose(text)] if text else []), taken(data)])
