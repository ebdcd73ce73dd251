"""For a model of each provider by its public name: pulled through the real hub client, then, offline, loaded and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_model

from tests.conftest import Run
from tests.hub_standin import HubStandIn
from tests.sentence_transformers.conftest import publish

PICTURE = "docs/photos/cat.jpg"
CLASSIFY = """
from modelgraft_adapters import ZeroShotClassifier
print(ZeroShotClassifier({name!r}, ["a cat", "a dog"], device="cpu").predict_proba([{item!r}]).tolist())
"""
EMBED = """
import modelgraft as mg, torch
from PIL import Image
backbone = mg.load({name!r}, device="cpu")
pixels = backbone.preprocess(Image.open({item!r}).convert("RGB"))
print(backbone.encode_image(pixels[None]).tolist())
"""


def _timm(root: Path) -> None:
    save_model(timm.create_model("test_vit"), str(root / "timm" / "test_vit.r160_in1k" / "model.safetensors"))


def _open_clip(root: Path) -> None:
    model = open_clip.create_model("MobileCLIP2-S0")
    save_model(model, str(root / "timm" / "MobileCLIP2-S0-OpenCLIP" / "open_clip_model.safetensors"))


def _sentences(root: Path) -> None:
    publish(root, "sentence-transformers/all-MiniLM-L6-v2")


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "repo", "serve", "code", "item", "files"),
    [
        ("timm/test_vit:r160_in1k", "timm/test_vit.r160_in1k", _timm, EMBED, PICTURE, 1),
        ("open_clip/MobileCLIP2-S0:dfndr2b", "timm/MobileCLIP2-S0-OpenCLIP", _open_clip, CLASSIFY, PICTURE, 1),
        ("sentence-transformers/all-MiniLM-L6-v2", None, _sentences, CLASSIFY, "a small cat sleeps", 9),
    ],
)
def test_pulled_loaded_and_asked(
    name: str,
    repo: str | None,
    serve: Callable[[Path], None],
    code: str,
    item: str,
    files: int,
    tmp_path: Path,
    run: Run,
) -> None:
    torch.manual_seed(0)
    root = tmp_path / "hub"
    if repo:
        (root / repo).mkdir(parents=True)
    serve(root)
    with HubStandIn(root) as hub:
        env = {**hub.environment(tmp_path / "home"), "MODELGRAFT_CACHE": str(tmp_path / "cache")}
        done = run("pull", name, "--format", "json", env=env)
        assert done.returncode == 0, done.stderr
        (pulled,) = json.loads(done.stdout)
        assert pulled["revision"] == hub.commit(repo or name) and pulled["files"] >= files
        assert pulled["fetched"] == pulled["size"] > 0
        asked = len(hub.requests)
        # A new process, and no network: what was pulled is all there is.
        answer = subprocess.run(
            [sys.executable, "-c", code.format(name=name, item=item)],
            env={**os.environ, **env, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        (row,) = json.loads(answer.stdout)
        assert len(set(row)) > 1 and all(value == value for value in row)
        assert len(hub.requests) == asked
