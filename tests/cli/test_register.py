"""``modelgraft register``, from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run


def test_register_list_and_remove(run: Run, tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    done = run("register", "birds", "./birds", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "" and done.stderr.startswith("birds means ./birds")
    assert run("register", "tower", "ViT-B-32:openai@abc", cwd=tmp_path).returncode == 0
    listed = run("register", "--list", "--format", "json", cwd=tmp_path)
    assert json.loads(listed.stdout) == [
        {"name": "birds", "target": str(tmp_path.resolve() / "birds")},
        {"name": "tower", "target": "open_clip/ViT-B-32:openai@abc"},
    ]
    table = run("register", "--list", cwd=tmp_path)
    assert table.stdout.splitlines()[1].split() == ["birds", str(tmp_path.resolve() / "birds")]
    assert "2 aliases" in table.stderr
    assert run("register", "--remove", "birds", cwd=tmp_path).returncode == 0
    assert [row["name"] for row in json.loads(run("register", "--list", "-f", "json", cwd=tmp_path).stdout)] == [
        "tower"
    ]


def test_an_empty_project(run: Run, tmp_path: Path) -> None:
    done = run("register", "--list", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout) == [] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give NAME and PATH"),
        (["mine"], "give NAME and PATH"),
        (["mine", "./here", "--list"], "give NAME and PATH"),
        (["mine", "./here", "--remove", "mine"], "give NAME and PATH"),
        (["a/b", "hub:user/repo"], "cannot be an alias"),
        (["sprig", "hub:user/repo"], "already means embedded/sprig"),
        (["mine", "./nowhere"], "there is no folder or file"),
        (["--remove", "mine"], "no alias 'mine'"),
        (["--list", "--format", "xml"], "no format 'xml'"),
    ],
)
def test_wrong_use(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run("register", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_failed_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "modelgraft.json").write_text("{")
    done = run("register", "--list", cwd=tmp_path)
    assert done.returncode == 1 and "modelgraft.json is no JSON (line 1" in done.stderr
