"""What is built: a wheel with everything in it that is needed and nothing that is not, and an sdist that builds the same wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.host.environments import build_wheel

PACKAGES = {
    "modelgraft",
    "modelgraft_adapters",
    "modelgraft_embedded",
    "modelgraft_engines",
    "modelgraft_heads",
    "modelgraft_open_clip",
    "modelgraft_sentence_transformers",
    "modelgraft_sources",
    "modelgraft_timm",
}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (made,) = out.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as an installer without a wheel would."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return build_wheel(project, folder / "out")


def test_the_wheel_holds_the_packages_their_data_and_their_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    for plugin in ("open_clip", "sentence_transformers", "timm"):
        assert f"modelgraft_{plugin}/catalogue.json" in names
    assert {"modelgraft_timm/imagenet.csv", "modelgraft_open_clip/zero_shot.csv"} <= names
    weights = {name: size for name, size in sizes.items() if name.startswith("modelgraft_embedded/weights/")}
    assert any(name.endswith(".safetensors") for name in weights)
    assert sum(weights.values()) <= 12_000_000
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_a_developer_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "tests/test_distribution.py",
        "docs/plugins.md",
        "docs/photos/cat.jpg",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_projects_own_plugins_come_in_by_everybodys_door() -> None:
    own = {point.name for point in entry_points(group="modelgraft") if point.dist and point.dist.name == "modelgraft"}
    assert own == {"adapters", "engines", "heads", "sources", "embedded", "timm", "open_clip", "sentence-transformers"}
