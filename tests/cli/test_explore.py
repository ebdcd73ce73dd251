"""``modelgraft explore`` from the outside: its table, its JSON, its page, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of nearly one colour each."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("green", (30, 160, 60)), ("blue", (40, 60, 200))):
        (root / name).mkdir()
        for n in range(8):
            pixels = np.array(colour) + rng.integers(-12, 13, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{n}.png")
    return root


def test_the_table_and_the_page(run: Run, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "seen.html"
    done = run("explore", str(folder), "--like", str(folder / "red" / "0.png"), "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "accuracy 1.000" in done.stdout and "3 (as many as classes)" in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["cosine", "label"] for line in lines)
    assert "<!DOCTYPE html>" in page.read_text()


def test_json_is_a_contract(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.json"
    done = run("explore", str(folder), "--clusters", "2", "--outliers", "1", "-o", str(out))
    assert done.returncode == 0 and done.stdout == "", done.stderr
    seen = json.loads(out.read_text())
    assert set(seen) == {
        *(
            "model",
            "layer",
            "modality",
            "items",
            "numbers",
            "whitened",
            "seed",
            "clustering",
            "map",
            "points",
            "outliers",
        ),
        *("duplicates", "neighbours", "unreadable", "notes"),
    }
    assert set(seen["clustering"]) == {
        *("method", "k", "chosen_by", "tried", "objective", "silhouette", "accuracy", "nmi", "ari", "clusters"),
    }
    assert seen["clustering"]["k"] == 2 and seen["clustering"]["chosen_by"] == "given"
    assert set(seen["points"][0]) == {"item", "x", "y", "cluster", "label"} and len(seen["points"]) == 24
    assert set(seen["outliers"][0]) == {"item", "score"}
    again = run("explore", str(folder), "--clusters", "2", "--outliers", "1", "--format", "json")
    assert json.loads(again.stdout) == seen, "one seed, one result"


def test_an_item_that_cannot_be_read_leaves_with_1(run: Run, folder: Path, tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n}.png").write_bytes((folder / "red" / f"{n}.png").read_bytes())
    (tmp_path / "broken.png").write_text("no image")
    done = run("explore", str(tmp_path), "-f", "json")
    assert done.returncode == 1
    assert [row["error"] for row in json.loads(done.stdout)["unreadable"]] == ["not an image of a format that is read"]
    assert "1 of 5 items could not be read" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "fuzzy"), "no --method 'fuzzy'"),
        (("--map", "tsne"), "no --map 'tsne'"),
        (("--format", "xml"), "no format 'xml'"),
        (("-o", "absent/out.json"), "the folder of 'absent/out.json' does not exist"),
        (("--clusters", "25"), "25 clusters of 24 items"),
        (("--like", "absent.png"), "neighbours of 'absent.png': no such file"),
    ],
)
def test_wrong_use_leaves_with_2_and_one_line(run: Run, folder: Path, options: tuple[str, ...], message: str) -> None:
    done = run("explore", str(folder), *options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not done.stdout
