"""Bring about every fault and write the table of docs/reliability.md from what happened.

``python -m tests.weights.reliability`` (as root, for the cases that mount a disk of their own).
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.conftest import ROOT
from tests.weights.bench import Bench, NotHereError
from tests.weights.cases import ALL
from tests.weights.rules import Row

PAGE = ROOT / "docs" / "reliability.md"
HEAD = "| fault | outcome | what the user reads | counted | loads | wrong |\n|---|---|---|---|---|---|"
_BLOCK = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.S)


def table(rows: list[Row]) -> str:
    """The rows and the sentence under them."""
    loads, wrong = sum(row.loads for row in rows), sum(row.wrong for row in rows)
    total = f"{len(rows)} faults, {loads} loads during and after them, **{wrong} silent wrong loads**."
    return "\n".join([HEAD, *(row.markdown() for row in rows), "", total])


def rows_of(page: str) -> list[Row]:
    """The table of a page, read back."""
    block = _BLOCK.search(page)
    assert block, "no table"
    out = []
    for line in block[0].splitlines():
        if line.startswith("| ") and not line.startswith("| fault |"):
            cells = [cell.replace("\\|", "|") for cell in re.split(r" \| ", line[2:-2])]
            out.append(Row(cells[0], cells[1], cells[2], cells[3], int(cells[4]), int(cells[5])))
    return out


def main(only: list[str]) -> int:
    """Run (all, or the cases whose keys are named, without writing); returns how many failed."""
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as root, Bench.open(Path(root)) as bench:
        for case in ALL:
            if only and case.key not in only:
                continue
            begun = time.monotonic()
            try:
                rows.append(case.row(bench))
                print(f"{time.monotonic() - begun:5.1f} s  {rows[-1].markdown()}", flush=True)
            except NotHereError as reason:
                print(f"skipped: {case.key}: {reason}", flush=True)
                failed += 1
            except Exception:
                print(f"FAILED {case.key}: {traceback.format_exc(limit=-2)[-1500:]}", flush=True)
                failed += 1
    print(table(rows).splitlines()[-1])
    if not only and not failed:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_BLOCK.sub(lambda m: f"{m[1]}{table(rows)}\n{m[2]}", page), encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
