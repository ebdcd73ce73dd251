"""``modelgraft gap`` from the outside: its table, its JSON, its page, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two classes of nearly one colour each: ``day``, ``other`` like it, ``night`` darker; texts."""
    root = tmp_path_factory.mktemp("sides")
    rng = np.random.default_rng(0)
    for side, light in (("day", 1.0), ("other", 1.0), ("night", 0.35)):
        for name, colour in COLOURS.items():
            (root / side / name).mkdir(parents=True)
            for n in range(30):
                pixels = np.array(colour) * light + rng.integers(-12, 13, (24, 24, 3)) + rng.normal(0, 15, 3)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / side / name / f"{n}.png")
    (root / "few").mkdir()
    for n in range(3):
        (root / "few" / f"{n}.png").write_bytes((root / "day" / "red" / f"{n}.png").read_bytes())
    (root / "texts.csv").write_text("text,label\n" + "".join(f"a line of {n},x\n" for n in range(12)))
    return root


@pytest.mark.full
def test_the_table_and_the_page(run: Run, place: Path, tmp_path: Path) -> None:
    page = tmp_path / "gap.html"
    done = run("gap", str(place / "day"), str(place / "night"), "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert "There is a large gap (p = 0.001)" in done.stdout and "strangest target item" in done.stdout
    assert f"report in {page}" in done.stderr and "Traceback" not in done.stderr
    text = page.read_text()
    assert "From day to night" in text and text.count("data:image/jpeg") == 10 and "Class by class" in text


@pytest.mark.full
def test_json_is_a_contract(run: Run, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "gap.json"
    done = run("gap", str(place / "day"), str(place / "other"), "--strangest", "2", "-o", str(out))
    assert done.returncode == 0 and done.stdout == "", done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {
        *("model", "layer", "modality", "seed", "source", "target", "compared", "gap", "level", "verdict", "mmd"),
        *("a_distance", "frechet", "labels", "classes", "only_in_target", "strange", "strangest", "shared"),
        *("unreadable", "notes"),
    }
    assert set(found["mmd"]["rbf"]) == {"value", "biased", "bandwidth", "p_value", "permutations"}
    assert set(found["a_distance"]) == {"value", "low", "high", "error"}
    assert set(found["frechet"]) == {"value", "by_chance", "beyond_chance", "of_means"}
    assert set(found["labels"]) == {"how", "p_value", "explains_p_value", "dependable", "shares"}
    assert set(found["labels"]["shares"][0]) == {"class", "source", "target", "low", "high"}
    assert set(found["classes"][0]) == {"class", "source", "target", "mmd", "p_value"}
    assert set(found["strangest"][0]) == {"item", "distance", "ood"} and len(found["strangest"]) == 2
    assert found["gap"] is False and found["labels"]["how"] == "counted" and found["source"] == {"items": 60}
    again = run("gap", str(place / "day"), str(place / "other"), "--strangest", "2", "--format", "json")
    assert json.loads(again.stdout) == found, "one seed, one result"


@pytest.mark.full
def test_items_that_cannot_be_read_and_one_place_twice(run: Run, place: Path, tmp_path: Path) -> None:
    for n in range(12):
        (tmp_path / f"{n}.png").write_bytes((place / "day" / "red" / f"{n}.png").read_bytes())
    (tmp_path / "broken.png").write_text("no image")
    done = run("gap", str(tmp_path), str(tmp_path), "-f", "json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert [row["error"] for row in found["unreadable"]] == ["not an image of a format that is read"]
    assert "source and target are the same place" in done.stderr and "items could not be read" in done.stderr
    assert found["verdict"] == ["All target items are in the source too: nothing is compared with anything else."]


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("day", "few", (), "the target has 3 items, and at least 10 are needed; give more"),
        ("day", "texts.csv", (), "holds images and"),
        ("day", "absent", (), "absent"),
        ("few", "day", ("--labels",), "the source has 3 items"),
        ("day", "other", ("--format", "xml"), "no format 'xml'"),
        ("day", "other", ("-o", "absent/out.json"), "the folder of 'absent/out.json' does not exist"),
        ("day", "other", ("--model", "no-such-model"), "no-such-model"),
    ],
)
def test_wrong_use_ends_with_2_and_one_line(
    run: Run, place: Path, source: str, target: str, options: tuple[str, ...], message: str
) -> None:
    done = run("gap", str(place / source), str(place / target), *options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not done.stdout
