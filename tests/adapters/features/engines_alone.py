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
from modelgraft.sealed import read_sealed
from modelgraft_adapters import FineTuner, FrozenAdapter, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.features import best_engine
from modelgraft_adapters.features import engine as engines
from modelgraft_adapters.features.engine import EngineRun
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.runs import optimize as optimizing

NAMES = ["onnxruntime", "openvino"]
"""The third one, torch's compiler, takes a minute a model: ``tests/engines/test_compile.py``."""
TEXTS = ["cat", "a cup of coffee on a table", "rocket", "an orange flower among many others"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(tmp_path / "none"))


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
    assert [spec.name for spec in modelgraft.list_engines()] == ["compile", *NAMES]


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

    def open(self, folder: Path, threads: int, dtype: torch.dtype) -> Any:
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


@pytest.mark.parametrize("modality", ["image", "text"])
def test_in_bfloat16(backbone: Any, pixels: list[torch.Tensor], modality: Any) -> None:
    items: Any = pixels if modality == "image" else TEXTS
    plain = plugin_calls.encode_images if modality == "image" else plugin_calls.encode_texts
    wanted = plain(backbone, items)
    run = EngineRun("openvino", modality, torch.bfloat16)
    assert run.loads is torch.float32
    found = run.encode(backbone, items)
    assert run.take_notes() == [] and float(torch.cosine_similarity(found, wanted).min()) > engines.FAST


def test_a_precision_that_an_engine_has_not_runs_in_torch(backbone: Any, pixels: list[torch.Tensor]) -> None:
    def narrow() -> Any:
        return modelgraft.load("embedded/sprig", dtype="bfloat16")

    run = EngineRun("onnxruntime", "image", torch.bfloat16, narrow)
    assert torch.equal(run.encode(backbone, pixels), plugin_calls.encode_images(narrow(), pixels))
    assert "computes in float32, not in torch.bfloat16" in run.take_notes()[0]
    exact = EngineRun("onnxruntime", "image")  # which that says nothing of
    exact.encode(backbone, pixels)
    assert exact.take_notes() == []


def test_bfloat16_that_gives_something_else_is_not_used(
    backbone: Any, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "FAST", 1.1)
    run = EngineRun("openvino", "image", torch.bfloat16)
    assert torch.equal(run.encode(backbone, pixels), plugin_calls.encode_images(backbone, pixels))
    assert re.search(r"in torch.bfloat16 its embeddings have a cosine of [01]\.\d+ with float32's", run.take_notes()[0])


def test_optimize_says_what_is_fastest_and_keeps_it(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("optimize", "embedded/sprig", str(photos), "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    found = json.loads(done.stdout)
    assert found["items"] == len(list(photos.glob("*.jpg"))) and not found["made_up"]
    exact = [way for way in found["ways"] if way["precision"] == "exact"]
    assert [way["engine"] for way in exact] == ["torch", *NAMES]
    assert all(way["largest_difference"] < 1e-5 and way["same_first"] == 1 for way in exact)
    best = max(exact, key=lambda way: way["items_per_s"])["engine"]
    (place,) = (tmp_path / "cache" / "engines").glob("*.best")
    assert json.loads(read_sealed(place))["exact"]["engine"] == best
    by_auto = FeatureExtractor("embedded/sprig", engine="auto", dtype="exact")
    assert by_auto.card.get("engine", "torch").split()[0] == best
    other = FeatureExtractor("embedded/sprig", engine="auto", dtype="exact", modality="text")
    assert "engine" not in other.card  # which was not tried
    best_engine.keep_best(by_auto._running.identity, "image", {"exact": best_engine.Best("onnxruntime")})
    assert FeatureExtractor("embedded/sprig", engine="auto").card["engine"].startswith("onnxruntime")
    place.write_bytes(place.read_bytes()[:-3])
    assert "engine" not in FeatureExtractor("embedded/sprig", engine="auto").card
    assert run("cache", "prune").returncode == 0 and not list((tmp_path / "cache" / "engines").iterdir())


def test_auto_takes_an_engine_for_many_items_and_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, about = torch.device("cpu"), {"model": "some"}
    assert best_engine.best_engine(about, "image", None, cpu) == "torch"
    assert best_engine.best_engine(about, "image", None, cpu, best_engine.MANY - 1) == "torch"
    assert best_engine.best_engine(about, "image", None, cpu, best_engine.MANY) == "openvino"
    assert best_engine.best_engine(about, "image", None, torch.device("cuda"), best_engine.MANY) == "torch"
    kept = {"exact": best_engine.Best("gone"), "fast": best_engine.Best("openvino", 3)}
    best_engine.keep_best(about, "image", kept)
    assert best_engine.best_engine(about, "image", None, cpu, best_engine.MANY) == "torch"
    assert best_engine.best_engine(about, "image", torch.bfloat16, cpu) == "openvino"
    assert best_engine.best_threads(about, "image", torch.bfloat16, cpu, "openvino") == 3
    assert best_engine.best_threads(about, "image", torch.bfloat16, cpu, "torch") is None
    assert best_engine.best_threads(about, "image", None, cpu, "openvino") is None
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert best_engine.best_engine(about, "image", torch.bfloat16, cpu) == "torch"


def test_fewer_threads_are_tried_and_kept(
    photos: Path, pixels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, before = sorted(map(str, photos.glob("*.jpg"))), torch.get_num_threads()
    monkeypatch.setattr(optimizing, "list_engines", list)
    monkeypatch.setattr(optimizing, "GAIN", 1e-9)  # fewer are always taken
    seen = []
    encode = plugin_calls.encode_images

    def watched(*given: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return encode(*given)

    try:
        torch.set_num_threads(4)
        found = optimizing.optimize(modelgraft.resolve("embedded/sprig"), paths)
        tried = [(way.engine, way.threads) for way in found.ways if way.precision == "exact"]
        assert tried == [("torch", 4), ("torch", 2), ("torch", 1)]
        assert all(way.largest_difference < 1e-5 for way in found.ways if way.precision == "exact")
        monkeypatch.setattr(plugin_calls, "encode_images", watched)
        for engine in ("auto", "torch"):
            FeatureExtractor("embedded/sprig", engine=engine, store=False).embed(paths)
            assert seen.pop() in (1, 2)
        FeatureExtractor("embedded/sprig", store=False).embed(paths)
        assert seen == [4] and torch.get_num_threads() == 4  # nothing was asked for
    finally:
        torch.set_num_threads(before)


def test_made_up_items_are_said(run: Any) -> None:
    done = run("optimize", "embedded/sprig", "--text")
    assert done.returncode == 0 and "measured on 64 made-up items" in done.stderr
    assert re.search(r"torch +float32 +\d+ +[\d.]+ +1\.00 ", done.stdout) and "openvino" in done.stdout


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


@pytest.mark.parametrize("dtype", [None, "fast"])
def test_a_fine_tuned_adapter_takes_an_engine(photos: Path, tmp_path: Path, dtype: Any) -> None:
    paths = sorted(map(str, photos.glob("*.jpg")))
    tuner = FineTuner("embedded/sprig", "full", steps=2, batch_size=4, device="cpu", lr=1e-3)
    tuner.fit(paths, ["a", "b", "a", "b"]).save(tmp_path / "adapter")
    plain = FrozenAdapter.load(tmp_path / "adapter", device="cpu")
    found = FrozenAdapter.load(tmp_path / "adapter", device="cpu", engine="openvino", dtype=dtype)
    assert found.extractor.card["engine"].startswith("openvino") and "engine" not in plain.extractor.card
    by_engine = found.predict_proba(paths)
    assert found.extractor.take_notes() == []
    assert np.abs(by_engine - plain.predict_proba(paths)).max() < (1e-4 if dtype is None else 0.02)
    untrained = LinearProbe("embedded/sprig", device="cpu").extractor.embed(paths).features
    assert np.abs(found.extractor.embed(paths).features - untrained).max() > 1e-3  # the weights are the trained ones


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
    assert (
        wrong.returncode == 2
        and "openvine" in wrong.stderr
        and "there are: compile, onnxruntime, openvino" in wrong.stderr
    )


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
