"""``modelgraft multitask`` as a user runs it: a table with a column for each task, a process of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Run

THINGS = {"dog": "animal", "cat": "animal", "horse": "animal", "truck": "vehicle", "ship": "vehicle", "car": "vehicle"}
COLOURS = ("red", "blue", "black")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "things.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "kind", "colour", "letters", "split"])
        for number, (thing, kind) in enumerate(THINGS.items()):
            for colour in COLOURS:
                text = f"a {colour} {thing}"
                test = "test" if (number + len(colour)) % 3 == 0 else "train"
                rows.writerow([text, kind, "" if thing == "horse" else colour, len(text), test])
    return path


@pytest.mark.full
def test_several_tasks_are_trained_tested_saved_and_held_against_each_alone(
    run: Run, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    words = (
        "--tasks",
        "kind,colour",
        "--tasks",
        "letters:regression",
        "--item-column",
        "text",
        "--single-task-baseline",
    )
    how = ("--split-column", "split", "-m", "embedded/sprig", "-s", "full", "--steps", "6", "--sampling", "equal")
    done = run("multitask", str(table), *words, *how, "--save", str(folder), "-f", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (
        found["train"] == 12 and list(found["tasks"]) == ["kind", "colour", "letters"] and found["sampling"] == "equal"
    )
    kinds = {name: task["task"] for name, task in found["tasks"].items()}
    assert kinds == {"kind": "single-label", "colour": "single-label", "letters": "regression"}
    assert found["tasks"]["colour"]["train"] == 10  # horses are of no known colour
    for name, task in found["tasks"].items():
        assert task["test"]["items"] == task["alone"]["items"] == (5 if name == "colour" else 6)
        gain, together, alone = task["gain"], task["test"]["scores"][0], task["alone"]["scores"][0]
        assert gain["value"] == pytest.approx(together["value"] - alone["value"], abs=1e-6)
        assert gain["low"] <= gain["value"] <= gain["high"]
    assert not (folder / "run" / "checkpoint.pt").exists()
    rows = run("predict", "a red dog", "--text", "--model", str(folder / "colour"), "--format", "jsonl")
    assert rows.returncode == 0, rows.stderr
    assert set(json.loads(rows.stdout)["scores"]) == set(COLOURS)
    # The folder is taken again for the same tasks, and for no others.
    other = run("multitask", str(table), "--tasks", "kind,letters:regression", *how, "--save", str(folder))
    assert other.returncode == 2 and "holds 'colour', which is no task of this run" in other.stderr


@pytest.mark.full
def test_the_table_for_people(run: Run, table: Path, tmp_path: Path) -> None:
    """Without a split a part of each class of the first task is drawn to test on."""
    data = tmp_path / "things.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [[row["text"], row["kind"], row["colour"]] for row in csv.DictReader(file)]
    with data.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "kind", "colour"], *rows])
    words = ("--tasks", "kind,colour", "--loss-weights", "kind=1,colour=0.5", "-s", "head-only", "--steps", "2")
    done = run("multitask", str(data), *words, "-m", "embedded/sprig", "--save", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    lines = [line.split("  ", 1) for line in done.stdout.splitlines()]
    shown = {name.strip(): rest.strip() for name, rest in lines if name.strip()}
    assert "14 to train on, 4 to test on, 2 tasks" in shown["data"]
    assert "weight 0.5" in shown["colour"] and shown["strategy"].endswith("proportional sampling")
    assert "chance: 0.500, always" in done.stdout and "sharing" not in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tasks", "kind"], "--tasks takes two columns or more"),
        (["--tasks", "kind,kind"], "--tasks names 'kind' twice"),
        (["--tasks", "kind,run"], "the task 'run' cannot be a folder's name"),
        (["--tasks", "kind,hue"], "hue"),
        (
            ["--tasks", "kind,colour", "--loss-weights", "much"],
            "--loss-weights 'much'; it is uncertainty, sum, or a weight for each task",
        ),
        (["--tasks", "kind,colour", "--sampling", "odd"], "sampling='odd'; it is 'proportional' or 'equal'"),
        (["--tasks", "kind,colour", "--lr", "find"], "--lr find looks at one task"),
        (["--tasks", "kind,colour", "-s", "flyp"], "the strategy flyp trains one task"),
    ],
)
def test_wrong_use_is_a_line_and_two(run: Run, table: Path, tmp_path: Path, words: list[str], says: str) -> None:
    done = run("multitask", str(table), "--item-column", "text", *words, "--save", str(tmp_path / "out"))
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
