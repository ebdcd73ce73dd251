"""``modelgraft adapt`` from the outside: its table, its JSON, what it saves, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``lamp``: three folders of colours; ``sun``: the same under another light; ``plain``: of these without folders."""
    root = tmp_path_factory.mktemp("domains")
    rng = np.random.default_rng(0)
    for name, light in (("lamp", 0), ("sun", 60), ("plain", 60)):
        for colour, pixel in (("red", (170, 40, 40)), ("green", (40, 150, 60)), ("blue", (50, 60, 170))):
            folder = root / name / (colour if name != "plain" else "")
            folder.mkdir(parents=True, exist_ok=True)
            for n in range(8):
                pixels = np.array(pixel) + light + rng.integers(-25, 26, (32, 32, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{colour}{n}.png")
    (root / "texts.csv").write_text("text,label\n" + "".join(f"a text {n},{'xy'[n % 2]}\n" for n in range(10)))
    (root / "one").mkdir()
    (root / "one" / "red").mkdir()
    for n in range(6):
        (root / "one" / "red" / f"{n}.png").write_bytes((root / "sun" / "red" / f"red{n}.png").read_bytes())
    return root


def test_the_table_and_what_is_saved(run: Run, domains: Path, tmp_path: Path) -> None:
    done = run("adapt", "lamp", "sun", "--method", "coral", "--set", "C=1", "--save", str(tmp_path / "it"), cwd=domains)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line[:1] != " "] == [
        *("source", "target", "model", "method", "source-only", "coral", "scored", "cost")
    ]
    assert (
        "their labels were looked at now, for the first time" in done.stdout and "to source-only (95 %:" in done.stdout
    )
    assert "adapted to 24 items of the target without labels by coral" in done.stderr
    asked = run("predict", "plain", "--model", str(tmp_path / "it"), "-f", "json", cwd=domains)
    assert asked.returncode == 0 and len(json.loads(asked.stdout)) == 24, asked.stderr


def test_json_is_a_contract(run: Run, domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted.json"
    words = ("--labelled-target", "sun", "--set", "C=1", "-f", "json", "-o", str(out))
    done = run("adapt", "lamp", "plain", *words, cwd=domains)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {
        *(
            "model",
            "precision",
            "engine",
            "classes",
            "train",
            "target_items",
            "scored_on",
            "method",
            "results",
            "report",
        ),
        *("unreadable", "encoded", "seconds", "peak_mib", "notes"),
    }
    assert found["scored_on"] == "labelled target" and found["target_items"] == 24
    assert [one["method"] for one in found["results"]] == [
        *("source-only", "mean-shift", "coral", "importance", "self-training")
    ]
    assert set(found["results"][1]) == {"method", "source", "target", "gain"}
    assert set(found["results"][1]["gain"]) == {"value", "low", "high", "p"}
    adaptation = found["report"]["adaptation"]
    assert adaptation["method"] == found["method"]
    assert set(adaptation["chosen_by"]["measures"]["coral"]) == {"way_back", "neighbours", "ratio", "low", "high"}


def test_a_target_of_one_class_and_one_without_labels(run: Run, domains: Path) -> None:
    done = run("adapt", "lamp", "one", "--set", "C=1", cwd=domains)
    assert done.returncode == 0, done.stderr
    done = run("adapt", "lamp", "plain", "--method", "mean-shift", "--set", "C=1", cwd=domains)
    assert done.returncode == 0 and "the target has no labels" in done.stdout, done.stderr


def test_a_network_is_adapted_and_saved(run: Run, domains: Path, tmp_path: Path) -> None:
    words = ("--method", "tent", "--set", "C=1", "--set", "lr=0.001", "--save", str(tmp_path / "it"))
    done = run("adapt", "lamp", "sun", *words, cwd=domains)
    assert done.returncode == 0 and "\ntent " in done.stdout, done.stderr
    asked = run("predict", "plain", "--model", str(tmp_path / "it"), "-f", "json", cwd=domains)
    assert asked.returncode == 0 and len(json.loads(asked.stdout)) == 24, asked.stderr


@pytest.mark.parametrize("method", ["deep-coral", "dann"])
def test_a_network_is_trained_on_both_domains_and_saved(method: str, run: Run, domains: Path, tmp_path: Path) -> None:
    settings = ("--set", "C=1", "--set", "steps=2", "--set", "strategy=last-1", "--set", "semi_weight=0.5")
    words = ("--method", method, *settings, "-f", "json", "--save", str(tmp_path / "it"))
    done = run("adapt", "lamp", "sun", *words, cwd=domains)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["method"] for one in found["results"]] == ["source-only", method] and found["method"] == method
    adaptation = {"method": method, "target_items": 24, "steps": 2, "strategy": "last-1", "semi_weight": 0.5}
    assert found["report"]["adaptation"] == adaptation
    assert f"adapted to 24 items of the target without labels by {method}" in done.stderr
    asked = run("predict", "plain", "--model", str(tmp_path / "it"), "-f", "json", cwd=domains)
    assert asked.returncode == 0 and len(json.loads(asked.stdout)) == 24, asked.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lamp", "sun", "--method", "corral"), "no way of adapting 'corral'; there are auto, source-only"),
        (("lamp", "sun", "--set", "shrinkag=1"), "--set shrinkag: auto has no such setting"),
        (("lamp", "sun", "--method", "coral", "--set", "shrinkage=3"), "a number from 0 to 1"),
        (("texts.csv", "texts.csv", "--method", "adabn", "-m", "embedded/sprig"), "adapted for images"),
        (("texts.csv", "texts.csv", "--method", "dann", "-m", "embedded/sprig"), "dann trains a network on images"),
        (("lamp", "sun", "--method", "dann", "--set", "semi_weight=-1"), "semi_weight must be 0 or more"),
        (("lamp", "sun", "--method", "deep-coral", "--set", "clip=1"), "--set clip: deep-coral has no such setting"),
        (("lamp", "sun", "--method", "adabn", "--set", "lr=1"), "adabn has no such setting"),
        (("lamp", "texts.csv"), "the source holds images and the target texts"),
        (("plain", "sun"), "no item has a label|none of the 24 items has a label"),
        (("one", "sun"), "two classes are needed"),
        (("lamp", "nowhere"), "no file or folder 'nowhere'"),
        (("lamp", "plain", "--labelled-target", "plain"), "no item with a label"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: tuple[str, ...], said: str, run: Run, domains: Path, tmp_path: Path
) -> None:
    import re

    done = run("adapt", *words, "--save", str(tmp_path / "it"), cwd=domains)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert re.search(said, done.stderr) and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "it").exists()
