"""A lock holds the configuration of a model as it holds its weights: in a folder, on the hub, behind a saved adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import modelgraft
import pytest
import timm
import torch
from modelgraft.errors import LockError, ModelgraftError, UnsafeWeightsError
from modelgraft.project import comparing, lockfile
from modelgraft.weights import recognising, resolving
from PIL import Image
from timm.models._hub import save_for_hf

from tests.conftest import Run
from tests.hub_standin import HubStandIn

PICTURE = Image.new("RGB", (40, 30), (200, 30, 60))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that timm saved, in a project."""
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit", num_classes=7), tmp_path / "birds", safe_serialization=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "birds"


def lock(folder: Path) -> str:
    """Lock the folder; its name in the lock file."""
    with lockfile.changing(lockfile.default_path()) as models:
        found = comparing.resolve_now(f"file:{folder}")
        models[found.name] = found
    return found.name


def pixels(folder: Path) -> torch.Tensor:
    """The image as the model reads it, which is what the configuration says."""
    backbone: Any = modelgraft.load(f"file:{folder}", device="cpu")
    return backbone.preprocess(PICTURE)


def change(folder: Path) -> None:
    """Other means, and so other embeddings, of the same weights."""
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (folder / "config.json").write_text(json.dumps(config))


def test_a_changed_configuration_of_a_locked_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = lock(folder)
    (part,) = lockfile.read(lockfile.default_path())[name].parts
    assert {file.path for file in part.files} == {"config.json", "model.safetensors"}
    assert all(len(file.sha256 or "") == 64 for file in part.files)
    assert comparing.check(lockfile.read(lockfile.default_path())) == {}
    monkeypatch.setenv("MODELGRAFT_LOCKED", "1")
    before = pixels(folder)
    change(folder)
    with pytest.raises(UnsafeWeightsError, match=r"config\.json of file:.* is refused"):
        pixels(folder)
    (lines,) = comparing.check(lockfile.read(lockfile.default_path())).values()
    assert any("config.json: sha256: locked" in line for line in lines)
    # The trap is one: without the two looks the same locked name gives other pixels, and nobody says a word.
    monkeypatch.setattr(recognising, "active", lambda: None)
    monkeypatch.setattr(lockfile.Locked, "resolution", lambda self, name: resolving.resolve_weights(ENTRY))
    monkeypatch.setattr(lockfile.Locked, "check_places", lambda *given: None)
    ENTRY = recognising.recognise(f"file:{folder}", None)
    assert not torch.equal(pixels(folder), before)


def test_a_file_that_comes_later_is_not_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card of an adapter, added beside the locked model, would make another model of the folder."""
    lock(folder)
    monkeypatch.setenv("MODELGRAFT_LOCKED", "1")
    (folder / "modelgraft_adapter.json").write_text("{}")
    (folder / "modules.json").write_text("[]")
    assert pixels(folder).shape == (3, 224, 224) or pixels(folder).ndim == 3
    monkeypatch.setenv("MODELGRAFT_LOCKED", "0")
    with pytest.raises(ModelgraftError, match="card"):
        pixels(folder)


def edited(**keys: Any) -> None:
    """The lock file with other things said of its one place."""
    path = lockfile.default_path()
    record = json.loads(path.read_text())
    (model,) = record["models"].values()
    model["weights"][0] |= keys
    path.write_text(json.dumps(record))


def test_a_lock_without_digests_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(folder)
    edited(files={"model.safetensors": {}, "config.json": {}})
    monkeypatch.setenv("MODELGRAFT_LOCKED", "1")
    with pytest.raises(LockError, match=r"has no digest of config\.json .*'modelgraft lock --upgrade"):
        pixels(folder)
    assert any(
        "without a digest" in line
        for line in next(iter(comparing.check(lockfile.read(lockfile.default_path())).values()))
    )


def test_a_lock_of_an_earlier_modelgraft_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = lock(folder)
    record = json.loads(lockfile.default_path().read_text())["models"][name]["weights"][0]["files"]
    edited(files={"model.safetensors": record["model.safetensors"]})
    monkeypatch.setenv("MODELGRAFT_LOCKED", "1")
    with pytest.raises(LockError, match=r"without its configuration.*'modelgraft lock --upgrade"):
        pixels(folder)


def test_a_lock_moves_no_model_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The location of a catalogued model is edited to a folder, with digests that are right there."""
    lock(folder)
    path = lockfile.default_path()
    record = json.loads(path.read_text())
    (model,) = record["models"].values()
    path.write_text(json.dumps({**record, "models": {"timm/test_vit:r160_in1k": model}}))
    monkeypatch.setenv("MODELGRAFT_LOCKED", "1")
    with pytest.raises(LockError, match="which is not where this model is"):
        modelgraft.load("timm/test_vit:r160_in1k", device="cpu")
    # Taken out, the stranger's folder is read under the name of the catalogue.
    monkeypatch.setattr(lockfile.Locked, "check_places", lambda *given: None)
    with pytest.raises(ModelgraftError) as error:  # seven classes for a thousand: its weights were opened
        modelgraft.load("timm/test_vit:r160_in1k", device="cpu")
    assert not isinstance(error.value, LockError)


@pytest.mark.full
def test_a_repository_whose_configuration_alone_moves_on(folder: Path, tmp_path: Path, run: Run) -> None:
    """The locked commit is read, configuration and all; --check says that the name means another now."""
    (tmp_path / "hub" / "somebody").mkdir(parents=True)
    here = tmp_path / "hub" / "somebody" / "birds"
    folder.rename(here)
    with HubStandIn(tmp_path / "hub") as hub:
        env = {**hub.environment(tmp_path / "home"), "MODELGRAFT_CACHE": str(tmp_path / "mg"), "HF_HUB_OFFLINE": "0"}
        done = run("lock", "hub:somebody/birds", env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (part,) = lockfile.read(tmp_path / "modelgraft.lock")["timm/hub:somebody/birds"].parts
        assert {file.path for file in part.files} == {"config.json", "model.safetensors"}
        told = [json.loads(run("info", "hub:somebody/birds", "--format", "json", env=env).stdout)]
        import shutil

        shutil.copytree(here, here.with_name("birds@before"))
        config = json.loads((here / "config.json").read_text())
        (here / "config.json").write_text(json.dumps(config | {"num_features": 63}))
        locked = run("info", "hub:somebody/birds", "--format", "json", "--locked", env=env, cwd=tmp_path)
        assert locked.returncode == 0, locked.stderr
        now = json.loads(run("info", "hub:somebody/birds", "--format", "json", env=env).stdout)
        assert json.loads(locked.stdout)["embed_dim"] == told[0]["embed_dim"] == 64 and now["embed_dim"] == 63
        check = run("lock", "--check", env=env, cwd=tmp_path)
        assert check.returncode == 1 and "config.json: blob: locked" in check.stdout
