"""Throwaway Python environments and wheels of plugins, made with the real venv, pip and hatchling."""

from __future__ import annotations

import hashlib
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


class Site:
    """A folder on the path with distributions as an installer leaves them, and a cache of its own: no pip, so many are cheap."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.folder.mkdir()
        self.cache = folder / "cache"
        self.env = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "MODELGRAFT_CACHE": str(self.cache),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def add(self, name: str, code: str | None = None, version: str = "1.0", entry_points: str | None = None) -> Path:
        """A distribution ``modelgraft-name`` of one module; its folder of metadata. Written over what was there."""
        module = f"modelgraft_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(good(name) if code is None else code, encoding="utf-8")
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: modelgraft-{name}\nVersion: {version}\n")
        info.joinpath("entry_points.txt").write_text(entry_points or f"[modelgraft]\n{name} = {module}\n")
        digest = hashlib.sha256((self.folder / f"{module}.py").read_bytes()).hexdigest()
        info.joinpath("RECORD").write_text(f"{module}.py,sha256={digest},1\n")
        return info

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """The command line, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "modelgraft", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, **(env or {})},
        )

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command line, ended."""
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def reports(self, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """What ``modelgraft plugins`` says, by distribution (``modelgraft-`` left out)."""
        done = self.run("plugins", "--format", "json", env=env)
        assert done.returncode == 0, done.stderr
        return {report["distribution"].removeprefix("modelgraft-"): report for report in json.loads(done.stdout)}


def good(provider: str, before: str = "", within: str = "") -> str:
    """The code of a plugin with one model; some code at the top of its module, and in its hook."""
    return (
        f"from modelgraft import Entry, hookimpl\n{before}\n@hookimpl\ndef modelgraft_entries():\n    {within or 'pass'}\n"
        f"    return [Entry(name='{provider}/m', modality='image', tasks=('features',))]\n"
    )


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
