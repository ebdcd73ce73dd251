"""``modelgraft export`` as a user runs it: a saved probe on real photographs, a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from modelgraft_adapters import FrozenAdapter
from modelgraft_adapters.export.exporter import export
from PIL import Image

from tests.conftest import ROOT, Run

PICTURES = [str(path) for path in sorted((ROOT / "docs" / "photos").glob("*.jpg"))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapter = FrozenAdapter("embedded/sprig", "linear", device="cpu", store=False, C=10.0)
    adapter.fit(PICTURES, ["animal", "thing", "thing", "animal"])
    return adapter.save(tmp_path_factory.mktemp("saved") / "pets")


@pytest.mark.full
def test_onnx_as_a_table(run: Run, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "pets.onnx"
    done = run("export", str(saved), "-o", str(path), env={"PYTHONHASHSEED": "7"})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(lines) == ["file", "format", "size", "input", "output", "parity"]
    assert lines["file"] == str(path) and lines["format"] == "ONNX"
    assert lines["size"] == f"{path.stat().st_size:,} bytes"
    assert lines["input"] == "pixels float32 (batch, 3, 64, 64)"
    assert lines["output"] == "probabilities float32 (batch, 2)"
    assert lines["parity"].startswith("at most ") and "on 4 images" in lines["parity"]
    adapter = FrozenAdapter.load(saved, device="cpu", dtype="float32", store=False)
    pixels = torch.stack([adapter.extractor.backbone.preprocess(Image.open(picture)) for picture in PICTURES])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": pixels.numpy()})[0]
    assert np.abs(found - adapter.predict_proba(PICTURES)).max() < 2e-6
    # Another process, another name, another hash seed: the same bytes, readable by whom the umask lets.
    again = export(adapter, tmp_path / "again.onnx").path
    assert again.read_bytes() == path.read_bytes()
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.full
def test_pt2_as_json_with_items_of_ones_own(run: Run, saved: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    path = tmp_path / "pets.pt2"
    given = ("--check", str(ROOT / "docs" / "photos"), "--check", str(broken))
    done = run("export", "./pets", "-o", str(path), "-f", "json", *given, cwd=saved.parent)
    assert done.returncode == 1, done.stderr  # an item could not be read; the file is there all the same
    assert done.stderr.count("\n") == 1 and "not compared on" in done.stderr and "broken.jpg" in done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "torch.export" and found["compared"] == 4 + len(PICTURES)
    assert found["parity"] < 2e-6 < found["spread"] and list(found["unreadable"]) == [str(broken)]
    assert found["classes"] == ["animal", "thing"] and found["head"] == "linear"
    assert torch.export.load(path).module()(torch.zeros(2, 3, 64, 64)).shape == (2, 2)
    adapter = FrozenAdapter.load(saved, device="cpu", dtype="float32", store=False)
    assert export(adapter, tmp_path / "again.pt2").path.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.pt2", "broken.jpg", "pets.pt2"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{saved}", "-o", "pets.pth"), "end it in .onnx (ONNX) or .pt2 (torch.export)"),
        (("{saved}", "-o", "nowhere/pets.onnx"), "the folder of 'nowhere/pets.onnx' does not exist"),
        (("{saved}", "-o", "pets.onnx", "-f", "yaml"), "no format 'yaml'"),
        (("embedded/sprig", "-o", "pets.onnx"), "is a backbone that was trained on no task of yours"),
    ],
)
def test_wrong_use_is_a_line(run: Run, saved: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("export", *(word.format(saved=saved) for word in arguments), cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and told in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_packages_it_says_which(run: Run, saved: Path, tmp_path: Path) -> None:
    """Packages that cannot be found are told before anything is loaded."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules.update(onnxscript=None, onnxruntime=None)\n")
    done = run("export", str(saved), "-o", str(tmp_path / "a.onnx"), env={"PYTHONPATH": str(hidden)})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "ONNX needs onnxscript and onnxruntime: pip install 'modelgraft[export]'" in done.stderr
