"""Pickles of strangers: read weights only, within what they weigh, and handed on bit for bit."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from modelgraft.errors import UnsafeWeightsError, WeightsUnavailableError
from modelgraft.opening import opening
from modelgraft.strangers import tensors
from modelgraft.strangers.tensors import as_safetensors, read_tensors


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_the_same_bits(tmp_path: Path) -> None:
    shared = torch.randn(4, 6)
    state = {
        "whole": shared,
        "again": shared,
        "part": shared[1:3],
        "turned": shared.T,
        "half": shared.bfloat16(),
        "nan": torch.tensor([float("nan"), -0.0]),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.bin")
    found = read_tensors(as_safetensors(tmp_path / "a.bin", tmp_path / "to" / "a.safetensors"))
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape
        assert torch.equal(found[key].reshape(-1).view(torch.uint8), value.contiguous().reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("protocol", [True, False], ids=["zip", "legacy"])
def test_a_pickle_runs_no_code(protocol: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap, file = tmp_path / "trap", tmp_path / "a.bin"
    torch.save({"a": torch.zeros(1), "b": Runs(trap)}, file, _use_new_zipfile_serialization=protocol)
    with pytest.raises(UnsafeWeightsError, match="could run code"), opening("weights"):
        as_safetensors(file, tmp_path / "a.safetensors")
    assert not trap.exists() and not (tmp_path / "a.safetensors").exists()
    plain = torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **how: plain(*given, **{**how, "weights_only": False}))
    read_tensors(file)
    assert trap.exists(), "the trap is none"


def test_an_archive_that_swells_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    torch.save({"a": torch.zeros(1 << 22)}, tmp_path / "plain.bin")
    with zipfile.ZipFile(tmp_path / "plain.bin") as there, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for member in there.infolist():
            made.writestr(member.filename, there.read(member))
    assert file.stat().st_size < 1 << 17
    with pytest.raises(UnsafeWeightsError, match="would unpack to 16,7"):
        read_tensors(file)
    monkeypatch.setattr(tensors, "_check_archive", lambda path: None)
    try:
        assert read_tensors(file)["a"].nbytes == 1 << 24
    except RuntimeError as error:  # or torch itself opens no archive that is compressed
        assert "PytorchStreamReader" in str(error)


@pytest.mark.parametrize("content", [{}, [], 5, {1: torch.zeros(1)}, {"a": 5}, torch.zeros(2)], ids=str)
def test_what_holds_no_tensors_by_name(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(UnsafeWeightsError, match="holds no tensors by name"):
        read_tensors(tmp_path / "a.bin")


def test_damaged_ones_are_told_in_a_line(tmp_path: Path) -> None:
    torch.save({"a": torch.randn(100)}, tmp_path / "a.bin")
    whole = (tmp_path / "a.bin").read_bytes()
    for cut in range(0, len(whole), 97):
        (tmp_path / "a.bin").write_bytes(whole[:cut])
        with pytest.raises((UnsafeWeightsError, WeightsUnavailableError)) as told, opening("weights of x"):
            read_tensors(tmp_path / "a.bin")
        assert "\n" not in str(told.value)
