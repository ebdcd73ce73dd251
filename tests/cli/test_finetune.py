"""``modelgraft finetune`` as a user runs it: real photographs, a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.adapters.flowers import flowers
from tests.conftest import Run


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=10, test=6)


@pytest.mark.full
def test_train_test_save_predict(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    done = run("finetune", str(data), "--save", str(folder), "--steps", "8", "--tensorboard")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert "50 to train on, 30 to test on, 5 classes" in lines["data"]
    assert lines["strategy"].strip().startswith("lp-ft; ") and "of the frozen model it began as" in lines["probe"]
    assert 0 <= float(lines["accuracy"].split()[0]) <= 1
    assert "step 8 of 8: loss" in done.stderr
    steps = [json.loads(line) for line in (folder / "run" / "steps.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == list(range(1, 9))
    assert set(steps[0]) == {"step", "loss", "accuracy", "lr", "items_per_s"}
    assert list((folder / "run").glob("events.out.tfevents*"))
    assert not (folder / "run" / "checkpoint.pt").exists()  # finished and saved
    picture = next((data / "test" / "rose").iterdir())
    rows = run("predict", str(picture), "--model", str(folder), "--format", "jsonl")
    assert rows.returncode == 0, rows.stderr
    assert set(json.loads(rows.stdout)["scores"]) == {"daisy", "dandelion", "rose", "sunflower", "tulip"}


@pytest.mark.full
def test_json_is_a_contract(run: Run, data: Path, tmp_path: Path) -> None:
    words = ("-s", "last-1", "--steps", "2", "-f", "json", "--zero-shot-on", str(data))
    done = run("finetune", str(data), "--save", str(tmp_path / "a"), *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["strategy"] == "last-1" and found["train"] == 50 and len(found["report"]["losses"]) == 2
    assert found["test"]["scores"][0]["name"] == "accuracy" and found["probe"] is None
    kept = found["zero_shot_elsewhere"]
    assert kept["before"]["items"] == kept["after"]["items"] == 30
    assert found["report"]["chosen"]["steps"] == 2 and found["unreadable"] == {}


@pytest.mark.full
def test_interrupted_by_ctrl_c_and_resumed_to_the_same_result(run: Run, data: Path, tmp_path: Path) -> None:
    words = ["finetune", str(data), "--strategy", "full", "--steps", "30", "--batch-size", "8", "-f", "json", "--save"]
    whole = run(*words, str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "modelgraft", *words, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "run" / "steps.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None and not _lines(log):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and out == "" and "stopped at step" in err and "Traceback" not in err
    assert (folder / "run" / "checkpoint.pt").exists()
    resumed = run(*words, str(folder), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    first, second = json.loads(whole.stdout), json.loads(resumed.stdout)
    assert first["report"]["losses"] == second["report"]["losses"]
    assert first["test"] == second["test"]
    assert "resumed at step" in resumed.stderr


def _lines(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.full
def test_a_rate_is_found_and_a_broken_picture_is_told(run: Run, data: Path, tmp_path: Path) -> None:
    broken = data / "train" / "rose" / "0000_broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    try:
        words = ("-s", "full", "--lr", "find", "--steps", "4", "--batch-size", "16")
        done = run("finetune", str(data), "--save", str(tmp_path / "a"), *words)
        assert done.returncode == 1, done.stderr
        assert "learning rate " in done.stderr and "1 of 81 items could not be read" in done.stderr
        assert str(broken) in done.stderr
    finally:
        broken.unlink()


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--strategy", "some"], "no strategy 'some'; there are: full"),
        (["--set", "layer_decy=1"], "no setting 'layer_decy' of fine-tuning"),
        (["--lr", "much"], "--lr 'much' is no number, and not 'find'"),
        (["--resume"], "there is nothing to resume"),
        (["--format", "xml"], "no format 'xml'; there are table, json"),
    ],
)
def test_wrong_use_is_a_line_and_two(run: Run, data: Path, tmp_path: Path, words: list[str], says: str) -> None:
    done = run("finetune", str(data), "--save", str(tmp_path / "out"), *words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
