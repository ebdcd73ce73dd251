"""Activations beyond what float16 holds (65,504): a row with the reason, or an error for labels; never the first label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from modelgraft.errors import ModelgraftError, PluginError
from modelgraft_adapters import FeatureExtractor, FrozenAdapter, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.calls.stream import stream
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf

from tests.weights.test_recognising import TINY_CLIP

rng = np.random.default_rng(0)
PICTURES = [(rng.integers(0, 60, (32, 32, 3)) + 190 * (n % 2)).astype(np.uint8) for n in range(8)]
LABELS = ["dark", "bright"] * 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound in float32, and beyond float16 in the image tower (``images``, ``vit``) or in that of texts (``texts``)."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, layer in (("images", "visual.conv1.weight"), ("texts", "transformer.resblocks.0.mlp.c_fc.weight")):
        model = open_clip.model.CLIP(**TINY_CLIP["model_cfg"])
        state = {key: value.clone() for key, value in model.state_dict().items()}
        state[layer] *= 60000 / state[layer].abs().max()
        (root / name).mkdir()
        (root / name / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
        save_file(state, root / name / "open_clip_model.safetensors")
    vit = timm.create_model("test_vit", num_classes=2)
    with torch.no_grad():
        vit.patch_embed.proj.weight *= 60000 / vit.patch_embed.proj.weight.abs().max()
    save_for_hf(vit, root / "vit", safe_serialization=True)
    for n, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(root / f"{n}.png")
    return root


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_zero_shot(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ZeroShotClassifier(str(models / "images"), ["a", "b"], device="cpu")
    assert all(row.label and row.error is None for row in whole.classify(PICTURES))
    half = ZeroShotClassifier(str(models / "images"), ["a", "b"], device="cpu", dtype="float16")
    for row in half.classify(PICTURES):
        assert (row.label, row.score, row.scores) == (None, None, {}) and "not finite" in str(row.error)
    with pytest.warns(UserWarning, match="8 of 8 items cannot be read"):
        assert half.predict(PICTURES).tolist() == [None] * 8
    # That it matters: without the look at the rows the first label comes out.
    monkeypatch.setattr("modelgraft_adapters.estimators.zero_shot_core.stream", _unlooked)
    assert [row.label for row in half.classify(PICTURES)] == ["a"] * 8


def _unlooked(items: Any, read: Any, infer: Any, **options: Any) -> Any:
    def finite(batch: Any) -> torch.Tensor:
        return infer(batch).nan_to_num(0.5)

    return stream(items, read, finite, **options)


def test_labels(models: Path) -> None:
    assert ZeroShotClassifier(str(models / "texts"), ["a", "b"], device="cpu").predict(PICTURES[:1])[0] in ("a", "b")
    with pytest.raises(
        PluginError, match=r"no finite embedding for the text 'a photo of a a\.'.*; a wider dtype may help"
    ):
        ZeroShotClassifier(str(models / "texts"), ["a", "b"], device="cpu", dtype="float16").predict(PICTURES[:1])


@pytest.mark.full
def test_features_and_adapters(models: Path, tmp_path: Path) -> None:
    name = f"file:{models / 'vit'}"
    found = FeatureExtractor(name, device="cpu", dtype="float16", store=False).embed(PICTURES)
    assert not found.good.any() and all("not finite" in str(error) for error in found.errors)
    probe = LinearProbe(name, C=1.0, device="cpu", dtype="float16", store=False)
    with pytest.raises(ModelgraftError, match=r"none of the 8 training items could be read: .* not finite"):
        probe.fit(PICTURES, LABELS)
    assert probe.head_ is None
    saved = LinearProbe(name, C=1.0, device="cpu", store=False).fit(PICTURES, LABELS).save(tmp_path / "it")
    half = FrozenAdapter.load(saved, device="cpu", dtype="float16", store=False)
    for row in half.classify(PICTURES):
        assert (row.label, row.score, row.scores) == (None, None, {}) and "not finite" in str(row.error)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert half.predict(PICTURES).tolist() == [None] * 8 and np.isnan(half.predict_proba(PICTURES)).all()
    result = half.evaluate(PICTURES, LABELS)
    assert len(result.targets) == 0 and len(result.unreadable) == 8


@pytest.mark.full
def test_both_verbs(models: Path, tmp_path: Path, run: Any) -> None:
    saved = (
        LinearProbe(f"file:{models / 'vit'}", C=1.0, device="cpu", store=False)
        .fit(PICTURES, LABELS)
        .save(tmp_path / "it")
    )
    options = ("-f", "jsonl", "--device", "cpu", "--dtype", "float16")
    pictures = [str(models / "0.png"), str(models / "1.png")]
    for arguments in (
        ("predict", *pictures, "--model", str(saved), "--no-keep"),
        ("classify", *pictures, "--model", str(models / "images"), "--labels", "a,b"),
    ):
        done = run(*arguments, *options)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1 and len(rows) == 2, done.stderr
        assert all(row["label"] is None and "not finite" in row["error"] for row in rows)
