"""``modelgraft list`` from the outside: conditions, order, columns, what is said beside the data."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.conftest import Run

ZERO_SHOT = "ImageNet-1k zero-shot top-1 (%)"


def test_sorted_by_score_means_something(run: Run) -> None:
    done = run("list", "--sort", "score", "--task", "zero-shot", "--modality", "image", "--limit", "5", "-f", "json")
    scores = [entry["metrics"][ZERO_SHOT] for entry in json.loads(done.stdout)]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True) and scores[0] > 80 and done.stderr == ""
    table = run("list", "--sort", "score", "--task", "zero-shot", "--modality", "image", "--limit", "5")
    head, first, *_ = table.stdout.splitlines()
    assert head.split()[-2:] == ["benchmark_score", "benchmark"]
    assert first.endswith(ZERO_SHOT) and f" {scores[0]:g} " in first
    assert table.stderr == "5 of 197 models\n"


def test_two_benchmarks_in_one_list_are_kept_apart_and_said(run: Run) -> None:
    done = run("list", "--sort", "score", "--task", "zero-shot", "--columns", "name,benchmark", "-f", "csv")
    benchmarks = [row["benchmark"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert benchmarks == sorted(benchmarks[:173], key=lambda name: name != ZERO_SHOT) + [""] * (len(benchmarks) - 173)
    [line] = done.stderr.splitlines()
    assert "2 benchmarks, which do not compare" in line and f"{ZERO_SHOT}: 137" in line and "--benchmark" in line


def test_every_condition_at_once(run: Run) -> None:
    conditions = (
        "--provider timm --modality image --task classification --licence commercial --min-params 20M --max-params 400M"
    )
    more = "--embed-dim 768 --input-size 224x224 --min-score 80 --sort -params --limit 3 --format json"
    done = run("list", "*vit*", *conditions.split(), *more.split())
    found = json.loads(done.stdout)
    assert len(found) == 3 and done.returncode == 0
    for entry in found:
        assert entry["provider"] == "timm" and "vit" in entry["name"] and 20e6 <= entry["params"] <= 400e6
        assert entry["embed_dim"] == 768 and entry["input_size"] == [3, 224, 224]
        assert entry["metrics"]["ImageNet-1k top-1 (%)"] >= 80
    assert [e["params"] for e in found] == sorted((e["params"] for e in found), reverse=True)


def test_columns_choose_what_is_shown_in_every_format(run: Run) -> None:
    arguments = ("list", "resnet18", "--columns", "name,weights,default,benchmark_score")
    records = json.loads(run(*arguments, "-f", "json").stdout)
    assert all(list(record) == ["name", "weights", "default", "benchmark_score"] for record in records)
    lines = run(*arguments, "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == records
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "-f", "csv").stdout)))
    assert [row["name"] for row in rows] == [record["name"] for record in records]
    table = run(*arguments).stdout.splitlines()
    assert table[0].split() == ["name", "weights", "default", "benchmark_score"] and len(table) == len(records) + 1
    assert run("list", "--columns", "name,provider,modality,tasks,metrics,aliases", "--limit", "3").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "name,size"], "no column 'size'"),
        (["--columns", ","], "--columns is empty"),
        (["--sort", "size"], "no sort 'size'"),
        (["--input-size", "big"], "no image size 'big'"),
        (["--limit", "0"], "--limit"),
        (["--benchmark", "no such"], "no published benchmark"),
        (["--min-score", "high"], "--min-score"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], said: str) -> None:
    done = run("list", *arguments)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "" and "Traceback" not in done.stderr


def test_a_retired_name_costs_one_line_on_standard_error(run: Run) -> None:
    done = run("info", "timm/convnext_tiny_in22ft1k", "-f", "json")
    new = "timm/convnext_tiny:fb_in22k_ft_in1k"
    assert done.returncode == 0 and json.loads(done.stdout)["name"] == new
    [line] = done.stderr.splitlines()
    assert line.startswith("modelgraft: warning: 'timm/convnext_tiny_in22ft1k'") and new in line
    assert run("info", new).stderr == ""


def test_info_shows_the_published_figures_and_what_the_licence_permits(run: Run) -> None:
    said = run("info", "timm/convnext_tiny:fb_in22k_ft_in1k").stdout
    assert "ImageNet-1k top-1 (%)=82.9" in said
    assert "commercial use: permitted" in said
    assert "commercial use: not permitted" in run("info", "timm/convnextv2_tiny:fcmae").stdout
    assert "licence_note" not in json.loads(run("info", "timm/resnet18", "-f", "json").stdout)
