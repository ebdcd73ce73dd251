"""docs/installing.md says of every package what ``pyproject.toml`` asks for."""

from __future__ import annotations

import re
import tomllib

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
