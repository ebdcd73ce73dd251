"""Which files of a place are read."""

from __future__ import annotations

import pytest
from modelgraft.entry import Weights
from modelgraft.errors import UnsafeWeightsError, WeightsUnavailableError
from modelgraft.resolution import File
from modelgraft.weights.choosing import choose

SENTENCE = ("modules.json", "*.json", "*.safetensors", "*pytorch_model*.bin")


def chosen(weights: Weights, *paths: str) -> list[str]:
    return [file.path for file in choose(weights, map(File, paths), "hf:a/b")]


def test_safetensors_come_before_pickles_in_each_folder() -> None:
    weights = Weights(files=SENTENCE)
    paths = (
        "modules.json",
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/config.json",
        "2_Dense/pytorch_model.bin",
    )
    assert chosen(weights, *paths) == [
        "2_Dense/config.json",
        "2_Dense/pytorch_model.bin",
        "model.safetensors",
        "modules.json",
    ]


def test_the_first_alternative_that_is_there_is_taken() -> None:
    weights = Weights(files=("model.safetensors|pytorch_model.bin",))
    assert chosen(weights, "pytorch_model.bin", "x.json") == ["pytorch_model.bin"]
    assert chosen(weights, "pytorch_model.bin", "model.safetensors") == ["model.safetensors"]


def test_a_stated_file_name_has_a_safe_alternative() -> None:
    assert chosen(Weights(filename="a.bin"), "a.bin", "b.bin") == ["a.bin"]
    assert chosen(Weights(filename="a.bin"), "a.bin", "a.safetensors") == ["a.safetensors"]
    assert chosen(Weights(filename="a.safetensors"), "a.bin", "a.safetensors") == ["a.safetensors"]


def test_what_is_excluded_is_not_read_though_it_matches() -> None:
    weights = Weights(files=SENTENCE, without=("onnx/*",))
    assert chosen(weights, "modules.json", "onnx/config.json", "model.safetensors") == [
        "model.safetensors",
        "modules.json",
    ]


def test_nothing_to_read_is_told() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"^hf:a/b holds no model.safetensors or pytorch_model.bin"):
        chosen(Weights(files=("model.safetensors|pytorch_model.bin",)), "README.md")


@pytest.mark.parametrize(
    "path", ["../x.json", "/etc/x.json", "a/../../x.json", "a\\x.json", "C:x.json", "a//x.json", "\x1b.json"]
)
def test_a_name_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(UnsafeWeightsError, match="would leave its folder"):
        chosen(Weights(files=("*.json",)), path)
