"""``modelgraft classify --transductive``: answers of the estimator, rows in order, and what cannot be is said before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from modelgraft_adapters import TransductiveZeroShotClassifier

from tests.conftest import Run

LABELS = ["cat", "cup", "orange flower", "rocket"]


def test_rows_are_the_estimators_in_the_order_of_the_items(run: Run, photos: Path) -> None:
    paths = [str(photos / "rocket.jpg"), "nowhere.jpg", *(str(photos / f"{name}.jpg") for name in ("cat", "cup"))]
    done = run("classify", *paths, "--labels", ",".join(LABELS), "--transductive", "class-means", "-f", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and [row["path"] for row in rows] == paths
    assert rows[1]["label"] is None and rows[1]["error"] == "no such file"
    there = [row for row in rows if not row["error"]]
    classifier = TransductiveZeroShotClassifier("embedded/sprig", LABELS, method="class-means")
    wanted = classifier.fit(paths[:1] + paths[2:]).predict_proba(paths[:1] + paths[2:])
    for row, scores in zip(there, wanted, strict=True):
        assert [row["scores"][label] for label in LABELS] == pytest.approx(scores.tolist(), abs=1e-5)
    assert "class-means: fitted to all 3 readable items without labels" in done.stderr
    assert "others than plain zero-shot gives" in done.stderr


def test_one_item_is_plain_zero_shot_and_said(run: Run, photos: Path) -> None:
    command = ("classify", str(photos / "cat.jpg"), "--labels", ",".join(LABELS), "-f", "json")
    plain, done = run(*command), run(*command, "--transductive", "shares")
    assert done.returncode == 0 and done.stdout == plain.stdout
    assert "1 readable item: too few to be a batch, the answers are plain zero-shot" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["magic"], "there are prompt-weights, shares, even-shares, class-means"),
        ([""], "no transductive method ''"),
        (["shares", "--calibrate", "data"], "cannot be combined"),
        (["shares", "--calibrate", "data", "--coverage", "0.9"], "cannot be combined"),
        (["shares", "--coverage", "0.9"], "--calibrate DATA"),
        (["prompt-weights", "--descriptions", "texts.json"], "weighs templates"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run: Run, photos: Path, options: list[str], said: str) -> None:
    done = run("classify", str(photos), "--labels", "cat,cup", "--transductive", *options)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and done.stderr.count("\n") == 1
