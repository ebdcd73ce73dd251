"""Zero-shot probabilities by public name equal open_clip's own recipe, for models of every kind, through the real hub client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn
from tests.open_clip.cases import CASES

SAMPLE = [name for name, case in CASES.items() if not case.slow]


def side_by_side(folder: Path, size: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """What `differential_client` finds, by name."""
    (folder / "root").mkdir()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    with HubStandIn(folder / "root") as hub:
        done = subprocess.run(
            [sys.executable, "-m", "tests.open_clip.differential_client", str(folder / "root"), size, *names],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT), **hub.environment(folder / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {answer.pop("name"): answer for answer in found}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return side_by_side(tmp_path_factory.mktemp("small"), "small", SAMPLE)


def check(name: str, found: dict[str, Any]) -> None:
    """The promise, and that the comparison had something to compare."""
    assert "error" not in found, found["error"]
    case = CASES[name]
    assert found["probabilities"] <= 1e-5
    assert found["ensemble"] <= 1e-5
    assert found["pixels_equal"]
    # a hundred tolerances: how far the answers lie apart varies, for the tokenizers that are trained here come out anew each time
    assert found["spread_over_labels"] > 1e-3 and found["spread_over_images"] > 1e-3
    assert min(abs(length - 1) for length in found["lengths"]) > 1e-3  # embeddings come un-normalised, CoCa's too
    assert len(set(found["embed_dims"])) == 1
    sigmoid = "siglip" in name.lower()
    assert found["rule"] == ["sigmoid" if sigmoid else "softmax", pytest.approx(40 if sigmoid else 100)]
    (note,) = found["notes"]
    assert note.startswith("1 of 6 texts cut at ")
    if case.reference:
        assert not found["quick_gelu_warned"]  # so the reference has the activation these weights were trained with
    if case.half:
        assert found["half_agreement"] > 0.99
        assert found["half_scale"] == pytest.approx(found["rule"][1], rel=1e-6)
        assert "torch.bfloat16" in found["half_dtypes"] and found["half_text"] == "torch.float32"


@pytest.mark.full
@pytest.mark.parametrize("name", SAMPLE)
def test_probabilities_equal_the_librarys(name: str, sample: dict[str, dict[str, Any]]) -> None:
    check(name, sample[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_probabilities_equal_the_librarys_at_full_size(name: str, tmp_path: Path) -> None:
    check(name, side_by_side(tmp_path, "whole", [name])[name])
