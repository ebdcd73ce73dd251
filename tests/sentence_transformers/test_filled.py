"""Weights that are missing are filled by chance: a model whose files do not hold all that its embeddings depend on is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import modelgraft
import pytest
import torch
from modelgraft.errors import WeightsUnavailableError
from modelgraft_sentence_transformers import backbone
from safetensors.torch import load_file, save_file

from tests.sentence_transformers.conftest import minilm_folder


def copy(tmp_path: Path, *without: str) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "model.safetensors"))
    tensors = load_file(minilm_folder() / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.endswith(without or ("?",))},
        folder / "model.safetensors",
    )
    return folder


def embedded(folder: Path) -> torch.Tensor:
    return modelgraft.load(f"file:{folder}", device="cpu").encode_text(["a cat on a mat"])  # type: ignore[union-attr]


def test_weights_that_are_missing_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(tmp_path, "layer.3.attention.self.query.weight")
    with pytest.raises(WeightsUnavailableError, match=r"lack 1 weights .*encoder.layer.3.attention.self.query.weight"):
        embedded(folder)
    monkeypatch.setattr(backbone, "check_filled", lambda *given: None)
    assert not torch.allclose(embedded(folder), embedded(folder))  # another answer at each start


def test_a_pooler_that_nobody_reads_may_be_missing(tmp_path: Path) -> None:
    right = modelgraft.load(f"file:{copy(tmp_path)}", device="cpu").encode_text(["a cat on a mat"])  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / "model")
    assert torch.equal(embedded(copy(tmp_path, "pooler.dense.weight", "pooler.dense.bias")), right)
