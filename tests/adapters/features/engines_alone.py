"""Engines give torch's embeddings or are not used; what they made of a model is kept, and made anew where it is damaged."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import modelgraft
import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters import LinearProbe, ZeroShotClassifier
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.features import engine as engines
from modelgraft_adapters.features.engine import EngineRun
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.media.images import read_image

NAMES = [spec.name for spec in modelgraft.list_engines()]
TEXTS = ["cat", "a cup of coffee on a table", "rocket", "an orange flower among many others"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def backbone() -> Any:
    return modelgraft.load("embedded/sprig")


@pytest.fixture(scope="module")
def pixels(backbone: Any, photos: Path) -> list[torch.Tensor]:
    return [plugin_calls.preprocess(backbone, read_image(path)[0]) for path in sorted(photos.glob("*.jpg"))]


def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is traced from now on."""
    seen: list[str] = []
    trace = engines.trace

    def counted(module: Any, name: str, *more: Any) -> Any:
        seen.append(name)
        return trace(module, name, *more)

    monkeypatch.setattr(engines, "trace", counted)
    return seen


def test_there_are_engines() -> None:
    assert NAMES == ["onnxruntime", "openvino"]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_embedded_as_torch_does(
    name: str, backbone: Any, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = conversions(monkeypatch)
    run = EngineRun(name, "image")
    for batch in (pixels, pixels[:1], pixels[1:]):
        found, expected = run.encode(backbone, batch), plugin_calls.encode_images(backbone, batch)
        assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) <= 1e-5
    assert run.take_notes() == [] and len(seen) == 1
    again = EngineRun(name, "image")
    assert torch.equal(again.encode(backbone, pixels), run.encode(backbone, pixels)) and len(seen) == 1


def test_texts_of_any_length(backbone: Any) -> None:
    run = EngineRun("onnxruntime", "text")
    for texts in (TEXTS, TEXTS[:1], [TEXTS[1] * 3]):
        found, expected = run.encode(backbone, texts), plugin_calls.encode_texts(backbone, texts)
        assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) <= 1e-5
    assert run.take_notes() == []


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "not sealed", "emptied"])
def test_a_damaged_conversion_is_made_anew(
    harm: str, backbone: Any, pixels: list[torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = EngineRun("onnxruntime", "image").encode(backbone, pixels)
    (folder,) = (tmp_path / "cache" / "engines").iterdir()
    weights = folder / "model.onnx.data"
    data = weights.read_bytes()
    if harm == "cut":
        weights.write_bytes(data[: len(data) // 2])
    elif harm == "flipped":
        weights.write_bytes(data[:100] + bytes([data[100] ^ 64]) + data[101:])
    elif harm == "gone":
        weights.unlink()
    elif harm == "emptied":
        for path in folder.iterdir():
            path.unlink()
    else:
        (folder / "files.sealed").write_bytes(b"{}")
    seen = conversions(monkeypatch)
    assert torch.allclose(EngineRun("onnxruntime", "image").encode(backbone, pixels), expected) and len(seen) == 1


def test_other_weights_are_another_model(
    backbone: Any, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = conversions(monkeypatch)
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.mul_(1.01)
    for one in (backbone, other, backbone):
        found, expected = EngineRun("onnxruntime", "image").encode(one, pixels), plugin_calls.encode_images(one, pixels)
        assert torch.allclose(found, expected, atol=1e-4)
    assert len(seen) == 2


class _Wrong:
    """An engine that is none of what it says."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def version(self) -> str:
        return "1"

    def convert(self, program: Any, inputs: Any, folder: Path) -> None:
        (folder / "model").write_bytes(b"x")

    def open(self, folder: Path, threads: int) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda batch: torch.ones(len(batch), 256), "differ by .* of their length, and 1e-05 is allowed"),
        (lambda batch: torch.full((len(batch), 256), float("nan")), "differ by nan"),
        (lambda batch: torch.ones(len(batch), 7), r"gives a tensor \(3|gives a tensor \(1"),
        (lambda batch: torch.ones(1 + len(batch), 256), "the engine wrong is wrong"),
        (lambda batch: None, "gives NoneType None"),
        (lambda batch: 1 / 0, "division by zero"),
    ],
)
def test_an_engine_that_computes_something_else_is_not_used(
    answer: Any, said: str, backbone: Any, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "load_engine", lambda name: _Wrong(answer))
    run = EngineRun("wrong", "image")
    assert torch.equal(run.encode(backbone, pixels), plugin_calls.encode_images(backbone, pixels))
    (note,) = run.take_notes()
    assert note.startswith("embedded/sprig runs in torch: ")
    assert re.search(said, note), note
    assert run.encode(backbone, pixels[:1]).shape == (1, 256) and run.take_notes() == []


def test_what_cannot_be_traced_runs_in_torch_and_is_not_tried_again(
    backbone: Any, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(_Wrong):
        def convert(self, program: Any, inputs: Any, folder: Path) -> None:
            raise RuntimeError("no such operation")

    monkeypatch.setattr(engines, "load_engine", lambda name: Failing(None))
    seen = conversions(monkeypatch)
    for _ in range(2):
        run = EngineRun("failing", "image")
        assert torch.equal(run.encode(backbone, pixels), plugin_calls.encode_images(backbone, pixels))
        assert "no such operation" in run.take_notes()[0]
    assert len(seen) == 1


def test_layers_and_precisions_that_an_engine_has_not_run_in_torch(backbone: Any, pixels: list[torch.Tensor]) -> None:
    half = copy.deepcopy(backbone)
    half.module.to(torch.bfloat16)
    run = EngineRun("onnxruntime", "image")
    assert run.encode(half, pixels).shape == (len(pixels), 256)
    assert "float32 on the CPU" in run.take_notes()[0]


def test_features_by_an_engine_are_kept_apart(photos: Path) -> None:
    paths = sorted(map(str, photos.glob("*.jpg")))
    plain, fast = (FeatureExtractor("embedded/sprig", engine=name) for name in (None, "onnxruntime"))
    assert "engine" not in plain.card and fast.card["engine"].startswith("onnxruntime 1.")
    found, expected = fast.embed(paths), plain.embed(paths)
    assert np.abs(found.features - expected.features).max() < 1e-4 and fast.encoded == len(paths)
    assert FeatureExtractor("embedded/sprig", engine="onnxruntime").embed(paths).encoded == 0


def test_estimators_take_an_engine(photos: Path) -> None:
    paths = sorted(map(str, photos.glob("*.jpg")))
    labels = ["cat", "cup", "orange flower", "rocket"]
    by_engine = ZeroShotClassifier("embedded/sprig", labels, engine="openvino")
    assert (
        np.abs(by_engine.predict_proba(paths) - ZeroShotClassifier("embedded/sprig", labels).predict_proba(paths)).max()
        < 1e-5
    )
    probe = LinearProbe("embedded/sprig", engine="openvino", C=1.0).fit(paths, ["a", "a", "b", "b"])
    assert probe.get_params()["engine"] == "openvino"
    plain = LinearProbe("embedded/sprig", C=1.0).fit(paths, ["a", "a", "b", "b"])
    assert np.abs(probe.predict_proba(paths) - plain.predict_proba(paths)).max() < 1e-4


@pytest.mark.parametrize("name", ["openvine", 5])
def test_an_engine_that_is_none(name: Any) -> None:
    with pytest.raises(UsageError, match=r"no installed plugin brings an engine|engine=5"):
        FeatureExtractor("embedded/sprig", engine=name)


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        UsageError, match=r"the engine openvino is not installed .*: pip install 'modelgraft\[openvino\]'"
    ):
        FeatureExtractor("embedded/sprig", engine="openvino")


def test_on_the_command_line(run: Any, photos: Path) -> None:
    labels = ["--labels", "cat,cup,orange flower,rocket", "--format", "json"]
    found, expected = (run("classify", str(photos), *labels, *more) for more in (["--engine", "openvino"], []))
    assert found.returncode == 0 and found.stderr == expected.stderr == ""
    for one, other in zip(json.loads(found.stdout), json.loads(expected.stdout), strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
    wrong = run("classify", str(photos), *labels, "--engine", "openvine")
    assert wrong.returncode == 2 and "openvine" in wrong.stderr and "there are: onnxruntime, openvino" in wrong.stderr


def test_the_cache_shows_verifies_and_deletes_conversions(
    run: Any, backbone: Any, pixels: list[torch.Tensor], tmp_path: Path
) -> None:
    EngineRun("onnxruntime", "image").encode(backbone, pixels)
    (folder,) = (tmp_path / "cache" / "engines").iterdir()
    (row,) = [r for r in json.loads(run("cache", "--format", "json").stdout) if r["location"].startswith("engine:")]
    assert row["location"] == f"engine:{folder.name}" and row["size"] > 1e6
    assert run("cache", "verify").returncode == 0
    weights = folder / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run("cache", "verify").returncode == 1
    assert run("cache", "prune", "--older-than", "1h").returncode == 0 and folder.exists()
    assert run("cache", "prune").returncode == 0 and not folder.exists()


def test_nothing_is_reported_to_anybody(backbone: Any, tmp_path: Path) -> None:
    """OpenVINO's converter would send an event to a server, from a process forked off this one."""
    code = (
        "import multiprocessing, os, socket, sys\n"
        "import modelgraft\n"
        "from modelgraft_adapters.features.engine import EngineRun\n"
        "def refuse(*a, **k): raise SystemExit('forked or connected')\n"
        "backbone = modelgraft.load('embedded/sprig')\n"
        "multiprocessing.Process.start = refuse\n"
        "socket.socket.connect = refuse\n"
        "import torch\n"
        "run = EngineRun('openvino', 'image')\n"
        "run.encode(backbone, [torch.zeros(3, 64, 64)])\n"
        "assert run.take_notes() == [] and not sys.modules['openvino_telemetry']\n"
    )
    env = {**os.environ, "MODELGRAFT_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
