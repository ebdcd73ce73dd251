"""An alias that hides a name of the catalogue, or leads out of the project, is told each time it is used."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import modelgraft
import pytest
from modelgraft.errors import HiddenNameWarning
from modelgraft.project import local_names

from tests.conftest import Run


def alias(folder: Path, **names: str) -> None:
    (folder / "modelgraft.json").write_text(json.dumps({"modelgraft": 1, "aliases": names}))


@pytest.mark.parametrize("name", ["resnet50", "all-MiniLM-L6-v2"])
def test_a_hidden_catalogue_name_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias(tmp_path, **{name: "open_clip/ViT-B-32:openai"})
    monkeypatch.chdir(tmp_path)
    with pytest.warns(
        HiddenNameWarning, match=rf"'{name}' means open_clip/ViT-B-32:openai here, by .*modelgraft.json, and not "
    ):
        assert modelgraft.resolve(name).name == "open_clip/ViT-B-32:openai"
    # Taken out, nobody is told.
    monkeypatch.setattr(local_names, "_in_catalogue", lambda name: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modelgraft.resolve(name).name == "open_clip/ViT-B-32:openai"


def test_on_standard_error_once_and_from_a_checkout_above(run: Run, tmp_path: Path) -> None:
    """The file lies at the top of somebody's checkout, and the command is given deep inside."""
    (tmp_path / ".git").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    alias(tmp_path, sprig="open_clip/ViT-B-32:openai", mine="embedded/sprig")
    done = run("info", "sprig", "--format", "json", cwd=deep)
    assert done.returncode == 0 and json.loads(done.stdout)["name"] == "open_clip/ViT-B-32:openai"
    (line,) = done.stderr.splitlines()
    assert line.startswith("modelgraft: warning: 'sprig' means") and line.endswith("and not embedded/sprig")
    plain = run("info", "mine", "--format", "json", cwd=deep)
    assert plain.returncode == 0 and plain.stderr == ""


def test_an_alias_that_leaves_the_project_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.mkdir()
    (project / "link").symlink_to(outside)
    alias(project, up="../outside", link="./link", inside="./here", place="file:../outside")
    monkeypatch.chdir(project)
    for name in ("up", "link", "place"):
        with pytest.warns(HiddenNameWarning, match="which lies outside that project"):
            local_names.meaning(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert local_names.meaning("inside") == str(project.resolve() / "here")
        assert local_names.meaning("nobody") is None
