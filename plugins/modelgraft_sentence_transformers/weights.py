"""Which files of a repository make a Sentence Transformers model, and whether they are all there."""

from __future__ import annotations

import json
from typing import Final

from modelgraft.contract import LocalPart
from modelgraft.errors import WeightsUnavailableError

PROVIDER: Final = "sentence-transformers"
FILES: Final = ("modules.json", "*.json", "*.txt", "*.model", "*.safetensors", "*pytorch_model*.bin")
WITHOUT: Final = ("onnx/*", "openvino/*", "coreml/*", "*.onnx", "*.index.json.bak")
"""Weights in formats that are not read here."""
_WEIGHTLESS: Final = frozenset({"Pooling", "Normalize", "Dropout", "BoW"})


def check_whole(part: LocalPart) -> None:
    """See that every module of the model has its configuration and its weights.

    The library takes a missing file (the pooling, the text length) for a default, silently: another model.

    Raises:
        WeightsUnavailableError: something is missing; the text says what.
    """
    try:
        listed = json.loads(part.files["modules.json"].read_text(encoding="utf-8"))
        modules = [(str(module["path"]), str(module["type"]).rpartition(".")[2]) for module in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise WeightsUnavailableError(f"modules.json of {part.location} is no list of modules") from None
    for place, kind in modules:
        inside = [path for path in part.files if path.rpartition("/")[0] == place]
        lacks = None
        if kind not in ("Normalize",) and not any(path.endswith("config.json") for path in inside):
            lacks = "configuration"
        elif kind not in _WEIGHTLESS and not any(path.endswith((".safetensors", ".bin", ".model")) for path in inside):
            lacks = "weights"
        if lacks:
            raise WeightsUnavailableError(
                f"{part.location} has no {lacks} for its module {kind} at {place or 'the top'}: not the whole model"
            )
