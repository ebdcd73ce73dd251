"""A source of weights as a third party brings it: installed by pip, pinned, locked, and no more trusted than the hub is."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.host.environments import Environment, build_wheel

SHELF = Path(__file__).parent.parent / "third_party" / "modelgraft-shelf"
NAME = "shelf/scales"


def version(root: Path, name: str, scale: list[float]) -> Path:
    folder = root / "vision" / "scales" / name
    folder.mkdir(parents=True)
    save_file({"scale": torch.tensor(scale)}, folder / "w.safetensors")
    digest = hashlib.sha256((folder / "w.safetensors").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  w.safetensors\n")
    return folder / "w.safetensors"


@pytest.mark.full
def test_a_source_of_a_third_party(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    environment.install(build_wheel(SHELF, tmp_path / "wheels"))
    root, project = tmp_path / "server", tmp_path / "project"
    project.mkdir()
    first = version(root, "v1", [1.0, 2.0, 3.0])
    env = {"SHELF_ROOT": str(root)}
    lock = project / "modelgraft.lock"

    (pulled,) = environment.json("pull", NAME, env=env)
    assert (pulled["revision"], pulled["files"], pulled["size"]) == ("v1", 1, first.stat().st_size)
    assert environment.modelgraft("lock", NAME, "--file", lock, env=env).returncode == 0
    assert hashlib.sha256(first.read_bytes()).hexdigest() in lock.read_text()

    # The name moves on; the lock does not.
    version(root, "v2", [4.0, 5.0, 6.0])
    assert environment.json("pull", NAME, env=env)[0]["revision"] == "v2"
    locked = {**env, "MODELGRAFT_LOCKED": str(lock)}
    assert environment.json("pull", NAME, env=locked)[0]["revision"] == "v1"
    assert environment.modelgraft("lock", "--check", "--file", lock, env=env).returncode == 1

    # The copy is damaged: fetched again. The original is: refused, by name.
    (copy,) = (tmp_path / "env" / "cache" / "shelf").rglob("v1/w.safetensors")
    good = copy.read_bytes()
    copy.write_bytes(good[:-1] + b"x")
    assert environment.json("pull", NAME, env=locked)[0]["revision"] == "v1" and copy.read_bytes() == good
    copy.unlink()
    first.write_bytes(good[:-1] + b"x")
    refused = environment.modelgraft("pull", NAME, env=locked)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "w.safetensors of shelf:vision/scales@v1 is refused" in refused.stderr and not copy.exists()

    # Without its plugin nobody knows the scheme, and the lock says so too.
    environment.uninstall("modelgraft-shelf")
    gone = environment.modelgraft("pull", NAME, env=env)
    assert gone.returncode == 2 and "unknown model 'shelf/scales'" in gone.stderr


@pytest.mark.full
def test_its_model_loads_from_verified_files(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    environment.install(build_wheel(SHELF, tmp_path / "wheels"))
    version(tmp_path / "server", "v1", [1.0, 2.0, 3.0])
    code = "import modelgraft as mg; print(mg.load('shelf/scales', device='cpu').module['scale'].tolist())"
    env = {**os.environ, "SHELF_ROOT": str(tmp_path / "server"), "MODELGRAFT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([environment.python, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1.0, 2.0, 3.0]", done.stderr
