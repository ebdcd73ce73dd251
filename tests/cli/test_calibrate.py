"""``modelgraft calibrate``, ``--calibrate`` and ``--coverage`` from the outside."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from modelgraft_adapters import FrozenAdapter
from PIL import Image

from tests.conftest import Run


def parts(photos: Path, folder: Path, count: int, offset: int) -> Path:
    """A folder per class with parts of two photographs that overlap in none."""
    for name in ("cat", "rocket"):
        whole = Image.open(photos / f"{name}.jpg").convert("RGB").resize((160, 160))
        (folder / name).mkdir(parents=True)
        for n in range(count):
            x, y = (7 * (n + offset)) % 112, (29 * (n + offset)) % 112
            whole.crop((x, y, x + 48, y + 48)).save(folder / name / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def held(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts(photos, tmp_path_factory.mktemp("held") / "data", 12, 100)


@pytest.fixture(scope="module")
def saved(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    adapter = FrozenAdapter("embedded/sprig", "prototype", device="cpu", n_folds=2)
    return adapter.fit(parts(photos, folder / "data", 10, 0)).save(folder / "it")


def test_an_adapter_is_calibrated_and_gives_sets(
    run: Run, saved: Path, held: Path, photos: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    done = run("calibrate", str(saved), str(held), "--save", str(new), "--format", "json")
    assert done.returncode == 0 and f"saved to {new}" in done.stderr
    found = json.loads(done.stdout)
    assert found["source"] == "24 items" and found["items"] == 24 and found["temperature"] > 0
    assert found["coverage"] == 0.9 and 0.7 <= found["covered"] <= 1 and found["covered_low"] < found["covered"]
    items = [str(photos / f"{name}.jpg") for name in ("cat", "rocket")]
    rows = json.loads(run("predict", *items, "--model", str(new), "--coverage", "0.9", "-f", "json").stdout)
    assert all(set(row["set"]) <= {"cat", "rocket"} for row in rows)
    expected = FrozenAdapter.load(new, device="cpu").predict_set(items, 0.9)
    assert [len(row["set"]) for row in rows] == expected.sum(axis=1).tolist()
    out = tmp_path / "rows.csv"
    assert run("predict", *items, "--model", str(new), "--coverage", "0.9", "-o", str(out)).returncode == 0
    assert [row["set"] for row in csv.DictReader(out.open())] == ["|".join(row["set"]) for row in rows]
    plain = json.loads(run("predict", *items, "--model", str(new), "-f", "json").stdout)
    assert "set" not in plain[0] and plain[0]["scores"] == rows[0]["scores"]


def test_what_cannot_be_is_said_before_the_work(
    run: Run, saved: Path, held: Path, photos: Path, tmp_path: Path
) -> None:
    item = str(photos / "cat.jpg")
    for command, said in (
        (["predict", item, "--model", str(saved), "--coverage", "0.9"], "not calibrated"),
        (["predict", item, "--model", str(saved), "--coverage", "1.5"], "coverage=1.5"),
        (["classify", item, "--labels", "cat,dog", "--coverage", "0.9"], "--calibrate DATA"),
        (["calibrate", str(saved), str(held), "--save", str(tmp_path), "--coverage", "0"], "coverage=0"),
        (["calibrate", str(saved), str(held), "--save", str(tmp_path / "x"), "--split", "val"], "no split 'val'"),
        (["calibrate", str(saved), str(saved.parent / "data"), "--save", str(tmp_path / "x")], "were trained on"),
    ):
        done = run(*command)
        assert done.returncode == 2 and said in done.stderr and done.stdout == "", (command, done.stderr)
    assert not (tmp_path / "x").exists()


def test_zero_shot_is_calibrated(run: Run, held: Path, photos: Path) -> None:
    command = ["classify", str(photos / "cat.jpg"), "--labels", "cat,rocket", "--calibrate", str(held), "-f", "json"]
    done = run(*command, "--coverage", "0.9")
    assert done.returncode == 0 and "calibrated on 24 items: temperature " in done.stderr
    assert set(json.loads(done.stdout)[0]["set"]) <= {"cat", "rocket"}
    few = run(*command, "--coverage", "0.99")
    assert few.returncode == 2 and "takes at least 99 items" in few.stderr


def test_a_probe_is_calibrated_by_its_folds(run: Run, held: Path, tmp_path: Path) -> None:
    command = ["probe", str(held), "--model", "embedded/sprig", "--set", "C=1", "--calibrate"]
    done = run(*command, "--save", str(tmp_path / "it"))
    assert done.returncode == 0 and "temperature" in done.stdout and "sets of 90%" in done.stdout
    assert FrozenAdapter.load(tmp_path / "it").check_calibration().source == "folds of 19 training items"
    assert json.loads(run(*command, "-f", "json").stdout)["calibration"]["measured_on"] == "the test items"
