"""``exact`` and ``fast`` are dtypes that the device decides; what is emulated is said with its cost; layout changes no answer."""

from __future__ import annotations

import pytest
import torch
from modelgraft import devices, load
from modelgraft.devices import dtype_of, is_native, precision_notes
from modelgraft.layout import lay_out
from torch import nn

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["native", "emulated"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that has bfloat16, and one that has not."""
    monkeypatch.setattr(devices, "_processor_has", lambda what: request.param and what == "bf16")
    return bool(request.param)


def test_words_are_dtypes(native: bool) -> None:
    assert dtype_of("exact", CPU) is torch.float32
    assert dtype_of("fast", CPU) is (torch.bfloat16 if native else torch.float32)
    assert is_native(torch.float32, CPU) and is_native(torch.bfloat16, CPU) == native
    assert not is_native(torch.float16, CPU)


@pytest.mark.parametrize(("has", "wanted"), [(True, torch.bfloat16), (False, torch.float16)])
def test_on_a_gpu_without_bfloat16_fast_is_float16(
    monkeypatch: pytest.MonkeyPatch, has: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert dtype_of("fast", torch.device("cuda")) is wanted
    assert dtype_of("fast", torch.device("mps")) is torch.float16


def test_what_is_emulated_is_said_with_its_cost(native: bool) -> None:
    said = precision_notes("fast", CPU)
    assert said == ([] if native else ["this processor does not compute in bfloat16: fast is float32 here"])
    said = precision_notes("bfloat16", CPU)
    assert bool(said) != native
    for line in (*said, *precision_notes(torch.float16, CPU)):
        assert "emulates it: a matrix product takes " in line and float(line.split("takes ")[1].split()[0]) > 0
    assert precision_notes(None, CPU) == precision_notes("exact", CPU) == precision_notes("float64", CPU) == []
    assert precision_notes("bfloat16", torch.device("cuda")) == []


def test_this_processor_is_known() -> None:
    assert isinstance(devices._processor_has("bf16"), bool)
    if hasattr(torch.cpu, "get_capabilities"):
        assert devices._processor_has("bf16") == any(v for k, v in torch.cpu.get_capabilities().items() if "bf16" in k)


def test_convolutional_models_are_laid_out_channels_last_and_no_others() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 12 * 12, 4)
    ).eval()
    pixels = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        before = net(pixels)
        assert lay_out(net) is net and net[2].weight.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(net(pixels), before, atol=1e-6)
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 8))
    lay_out(patches)
    assert patches[0].weight.is_contiguous()


def test_the_embedded_model_is_laid_out() -> None:
    weights = [p for p in load("embedded/sprig", device="cpu").module.parameters() if p.ndim == 4 and p.shape[-1] > 1]
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
