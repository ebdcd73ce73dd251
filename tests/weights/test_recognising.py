"""Models that no catalogue lists: a folder, a repository of the hub, a name registered in the project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modelgraft
import open_clip
import pytest
import timm
import torch
from modelgraft.errors import BadNameError, UnknownModelError, WeightsUnavailableError
from modelgraft.project.local_names import register
from modelgraft.weights.recognising import location_of
from modelgraft_adapters import ZeroShotClassifier
from PIL import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from timm.models._hub import save_for_hf

from tests.conftest import Run
from tests.hub_standin import HubStandIn
from tests.sentence_transformers.conftest import minilm_folder

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as the three libraries save them: ``timm``, ``clip``, ``sentences``; and one of no kind."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit", num_classes=7), root / "timm", safe_serialization=True)
    clip = root / "clip"
    clip.mkdir()
    (clip / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    model = open_clip.model.CLIP(**TINY_CLIP["model_cfg"])
    save_file(model.state_dict(), clip / "open_clip_model.safetensors")
    SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True).save(str(root / "sentences"))
    (root / "nothing").mkdir()
    (root / "nothing" / "config.json").write_text("[1, 2]")
    return root


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    yield


def test_a_folder_that_timm_saved(models: Path) -> None:
    backbone: Any = modelgraft.load(f"file:{models / 'timm'}", device="cpu")
    entry = backbone.entry
    assert entry.provider == "timm" and entry.tasks == ("features", "classification") and backbone.embed_dim == 64
    pixels = torch.randn(2, *entry.input_size)
    theirs = timm.create_model(f"local-dir:{models / 'timm'}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(backbone.module(pixels), theirs(pixels)) and backbone.module(pixels).shape == (2, 7)
        assert torch.allclose(
            backbone.encode_image(pixels), theirs.forward_head(theirs.forward_features(pixels), pre_logits=True)
        )


def test_a_folder_that_open_clip_saved(models: Path) -> None:
    picture = Image.new("RGB", (40, 30), (200, 30, 60))
    found = ZeroShotClassifier(str(models / "clip"), ["a cat", "a dog"], templates="{}", device="cpu").predict_proba(
        [picture]
    )
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{models / 'clip'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{models / 'clip'}")
    with torch.inference_mode():
        image, text, scale = model(transform(picture)[None], tokenizer(["a cat", "a dog"]))[:3]
        theirs = (scale * image @ text.T).softmax(-1)
    assert abs(found - theirs.numpy()).max() <= 1e-5


def test_a_folder_that_sentence_transformers_saved(models: Path) -> None:
    backbone: Any = modelgraft.load(str(models / "sentences"), device="cpu")
    library = SentenceTransformer(str(models / "sentences"), device="cpu", local_files_only=True)
    assert torch.allclose(backbone.encode_text(["a cat"]), library.encode(["a cat"], convert_to_tensor=True), atol=1e-6)


@pytest.mark.filterwarnings("ignore::modelgraft.errors.HiddenNameWarning")
def test_a_registered_name_comes_first(models: Path) -> None:
    register("sentences", str(models / "sentences"))
    register("tower", "open_clip/ViT-B-32:openai")
    assert modelgraft.resolve("sentences").provider == "sentence-transformers"
    assert modelgraft.resolve("tower").name == "open_clip/ViT-B-32:openai"
    assert modelgraft.resolve("tower@v2") == modelgraft.resolve("open_clip/ViT-B-32:openai@v2")


@pytest.mark.full
def test_a_repository_of_the_hub(models: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "hub" / "somebody").mkdir(parents=True)
    (tmp_path / "hub" / "somebody" / "birds").symlink_to(models / "timm")
    with HubStandIn(tmp_path / "hub") as hub:
        env = {**hub.environment(tmp_path / "home"), "MODELGRAFT_CACHE": str(tmp_path / "mg")}
        told = run("info", "hub:somebody/birds", "--format", "json", env=env)
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["name"] == "timm/hub:somebody/birds"
        (pulled,) = json.loads(run("pull", "hub:somebody/birds", "--format", "json", env=env).stdout)
        assert pulled["revision"] == hub.commit("somebody/birds") and pulled["fetched"] > 0
        again = run("pull", f"hub:somebody/birds@{pulled['revision']}", env={**env, "HF_HUB_OFFLINE": "1"})
        assert again.returncode == 0, again.stderr
        gone = run("info", "hub:somebody/fish", env=env)
        assert gone.returncode == 1 and "no repository somebody/fish" in gone.stderr


def test_what_is_no_model_is_told(models: Path) -> None:
    with pytest.raises(
        UnknownModelError, match=r"no installed plugin knows what kind of model lies there \(config.json\)"
    ):
        modelgraft.resolve(str(models / "nothing"))
    with pytest.raises(WeightsUnavailableError, match="there is no folder or file"):
        modelgraft.resolve("file:nowhere/at/all")
    with pytest.raises(BadNameError, match="hub:user/repo"):
        modelgraft.resolve("hub:a/b/c")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("hub:a/b@v1", ("hf:a/b", "v1")),
        ("hub:gpt2", ("hf:gpt2", None)),
        ("/x/y", ("file:/x/y", None)),
        ("file:/x y", ("file:/x y", None)),
        ("timm/hub:a/b@v1", ("hf:a/b", "v1")),
        ("adapter/file:/x%20y", ("file:/x y", None)),
        ("timm/resnet18", None),
        ("resnet18@main", None),
    ],
)
def test_places_are_told_from_names(text: str, location: tuple[str, str | None] | None) -> None:
    assert location_of(text) == location
