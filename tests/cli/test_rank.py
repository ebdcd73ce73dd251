"""``modelgraft rank`` as a user runs it: table, JSON, CSV, report, downloads that are asked about first, wrong use."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.cli.rank import parse_bytes
from modelgraft_adapters.cli.rank_table import WIDE, table
from modelgraft_adapters.ranking.results import COLUMNS

from tests.adapters.flowers import flowers
from tests.adapters.ranking.images import made_up
from tests.conftest import ROOT, Run
from tests.hub_standin import HubStandIn


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=8, test=2)


@pytest.mark.full
def test_table_report_csv_and_json(run: Run, data: Path, tmp_path: Path) -> None:
    words = [
        "rank",
        str(data),
        "-m",
        "embedded/sprig",
        "--layer",
        "default",
        "--layer",
        "unprojected",
        "--device",
        "cpu",
    ]
    done = run(*words, "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    assert "40 items to train on, 5 classes; by accuracy of k-NN" in done.stdout
    assert "candidates: 2 on 40 items" in done.stdout and "more labels, " in done.stdout
    assert "2 candidates on 40 items" in done.stderr and "Traceback" not in done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "modelgraft rank" in page and "<script" not in page and "What more labels may bring" in page
    done = run(*words, "-o", str(tmp_path / "out.csv"), "--no-control")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == list(COLUMNS) and [row["rank"] for row in rows] == ["1", "2"]
    done = run(*words, "-f", "json", "--by", "probe", "--no-halving")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["by"] == "probe" and len(found["rows"]) == 2 and found["rungs"] == [{"items": 40, "candidates": 2}]
    assert {"score", "values", "seconds_per_item", "licence", "control", "pareto"} <= set(found["rows"][0])


@pytest.mark.full
def test_what_would_be_downloaded_is_said_and_nothing_is_fetched(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "timm" / "test_vit.r160_in1k"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(os.urandom(300_000))
    (tmp_path / "home").mkdir()
    with HubStandIn(tmp_path / "hub") as hub:
        env = {**hub.environment(tmp_path / "home"), "MODELGRAFT_CACHE": str(tmp_path / "mg")}
        words = ["rank", str(data), "-m", "timm/test_vit:r160_in1k", "-m", "embedded/sprig", "--device", "cpu"]
        done = run(*words, "--max-download", "200kB", env=env)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert "300.0 kB in all, more than --max-download 200.0 kB: timm/test_vit:r160_in1k (300.0 kB)" in done.stderr
        assert not hub.seen("*/model.safetensors", "GET")
        # Allowed, it is named before it is fetched; these weights are none, which is one row's affair.
        done = run(*words, "--max-download", "1MB", "--no-control", env=env)
        assert done.returncode == 1 and "to download: timm/test_vit:r160_in1k, 300.0 kB" in done.stderr
        assert "failed: " in done.stdout and "sprig" in done.stdout and "Traceback" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no models to rank"),
        (["-m", "embedded/sprog"], "did you mean embedded/sprig"),
        (["-m", "nothing-*"], "no model for images matches"),
        (["-m", "sprig", "--by", "best"], "no score 'best'"),
        (["-m", "sprig", "--max-download", "much"], "takes a size such as 2GB"),
        (["-m", "sprig", "-f", "xml"], "no format 'xml'"),
        (["-m", "sprig", "--max-params", "few"], "takes a number such as 30M"),
        (["-m", "sprig", "--report", "no/such/folder/r.html"], "does not exist"),
    ],
)
def test_wrong_use_is_a_line_and_two(run: Run, data: Path, words: list[str], says: str) -> None:
    done = run("rank", str(data), *words)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.full
def test_texts_with_an_image_model_and_one_class(run: Run, tmp_path: Path) -> None:
    lines = [f"text number {n},{'ab'[n % 2]}" for n in range(12)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    done = run("rank", str(tmp_path / "texts.csv"), "-m", "timm/resnet18:a1_in1k")
    assert done.returncode == 2 and "reads images, not texts" in done.stderr
    (tmp_path / "one.csv").write_text("text,label\n" + "\n".join(f"text {n},a" for n in range(12)) + "\n")
    done = run("rank", str(tmp_path / "one.csv"), "-m", "sprig")
    assert done.returncode == 2 and "two classes are needed" in done.stderr


def test_the_table_fits_and_says_what_its_marks_mean() -> None:
    text = table(made_up(), "data")
    assert all(len(line) <= WIDE for part in text.split("\n\n")[1:3] for line in part.splitlines())
    assert "best *" in text and "0.950 !" in text and "transfer hurts" in text
    assert "broken  failed: its process ended by signal 9" in text and "-: no layer" in text
    assert "500 items of 600" in text and "400 labels 0.920 (0.880 to 0.950)" in text
    assert "\x1b" not in table(made_up("\x1b[31m"), "data")


def test_sizes() -> None:
    assert [parse_bytes(text) for text in ("2GB", "500 MB", "1.5G", "1000", "0")] == [2e9, 5e8, 1.5e9, 1000, 0]
    for text in ("", "much", "-1GB", "B", "nan", "infGB"):
        with pytest.raises(UsageError, match="such as 2GB"):
            parse_bytes(text)


def test_every_key_of_the_record_is_described() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    part = page[page.index("## Ranking models") : page.index("## Saved adapters")]
    record = made_up().record()
    missing = [key for key in (*record, *record["rows"][0]) if f"`{key}`" not in part]
    assert not missing
