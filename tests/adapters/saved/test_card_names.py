"""What a stranger's card may name: a backbone by its name or repository, and a head that is installed; no place of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import modelgraft
import pytest
import timm
import torch
from modelgraft.errors import BadNameError, ModelgraftError, UnsafeWeightsError
from modelgraft.project.files import short
from modelgraft.weights.recognising import location_of
from modelgraft_adapters import FrozenAdapter, LinearProbe
from modelgraft_adapters.estimators import restoring as loading
from modelgraft_adapters.saved.card import CARD_FILE, read_card
from modelgraft_adapters.saved.registry_entry import backbone_entry
from timm.models._hub import save_for_hf

from tests.adapters.runs.test_publishing import original as original

NAMES = [
    "file:./x", "file:x", "file:../x", "file:~/x", "file:/a/../etc", "./x", "../x", "/etc", "~/x", "https://127.0.0.1:9/x",
    "http://127.0.0.1:9/x", "hub:../x", "hub:a/b/c", "hub:/etc", "hub:a/..", "hub:a b/c", "hub:a/b@main", "hub:a/b\n", "hub:",
    "timm/file:/etc", "timm/hub:a/b", "open_clip/file:~/x", "adapter/hub:a/b", "adapter/file:/x", "s3:bucket/x", "sprig", "",
    "x" * 6000, "hub:a/\u202eb", "hf:a/b", "local-dir:/x", "hf-hub:a/b",
]  # fmt: skip
REVISIONS = ["../x", "a/../b", "-x", "a b", "a\nb", "/etc", "x" * 300, "a?b", "a#b", "a@b", "a%2e%2e"]


def card_of(folder: Path) -> dict[str, Any]:
    """Without its checksum, as who changes it on purpose leaves it."""
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text())
    card.pop("checksum", None)
    return card


@pytest.mark.parametrize("name", NAMES, ids=lambda name: short(name, 30))
def test_a_backbone_is_a_full_name_or_a_repository(name: str, original: Path) -> None:
    card = card_of(original)
    card["backbone"]["name"] = name
    with pytest.raises(ModelgraftError) as told:
        read_card(card, "hub:somebody/theirs")
        assert name == "s3:bucket/x" or name.startswith(("https:", "http:", "local-dir", "hf"))
        backbone_entry(name, None, "x 1", "hub:somebody/theirs")
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


def test_a_folder_of_this_machine_is_not_named_from_the_hub(original: Path) -> None:
    card = card_of(original)
    card["backbone"]["name"] = "file:/etc"
    read_card(card, "hub:somebody/theirs")
    with pytest.raises(ModelgraftError, match="lies in a folder of the machine it was made on"):
        backbone_entry("file:/etc", None, "x 1", "hub:somebody/theirs")


@pytest.mark.parametrize("key", ["revision", "commit"])
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda text: short(text, 30))
def test_a_revision_is_no_path(key: str, revision: str, original: Path) -> None:
    card = card_of(original)
    card["backbone"][key] = revision
    with pytest.raises(ModelgraftError, match=r"is no revision|no text of one line"):
        read_card(card, "hub:somebody/theirs")


@pytest.mark.parametrize(
    "name", ["hub:../x", "hub:a/../b", "hub:a/b@../x", "hub:a/b@a b", "hub:-a/b", "hub:a\\b/c", "hub:a/b@x?y#z"]
)
def test_places_of_the_hub_have_plain_names(name: str) -> None:
    with pytest.raises(BadNameError, match="is no repository of the hub"):
        location_of(name)


@pytest.mark.parametrize(
    "head", ["os.system", "modelgraft_heads.linear:LinearHead", "../linear", "builtins:eval", "", "nobody"]
)
def test_a_head_is_one_that_is_installed(head: str, original: Path, tmp_path: Path) -> None:
    card = card_of(original)
    card["head"]["name"] = head
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(ModelgraftError, match=r"is not installed|is no text"):
        FrozenAdapter.load(tmp_path, device="cpu")


@pytest.mark.full
def test_another_configuration_of_the_backbone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not locked, on a folder whose configuration alone has changed: other features from the same weights."""
    from PIL import Image

    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (shade + number,) * 3).save(tmp_path / "data" / name / f"{number}.png")
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    backbone = tmp_path / "backbone"
    save_for_hf(timm.create_model("test_vit", num_classes=7), backbone, safe_serialization=True)
    saved = FrozenAdapter(f"file:{backbone}", "prototype", device="cpu").fit(tmp_path / "data").save(tmp_path / "saved")
    assert FrozenAdapter.load(saved, device="cpu").notes_ == []
    stated = card_of(saved)
    config = json.loads((backbone / "config.json").read_text())
    config["pretrained_cfg"]["std"] = [0.1, 0.2, 0.3]
    (backbone / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelgraftError, match=r"its weights here are others \(0:config\.json"):
        FrozenAdapter.load(saved, device="cpu")
    # A card of an earlier modelgraft states weights alone: it still loads, and says what was not looked at.
    del stated["backbone"]["weights"][0]["files"]["config.json"]
    (saved / CARD_FILE).write_text(json.dumps(stated))
    assert any("states no configuration" in note for note in FrozenAdapter.load(saved, device="cpu").notes_)
    (saved / CARD_FILE).write_text(json.dumps(card_of(saved)))
    monkeypatch.setattr(loading, "_unstated", lambda stated, has: has.keys() - stated.keys())
    assert modelgraft.resolve(str(saved)) and LinearProbe and UnsafeWeightsError
