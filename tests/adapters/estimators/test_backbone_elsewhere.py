"""Saved adapters whose backbone lies in a folder: moved together, moved apart, named anew, and never another one in its place."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.sealed import with_checksum
from modelgraft_adapters import FrozenAdapter, LinearProbe
from modelgraft_adapters.estimators import restoring as loading
from modelgraft_adapters.runs.publishing import contents
from modelgraft_adapters.saved import registry_entry as adapter_entry
from modelgraft_adapters.saved.card import CARD_FILE
from timm.models import save_for_hf

rng = np.random.default_rng(0)
PICTURES = [(rng.integers(0, 60, (32, 32, 3)) + 190 * (n % 2)).astype(np.uint8) for n in range(12)]
LABELS = [0, 1] * 6


def _model(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_for_hf(timm.create_model("test_vit", num_classes=2), folder, safe_serialization=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a backbone, and an adapter beside it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "project"
    _model(folder / "models" / "vit", 0)
    LinearProbe(f"file:{folder / 'models' / 'vit'}", C=1.0, store=False, device="cpu").fit(PICTURES, LABELS).save(
        folder / "adapters" / "it"
    )
    yield folder


def _found(folder: Path, **options: object) -> np.ndarray:
    return FrozenAdapter.load(folder, device="cpu", store=False, **options).predict_proba(PICTURES)


@pytest.mark.full
def test_moved_together_and_apart(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = project / "adapters" / "it"
    expected = _found(saved)
    card = json.loads((saved / "modelgraft_adapter.json").read_text())["backbone"]
    assert (card["name"], card["beside"]) == (f"file:{project / 'models' / 'vit'}", "../../models/vit")
    alone = tmp_path / "deep" / "er" / "alone"
    shutil.copytree(saved, alone)  # where nothing is beside it, the place in its card is looked at
    assert np.array_equal(_found(alone), expected)

    other = tmp_path / "other"
    shutil.move(project, other)
    saved = other / "adapters" / "it"
    assert np.array_equal(_found(saved), expected)
    (tmp_path / "link").symlink_to(saved)
    assert np.array_equal(_found(tmp_path / "link"), expected)

    with pytest.raises(
        ModelgraftError, match=r"no longer where it was: .*--backbone FOLDER, in Python .*backbone="
    ) as told:
        _found(alone)
    assert "\n" not in str(told.value)
    for backbone in (other / "models" / "vit", str(other / "models" / "vit"), f"file:{other / 'models' / 'vit'}"):
        assert np.array_equal(_found(alone, backbone=backbone), expected)
    assert np.array_equal(_found(alone, model=other / "models" / "vit"), expected)
    monkeypatch.chdir(other)
    assert np.array_equal(_found(alone, backbone="models/vit"), expected)
    with pytest.raises(UsageError, match="is a saved adapter itself"):
        _found(alone, backbone=saved)
    with pytest.raises(UsageError, match="give one"):
        _found(alone, backbone="models/vit", model="models/vit")


def test_another_model_in_its_place_is_refused(project: Path, tmp_path: Path) -> None:
    saved = project / "adapters" / "it"
    expected = _found(saved)
    other = tmp_path / "other"
    shutil.copytree(saved, other / "adapters" / "it")
    _model(other / "models" / "vit", 1)  # beside it, and not the one: then the place of before, where it still is
    assert np.array_equal(_found(other / "adapters" / "it"), expected)
    shutil.rmtree(project / "models")
    with pytest.raises(ModelgraftError, match="its weights here are others"):
        _found(other / "adapters" / "it")
    with pytest.raises(ModelgraftError, match="its weights here are others"):
        _found(other / "adapters" / "it", backbone=other / "models" / "vit")


def test_that_the_place_beside_it_is_looked_at_matters(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.move(project, other)
    monkeypatch.setattr(adapter_entry, "backbone_names", lambda backbone, where: [backbone.name])
    monkeypatch.setattr(
        "modelgraft_adapters.estimators.restoring.backbone_names", lambda backbone, where: [backbone.name]
    )
    with pytest.raises(ModelgraftError, match="no longer where it was"):
        _found(other / "adapters" / "it")


@pytest.mark.parametrize("place", ["/etc", "a/../b", "~/x", "", 5, "a\nb", "./x"])
def test_a_place_that_no_card_may_state(place: object, project: Path) -> None:
    path = project / "adapters" / "it" / "modelgraft_adapter.json"
    record = json.loads(path.read_text())
    record.pop("checksum")
    record["backbone"]["beside"] = place
    path.write_text(json.dumps(with_checksum(record)))
    with pytest.raises(ModelgraftError, match=r"wrong at backbone\.beside"):
        FrozenAdapter.load(path.parent)


def test_a_card_without_the_place(project: Path) -> None:
    path = project / "adapters" / "it" / "modelgraft_adapter.json"
    expected = _found(path.parent)
    record = json.loads(path.read_text())
    del record["checksum"], record["backbone"]["beside"]
    path.write_text(json.dumps(record))
    assert np.array_equal(_found(path.parent), expected)


def test_pushed_under_a_name_that_others_find(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, vit = project / "adapters" / "it", project / "models" / "vit"
    with pytest.raises(UsageError, match="name it: --backbone hub:USER/REPO"):
        contents(saved, "me/it")
    with pytest.raises(UsageError, match="folder of this machine"):
        contents(saved, "me/it", str(vit))  # it is the right one, and still nobody else finds it
    _model(tmp_path / "wrong", 1)
    with pytest.raises(ModelgraftError, match="its weights here are others"):
        contents(saved, "me/it", str(tmp_path / "wrong"))


@pytest.mark.full
def test_the_verbs_take_it(project: Path, tmp_path: Path, run) -> None:
    from PIL import Image

    Image.fromarray(PICTURES[1]).save(tmp_path / "one.png")
    alone = tmp_path / "alone"
    shutil.copytree(project / "adapters" / "it", alone)
    shutil.move(project / "models", tmp_path / "moved")
    env = {"HF_HUB_OFFLINE": "1"}
    arguments = ("predict", str(tmp_path / "one.png"), "--model", str(alone), "-f", "jsonl", "--device", "cpu")
    bad = run(*arguments, env=env)
    assert bad.returncode == 1 and "--backbone FOLDER" in bad.stderr
    good = run(*arguments, "--backbone", str(tmp_path / "moved" / "vit"), env=env)
    assert good.returncode == 0 and json.loads(good.stdout)["label"] == "1", good.stderr


@pytest.mark.full
def test_digests_of_two_kinds_are_compared_by_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub states git's digest of small files, a folder SHA-256: the file itself answers for both."""
    saved = project / "adapters" / "it"
    card = json.loads((saved / CARD_FILE).read_text())
    card.pop("checksum")
    files = card["backbone"]["weights"][0]["files"]
    name = next(name for name in files if name.endswith(".json"))
    content = (project / "models" / "vit" / name).read_bytes()
    for other, right in ((content, True), (content + b" ", False)):
        files[name] = "blob " + hashlib.sha1(b"blob %d\0" % len(other) + other).hexdigest()
        (saved / CARD_FILE).write_text(json.dumps(card))
        if right:
            _found(saved)
        else:
            with pytest.raises(ModelgraftError, match="its weights here are others"):
                _found(saved)
    monkeypatch.setattr(loading, "_of_kind", lambda kind, path, adapter: files[name])
    _found(saved)  # without the look at the file, another one is taken


def test_other_code_of_the_same_version_is_told(project: Path) -> None:
    saved = project / "adapters" / "it"
    assert not [note for note in FrozenAdapter.load(saved).notes_ if "the code of" in note]
    card = json.loads((saved / CARD_FILE).read_text())
    card.pop("checksum")
    assert len(card["backbone"]["code"]) == 32
    card["backbone"]["code"] = "0" * 32
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert [note for note in FrozenAdapter.load(saved).notes_ if note.startswith("the code of modelgraft ")]
    del card["backbone"]["code"]  # a card of before
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert not [note for note in FrozenAdapter.load(saved).notes_ if "the code of" in note]
