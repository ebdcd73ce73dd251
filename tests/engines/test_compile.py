"""torch's compiler as an engine: the same numbers for any number of rows, and clear words where there is no compiler."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import modelgraft
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.tracing import trace, traceable
from modelgraft_adapters.features.engine import EngineRun
from modelgraft_adapters.media.images import read_image
from torch import nn


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(torch.relu(self.conv(pixels)).mean(dim=(2, 3)))
        return found


@pytest.mark.slow
def test_a_model_is_compiled_for_any_number_of_rows(tmp_path: Path) -> None:
    engine, module = modelgraft.load_engine("compile"), _Small().eval()
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    program = trace(module, "small", torch.randn(3, 3, 8, 8), [{"name": "pixels", "shape": ["batch", 3, 8, 8]}])
    with traceable():
        engine.convert(program, ("pixels",), tmp_path)
    run = engine.open(tmp_path, 1, torch.float32)
    with torch.inference_mode():
        for rows in (1, 3, 17):
            batch = torch.randn(rows, 3, 8, 8)
            assert torch.allclose(run(batch), module(batch), atol=1e-6)
    left = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    assert left == before or (left is not None and Path(left).is_dir())  # torch names its own when it is first asked
    with pytest.raises(UsageError, match="compile computes in float32, not in"):
        engine.open(tmp_path, 1, torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_real_model(modality: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    backbone, run = modelgraft.load("embedded/sprig"), EngineRun("compile", modality)
    if modality == "text":
        items: list[Any] = ["cat", "a cup of coffee on a table", "an orange flower among many others"]
    else:
        items = [plugin_calls.preprocess(backbone, read_image(path)[0]) for path in sorted(photos.glob("*.jpg"))]
    plain = plugin_calls.encode_texts if modality == "text" else plugin_calls.encode_images
    for some in (items, items[:1]):
        found, expected = run.encode(backbone, some), plain(backbone, some)
        assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) <= 1e-5
    assert run.take_notes() == []


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        modelgraft.load_engine("compile").version()


def test_it_depends_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "sh")
    engine = modelgraft.load_engine("compile")
    here = engine.version()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert engine.version() != here
