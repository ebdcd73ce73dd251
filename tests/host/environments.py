"""Throwaway Python environments and wheels of plugins, made with the real venv, pip and hatchling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any


class Environment:
    """A virtual environment that sees everything installed beside the tests, and into which pip installs more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        site = self._ask("import sysconfig; print(sysconfig.get_path('purelib'))")
        # `site` reads the .pth files of the outer environment too, so that an editable modelgraft is seen as well.
        outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        Path(site, "outer.pth").write_text(
            "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(outer))
        )

    def _ask(self, code: str) -> str:
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    def pip(self, *arguments: str | Path) -> None:
        """The outer environment's pip, working on this one."""
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, *arguments, "--disable-pip-version-check", "-q"],
            check=True,
            capture_output=True,
            text=True,
        )

    def install(self, *wheels: Path) -> None:
        self.pip("install", "--no-index", "--no-deps", *wheels)

    def uninstall(self, *names: str) -> None:
        self.pip("uninstall", "-y", *names)

    def modelgraft(self, *arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command line in this environment, with a cache of its own."""
        return subprocess.run(
            [self.python, "-m", "modelgraft", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "MODELGRAFT_CACHE": str(self.folder / "cache"), **(env or {})},
            timeout=300,
        )

    def json(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Any:
        """Its answer with ``--format json``; fails if it does not leave with 0."""
        done = self.modelgraft(*arguments, "--format", "json", env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def build_wheel(project: Path, into: Path) -> Path:
    """The wheel of a project folder, built by its own back end."""
    before = set(into.glob("*.whl")) if into.exists() else set()
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "-w", into, project),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    (made,) = set(into.glob("*.whl")) - before
    return made


def write_project(folder: Path, name: str, code: str, version: str = "1.0") -> Path:
    """A plugin project of one module, on disk."""
    module = name.replace("-", "_")
    folder.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (folder / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
dependencies = ["modelgraft"]
[project.entry-points.modelgraft]
{name.removeprefix("modelgraft-")} = "{module}"
[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""
    )
    return folder
