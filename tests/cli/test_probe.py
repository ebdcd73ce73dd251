"""``modelgraft probe`` as a user runs it: real photographs, a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adapters.flowers import flowers
from tests.conftest import Run


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=20, test=10)


@pytest.mark.full
def test_a_table_then_json_from_stored_features(run: Run, data: Path) -> None:
    first = run("probe", str(data))
    assert first.returncode == 0, first.stderr
    lines = dict(line.split("  ", 1) for line in first.stdout.splitlines())
    assert "100 to train on, 50 to test on, 5 classes" in lines["data"]
    assert lines["head"].strip().startswith("linear; C = ")
    second = run("probe", str(data), "--format", "json")
    found = json.loads(second.stdout, parse_constant=pytest.fail)  # NaN is not JSON
    assert found["encoded"] == 0
    assert found["task"] == "single-label" and len(found["classes"]) == 5
    accuracy = found["test"]["scores"][0]
    assert accuracy["name"] == "accuracy" and accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert f"{accuracy['value']:.3f}" in first.stdout
    assert accuracy["low"] > found["chance"]["value"]
    assert found["zero_shot"]["scores"][0]["value"] > found["chance"]["value"]
    assert found["report"]["certificate"] <= 1e-6


def test_few_shots_settings_and_a_report(run: Run, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("probe", str(data), "--head", "knn", "--set", "k=1", "--shots", "2", "--report", str(page), "-f", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["train"] == 10 and found["report"]["chosen"]["k"] == 1
    assert page.read_text().lower().startswith("<!doctype html>")


def test_a_broken_picture_is_said_and_the_exit_code_is_one(run: Run, data: Path) -> None:
    broken = next((data / "test").iterdir()) / "0000_broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    try:
        done = run("probe", str(data), "--format", "json")
        assert done.returncode == 1
        assert list(json.loads(done.stdout)["unreadable"]) == [str(broken)]
        assert "1 of 151 items could not be read" in done.stderr
    finally:
        broken.unlink()


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere/"], "nowhere"),
        (["DATA", "--head", "lineal"], "no installed plugin brings a head 'lineal'"),
        (["DATA", "--set", "C"], "NAME=VALUE"),
        (["DATA", "--set", "K=3"], "has no setting 'K'"),
        (["DATA", "--head", "label-spreading"], "unlabelled"),
        (["DATA", "--report", "no/such/folder/x.html"], "does not exist"),
    ],
)
def test_wrong_use_is_one_line_and_two(run: Run, data: Path, words: list[str], says: str) -> None:
    done = run("probe", *[str(data) if word == "DATA" else word for word in words])
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and says in errors[0]
    assert "Traceback" not in done.stderr
