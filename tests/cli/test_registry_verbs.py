"""``modelgraft list``, ``info``, ``plugins``, ``--version`` and completion, from the outside."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from tests.conftest import Run

KEYS = {"name", "provider", "modality", "tasks", "params", "embed_dim", "input_size", "licence"}


def test_list_json_is_the_contract(run: Run) -> None:
    done = run("list", "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    entries = json.loads(done.stdout)
    assert len(entries) >= 1826 + 196 + 2
    assert all(entry.keys() >= KEYS for entry in entries)
    assert len({entry["name"] for entry in entries}) == len(entries)
    assert {entry["provider"] for entry in entries} >= {"timm", "open_clip", "sentence-transformers", "embedded"}
    names = [entry["name"].lower() for entry in entries]
    assert names == sorted(names)


def test_formats_agree(run: Run) -> None:
    arguments = ("list", "*dino*", "--modality", "image", "--max-params", "30M")
    entries = json.loads(run(*arguments, "--format", "json").stdout)
    assert entries and all(entry["params"] <= 30e6 for entry in entries)
    names = [entry["name"] for entry in entries]
    assert run(*arguments, "--format", "names").stdout.splitlines() == names
    assert [json.loads(line) for line in run(*arguments, "--format", "jsonl").stdout.splitlines()] == entries
    assert [row["name"] for row in csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout))] == names
    table = run(*arguments)
    assert [line.split()[0] for line in table.stdout.splitlines()[1:]] == names
    assert table.stderr == f"{len(names)} models\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--task", "magic"], "no task 'magic'"),
        (["list", "--modality", "smell"], "no modality 'smell'"),
        (["list", "--max-params", "many"], "takes a number"),
        (["list", "--format", "xml"], "no format 'xml'"),
        (["info", "resnet5O"], "did you mean"),
        (["info", "open_clip/ViT-B-32"], "names"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "" and "Traceback" not in done.stderr


def test_nothing_found_is_an_empty_list(run: Run) -> None:
    done = run("list", "no-such-model-anywhere", "--format", "json")
    assert done.returncode == 0 and json.loads(done.stdout) == []


def test_info_by_name_alias_and_short_name(run: Run) -> None:
    name = "open_clip/ViT-B-32:laion2b_s34b_b79k"
    by_name = json.loads(run("info", name, "--format", "json").stdout)
    assert by_name["name"] == name and by_name["embed_dim"] == 512 and by_name["input_size"] == [3, 224, 224]
    for other in ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32:laion2b_s34b_b79k"):
        assert json.loads(run("info", other, "--format", "json").stdout) == by_name
    assert "151," in run("info", name).stdout


def test_plugins_json_is_the_contract(run: Run) -> None:
    reports = json.loads(run("plugins", "--format", "json").stdout)
    assert all(report.keys() >= {"name", "distribution", "version", "status", "error"} for report in reports)
    own = {r["name"]: r["status"] for r in reports if r["distribution"] == "modelgraft"}
    names = ("adapters", "embedded", "engines", "heads", "open_clip", "sentence-transformers", "sources", "timm")
    assert own == dict.fromkeys(names, "ok")


@pytest.mark.full
def test_version_and_help(run: Run) -> None:
    from modelgraft import __version__

    assert run("--version").stdout == f"modelgraft {__version__}\n"
    for verb in ("list", "info", "plugins", "pull", "cache", "lock", "register", "doctor", "classify"):
        assert verb in run("--help").stdout
        assert "Usage:" in run(verb, "--help").stdout


def test_completion_of_model_names(run: Run) -> None:
    done = run(
        env={
            "_MODELGRAFT_COMPLETE": "complete_bash",
            "COMP_WORDS": "modelgraft info open_clip/ViT-B-32:la",
            "COMP_CWORD": "2",
        }
    )
    assert "open_clip/ViT-B-32:laion2b_s34b_b79k" in done.stdout.split()


def test_listing_imports_no_torch_and_no_model_library() -> None:
    code = (
        "import sys, modelgraft as mg\n"
        "mg.list_models('*dino*', modality='image'); mg.model_info('timm/resnet50'); mg.plugins()\n"
        "from modelgraft.cli.main import main\n"
        "try: main(['list'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'timm', 'open_clip', 'transformers', 'numpy', 'PIL', 'pydantic'}\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_reader_that_stops_early_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m modelgraft list | head -1", shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "Error" not in done.stderr and "Traceback" not in done.stderr


def test_debug_shows_the_traceback(run: Run) -> None:
    assert "Traceback" in run("info", "resnet5O", "--debug").stderr
    assert "Traceback" in run("info", "resnet5O", env={"MODELGRAFT_DEBUG": "1"}).stderr


def test_an_unwritable_cache_costs_time_only(run: Run, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = run("list", "--format", "json", env={"MODELGRAFT_CACHE": str(blocked / "cache")})
    assert done.returncode == 0 and json.loads(done.stdout)
