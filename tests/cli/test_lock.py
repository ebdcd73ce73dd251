"""``modelgraft lock`` and ``--locked``, from the outside: the real hub client and a real timm model, the hub being a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelgraft.project import lockfile

from tests.conftest import Run
from tests.hub_standin import HubStandIn

NAME = "timm/test_vit:r160_in1k"
REPO = "timm/test_vit.r160_in1k"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def _publish(folder: Path, seed: int) -> None:
    """Random weights of the real architecture."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = timm.create_model("test_vit.r160_in1k")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")


def _load(environment: dict[str, str], folder: Path, *names: str) -> list[str]:
    """What a program sees that loads these models: a figure of the weights of each, or the error in one line."""
    code = (
        "import sys, modelgraft as mg\n"
        "from modelgraft.errors import ModelgraftError\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(float(next(mg.load(name, device='cpu').module.parameters()).double().abs().sum()))\n"
        "    except ModelgraftError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    _publish(tmp_path / "hub" / REPO, 0)
    with HubStandIn(tmp_path / "hub") as standin:
        yield standin


@pytest.fixture
def env(hub: HubStandIn, tmp_path: Path) -> dict[str, str]:
    return hub.environment(tmp_path / "home")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _move_on(hub: HubStandIn, seed: int = 1) -> None:
    """The branch main gets other weights; the commit before stays reachable."""
    (hub.root / REPO).rename(hub.root / f"{REPO}@before")
    _publish(hub.root / REPO, seed)


@pytest.mark.full
def test_a_locked_name_means_the_same_weights_when_the_hub_has_moved_on(
    run: Run, hub: HubStandIn, env: dict[str, str], project: Path
) -> None:
    before = hub.commit(REPO)
    done = run("lock", "test_vit", "embedded/sprig", env=env, cwd=project)
    assert done.returncode == 0 and done.stdout == "" and f"locked {NAME}: {before[:12]}" in done.stderr
    first = (project / "modelgraft.lock").read_bytes()
    locked = lockfile.read(project / "modelgraft.lock")
    assert set(locked) == {NAME, "embedded/sprig"} and locked["embedded/sprig"].parts == ()
    (part,) = locked[NAME].parts
    assert (part.location, part.revision) == (f"hf:{REPO}", before)
    assert all(file.size and len(file.sha256 or "") == 64 for file in part.files)
    assert run("lock", "--check", env=env, cwd=project).returncode == 0

    _move_on(hub)
    now = hub.commit(REPO)
    assert now != before
    # Locking again moves nothing; --check tells, for programs too.
    assert run("lock", NAME, env=env, cwd=project).returncode == 0
    assert (project / "modelgraft.lock").read_bytes() == first
    done = run("lock", "--check", "--locked", env=env, cwd=project)
    assert done.returncode == 1 and f"revision: locked {before}, now {now}" in done.stdout
    assert f"--upgrade {NAME}" in done.stderr and len(done.stderr.splitlines()) == 1
    told = json.loads(run("lock", "--check", "--format", "json", env=env, cwd=project).stdout)
    assert told.keys() == {NAME} and "\n".join(told[NAME]) + "\n" == done.stdout
    assert run("lock", "--check", "embedded/sprig", env=env, cwd=project).returncode == 0

    # With the lock in force the earlier weights are loaded, from a hub that calls others by that name.
    in_force = {**env, "MODELGRAFT_LOCKED": "1"}
    inside, *refused = _load(in_force, project, NAME, f"{NAME}@main", "timm/test_vit3")
    assert [answer.split()[0] for answer in refused] == ["LockError", "LockError"]
    outside, before_again = _load(env, project, NAME, f"{NAME}@before")
    assert float(inside) != float(outside) and before_again == inside

    done = run("lock", "--upgrade", "test_vit", env=env, cwd=project)
    assert done.returncode == 0 and f"revision: locked {before}, now {now}" in done.stderr
    assert run("lock", "--check", env=env, cwd=project).returncode == 0
    assert _load(in_force, project, NAME) == [outside]


@pytest.mark.full
def test_a_swapped_file_at_the_locked_commit_is_refused(
    run: Run, hub: HubStandIn, env: dict[str, str], project: Path
) -> None:
    """The stand-in's commit is a hash of its files, so the lock is given the new commit with the old digest."""
    assert run("lock", NAME, env=env, cwd=project).returncode == 0
    old = hub.commit(REPO)
    _publish(hub.root / REPO, 1)
    path = project / "modelgraft.lock"
    path.write_text(path.read_text().replace(old, hub.commit(REPO)))
    done = run("lock", "--check", env=env, cwd=project)
    assert done.returncode == 1 and "model.safetensors: sha256: locked" in done.stdout and "revision" not in done.stdout
    (answer,) = _load({**env, "MODELGRAFT_LOCKED": "1"}, project, NAME)
    assert answer.startswith("UnsafeWeightsError")


@pytest.mark.full
def test_revisions_are_locked_apart(run: Run, hub: HubStandIn, env: dict[str, str], project: Path) -> None:
    _move_on(hub)
    assert run("lock", NAME, f"{NAME}@before", env=env, cwd=project).returncode == 0
    locked = json.loads(run("lock", "--format", "json", cwd=project).stdout)
    assert {key: record["weights"][0]["revision"] for key, record in locked.items()} == {
        NAME: hub.commit(REPO),
        f"{NAME}@before": hub.commit(REPO, "before"),
    }
    assert run("lock", "--check", env=env, cwd=project).returncode == 0
    assert run("lock", "--remove", "test_vit@before", cwd=project).returncode == 0
    assert json.loads(run("lock", "-f", "json", cwd=project).stdout).keys() == {NAME}


@pytest.mark.full
def test_what_cannot_be_resolved_changes_nothing(run: Run, hub: HubStandIn, env: dict[str, str], project: Path) -> None:
    done = run("lock", NAME, f"{NAME}@nope", env=env, cwd=project)
    assert done.returncode == 1 and "no revision 'nope'" in done.stderr and not (project / "modelgraft.lock").exists()
    assert run("lock", NAME, env=env, cwd=project).returncode == 0
    first = (project / "modelgraft.lock").read_bytes()
    hub.gate(REPO)
    assert run("lock", "--upgrade", NAME, "--remove", NAME, env=env, cwd=project).returncode == 1
    assert (project / "modelgraft.lock").read_bytes() == first
    done = run("lock", "--check", env=env, cwd=project)
    assert done.returncode == 1 and "cannot be resolved now" in done.stdout and "gated" in done.stdout


@pytest.mark.full
def test_locked_decides_what_a_verb_may_use(run: Run, project: Path, photos: Path) -> None:
    words = ["classify", str(photos / "cat.jpg"), "--labels", "cat,dog", "--model", "embedded/sprig", "-f", "jsonl"]
    lockfile.write(project / "modelgraft.lock", {})
    done = run("--locked", *words, env=OFFLINE, cwd=project)
    assert done.returncode == 1 and "run 'modelgraft lock embedded/sprig'" in done.stderr and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    other = project / "the.lock"
    assert run("lock", "embedded/sprig", "--file", str(other), env=OFFLINE, cwd=project).returncode == 0
    assert run(*words, f"--locked={other}", env=OFFLINE, cwd=project).returncode == 0
    # A lock made with another version of the plugin is not this one's.
    other.write_text(other.read_text().replace('"version": "', '"version": "0.0.'))
    done = run(*words, env={**OFFLINE, "MODELGRAFT_LOCKED": str(other)}, cwd=project)
    assert done.returncode == 1 and "is locked with modelgraft 0.0." in done.stderr


@pytest.mark.parametrize(
    ("words", "left", "value"),
    [
        (["list", "x"], ["list", "x"], None),
        (["--locked", "list"], ["list"], "{}/modelgraft.lock"),
        (["list", "--locked", "x"], ["list", "x"], "{}/modelgraft.lock"),
        (["list", "--locked=a/b.lock"], ["list"], "{}/a/b.lock"),
        (["list", "--locked=a", "--locked"], ["list"], "{}/modelgraft.lock"),
        (["list", "--", "--locked"], ["list", "--", "--locked"], None),
        (["list", "--lockedness"], ["list", "--lockedness"], None),
    ],
)
def test_locked_anywhere_on_the_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], left: list[str], value: str | None
) -> None:
    from modelgraft.cli.anywhere import take

    monkeypatch.chdir(project)
    monkeypatch.setenv(lockfile.VARIABLE, "")
    assert take(words)[0] == left
    assert os.environ[lockfile.VARIABLE] == (value.format(os.getcwd()) if value else "")


def test_after_two_dashes_it_is_an_item(run: Run, project: Path) -> None:
    done = run("info", "--", "--locked", cwd=project)
    assert done.returncode == 2 and "'--locked'" in done.stderr


def test_printing(run: Run, project: Path) -> None:
    done = run("lock", cwd=project)
    assert done.returncode == 0 and done.stdout == "" and "there is no modelgraft.lock here" in done.stderr
    assert json.loads(run("lock", "--format", "json", cwd=project).stdout) == {}
    assert run("lock", "sprig", env=OFFLINE, cwd=project).returncode == 0
    done = run("lock", cwd=project)
    assert done.stdout.splitlines()[1].split()[0] == "embedded/sprig" and "1 model locked" in done.stderr
    (project / "modelgraft.lock").write_text("{")
    done = run("lock", cwd=project)
    assert done.returncode == 1 and "is no JSON (line 1, column 2" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense-model"], 2, "unknown model"),
        (["--upgrade", "sprig"], 2, "is not in the lock file"),
        (["--remove", "gone/model"], 2, "is not in the lock file"),
        (["--check"], 1, "there is no lock file"),
        (["--check", "--remove", "sprig"], 2, "--check changes nothing"),
        (["--format", "xml"], 2, "no format 'xml'"),
    ],
)
def test_wrong_use(run: Run, project: Path, arguments: list[str], code: int, said: str) -> None:
    done = run("lock", *arguments, env=OFFLINE, cwd=project)
    assert done.returncode == code and said in done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    assert not (project / "modelgraft.lock").exists()


def test_a_model_that_is_gone_can_be_removed_by_its_locked_name(run: Run, project: Path) -> None:
    path = project / "modelgraft.lock"
    text = json.dumps({"licence": None, "plugin": {"distribution": "gone", "version": "1"}, "weights": []})
    path.write_text(f'{{"modelgraft-lock": 1, "models": {{"gone/model": {text}}}}}')
    done = run("lock", "--check", cwd=project)
    assert done.returncode == 1 and "gone/model: cannot be resolved now: unknown model" in done.stdout
    assert run("lock", "--remove", "gone/model", cwd=project).returncode == 0
    assert lockfile.read(path) == {}
