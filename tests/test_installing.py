"""docs/installing.md says of every package what ``pyproject.toml`` asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT


def test_the_page_has_every_package_with_its_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra, more in project["optional-dependencies"].items():
        lines += [] if extra == "test" else more
    wanted = {}
    for requirement in map(Requirement, lines):
        wanted[requirement.name] = next((one.version for one in requirement.specifier if one.operator == ">="), "any")
    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\w.]+) \|", page, flags=re.MULTILINE)
    assert dict(rows) == wanted and len(rows) == len(wanted)


@pytest.mark.slow
def test_the_core_works_with_the_oldest_of_all(tmp_path: Path) -> None:
    """A new environment of the lowest direct versions, and the core tests in it: some twenty minutes, and packages to fetch."""
    script = [sys.executable, str(ROOT / "benchmarks" / "lowest.py"), str(tmp_path / "lowest")]
    done = subprocess.run(script, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "moves nothing" in done.stdout + done.stderr
