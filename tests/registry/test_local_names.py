"""Aliases of a project: what may be registered, where it is kept, and that no writer's names are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelgraft.errors import AmbiguousNameError, BadNameError, LocalNamesError, UnknownModelError, UsageError
from modelgraft.project import local_names

TOWER = "open_clip/ViT-B-32:laion2b_s34b_b79k"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "models" / "birds").mkdir(parents=True)
    (folder / "models" / "x.safetensors").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("target", "kept", "answer"),
    [
        ("models/birds", "./models/birds", "{}/models/birds"),
        ("./models/birds/", "./models/birds", "{}/models/birds"),
        ("models/../models/birds", "./models/birds", "{}/models/birds"),
        ("file:models/x.safetensors", "file:./models/x.safetensors", "file:{}/models/x.safetensors"),
        ("./models/x.safetensors", "file:./models/x.safetensors", "file:{}/models/x.safetensors"),
        ("/", "/", "/"),
        ("hub:user/repo", "hub:user/repo", "hub:user/repo"),
        ("hub:user/repo@v1.0", "hub:user/repo@v1.0", "hub:user/repo@v1.0"),
        (TOWER, TOWER, TOWER),
        ("ViT-B-32:laion2b_s34b_b79k@abc123", f"{TOWER}@abc123", f"{TOWER}@abc123"),
    ],
)
def test_targets(project: Path, target: str, kept: str, answer: str) -> None:
    assert local_names.register("mine", target) == kept
    assert json.loads((project / "modelgraft.json").read_text()) == {"modelgraft": 1, "aliases": {"mine": kept}}
    assert local_names.aliases() == {"mine": answer.format(project.resolve())}


@pytest.mark.parametrize(
    ("name", "target", "error", "said"),
    [
        ("a/b", "models/birds", BadNameError, "cannot be an alias"),
        ("a:b", "models/birds", BadNameError, "cannot be an alias"),
        ("", "models/birds", BadNameError, "cannot be an alias"),
        ("-x", "models/birds", BadNameError, "cannot be an alias"),
        ("x\n", "models/birds", BadNameError, "cannot be an alias"),
        ("sprig", "models/birds", UsageError, "already means embedded/sprig"),
        ("ViT-B-32", "models/birds", UsageError, "already means"),
        ("mine", "./nowhere", UsageError, "there is no folder or file"),
        ("mine", "file:nowhere", UsageError, "there is no file"),
        ("mine", "hub:../..", UsageError, "not of the form hub:"),
        ("mine", "resnet5O", UnknownModelError, "did you mean"),
        ("mine", "open_clip/ViT-B-32", AmbiguousNameError, "names"),
        ("mine", "models/bi\nrds", UsageError, "names no model"),
        ("mine", "", UsageError, "names no model"),
    ],
)
def test_refused(project: Path, name: str, target: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        local_names.register(name, target)
    assert not (project / "modelgraft.json").exists()


def test_an_alias_is_changed_by_force_only(project: Path) -> None:
    local_names.register("mine", "models/birds")
    local_names.register("mine", "models/birds")
    with pytest.raises(UsageError, match="registered already"):
        local_names.register("mine", "hub:user/repo")
    local_names.register("mine", "hub:user/repo", force=True)
    local_names.register("sprig", "models/birds", force=True)
    assert local_names.aliases() == {"mine": "hub:user/repo", "sprig": str(project.resolve() / "models" / "birds")}


def test_an_alias_leads_to_no_other_alias(project: Path) -> None:
    local_names.register("mine", "hub:user/repo")
    with pytest.raises(UnknownModelError):
        local_names.register("other", "mine")


def test_remove(project: Path) -> None:
    local_names.register("mine", "models/birds")
    with pytest.raises(UsageError, match=r"no alias 'yours'.*there are: mine"):
        local_names.remove("yours")
    local_names.remove("mine")
    assert local_names.aliases() == {} and (project / "models" / "birds").is_dir()


def test_it_is_the_checkouts_from_below_and_moves_with_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".git").mkdir()
    local_names.register("mine", "models/birds")
    monkeypatch.chdir(project / "models")
    local_names.register("again", "birds")
    moved = project.with_name("moved")
    project.rename(moved)
    monkeypatch.chdir(moved / "models")
    assert set(local_names.aliases().values()) == {str(moved.resolve() / "models" / "birds")}
    assert not (moved / "models" / "modelgraft.json").exists()


def test_keys_of_others_stay(project: Path) -> None:
    (project / "modelgraft.json").write_text('{"modelgraft": 1, "later": {"a": [1]}}')
    local_names.register("mine", "models/birds")
    assert json.loads((project / "modelgraft.json").read_text())["later"] == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "at modelgraft: None is no format number"),
        ('{"modelgraft": 2}', "upgrade modelgraft"),
        ('{"modelgraft": 1, "aliases": []}', "at aliases"),
        ('{"modelgraft": 1, "aliases": {"a/b": "x"}}', "'a/b' cannot be an alias"),
        ('{"modelgraft": 1, "aliases": {"a": 1}}', "at aliases, a: 1 names no model"),
        ('{"modelgraft": 1, "aliases": {"a": "x\\n"}}', "names no model"),
        ('{"modelgraft": 1, "aliases": {"a": "x", "a": "y"}}', "'a' twice"),
    ],
)
def test_damage(project: Path, text: str, said: str) -> None:
    (project / "modelgraft.json").write_text(text)
    for attempt in (local_names.aliases, lambda: local_names.register("mine", "hub:user/repo")):
        with pytest.raises(LocalNamesError, match=said) as raised:
            attempt()
        assert "modelgraft.json" in str(raised.value) and "\n" not in str(raised.value)
    assert (project / "modelgraft.json").read_text() == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    text=st.text(max_size=40)
    | st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5)).map(
        lambda found: json.dumps({"modelgraft": 1, "aliases": found})
    )
)
def test_any_text(project: Path, text: str) -> None:
    (project / "modelgraft.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        found = local_names.aliases()
    except LocalNamesError as error:
        assert str(error).isprintable()
    else:
        assert all(isinstance(target, str) for target in found.values())


def test_eight_writers_of_ten_names_lose_none(project: Path) -> None:
    code = (
        "import sys; from modelgraft.project import local_names\n"
        "for n in range(10): local_names.register(f'alias-{sys.argv[1]}-{n}', 'hub:user/repo', force=True)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(who)], cwd=project) for who in range(8)]
    assert [writer.wait(120) for writer in writers] == [0] * 8
    assert local_names.aliases().keys() == {f"alias-{who}-{n}" for who in range(8) for n in range(10)}
    assert sorted(os.listdir(project)) == ["modelgraft.json", "models"]
