"""Ways of training through `FineTuner` itself: low-rank matrices, pairs of texts, images with the names of their classes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.finetuning.run import Interrupted
from safetensors.torch import load_file, save_file

MODEL = "embedded/sprig"


@pytest.mark.full
def test_low_rank_matrices_end_up_in_the_weights(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    """The structure is the pretrained one; WiSE-FT's line is between weights; saved and loaded it predicts the same."""
    tuner = FineTuner(MODEL, "lora", rank=4, steps=6, batch_size=16).fit(train)
    plain = load(MODEL).module
    tuned = tuner.extractor.backbone.module
    assert [name for name, _ in tuned.named_parameters()] == [name for name, _ in plain.named_parameters()]
    moved = {n for n, p in tuned.named_parameters() if not torch.equal(p, dict(plain.named_parameters())[n])}
    assert moved == set(tuner.tuned_.names) and moved
    assert tuner.report_["trained_parameters"] < 0.05 * sum(p.numel() for p in plain.parameters())
    for name in moved:  # of rank 4 and no more
        change = (dict(tuned.named_parameters())[name] - dict(plain.named_parameters())[name]).flatten(1)
        assert torch.linalg.matrix_rank(change.double(), rtol=1e-4) <= 4
    end = tuner.predict_proba(test)
    half = FineTuner(MODEL, "lora", rank=4, steps=6, batch_size=16, wise=0.5).fit(train)
    name = f"body.{sorted(moved)[0]}"
    torch.testing.assert_close(half.run_.live[name].detach(), (tuner.start_[name] + tuner.end_[name]) / 2)
    np.testing.assert_array_equal(FrozenAdapter.load(tuner.save(tmp_path / "low")).predict_proba(test), end)
    # Half-way between two weights is no such product: it is stored whole, and predicts the same as well.
    folder = half.save(tmp_path / "half")
    assert set(load_file(folder / "backbone.safetensors")) == moved
    np.testing.assert_array_equal(FrozenAdapter.load(folder).predict_proba(test), half.predict_proba(test))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_of_a_low_rank_run_the_matrices_are_stored(kind: str, train: Dataset, test: Dataset, tmp_path: Path) -> None:
    tuner = FineTuner(MODEL, kind, rank=2, steps=3, batch_size=16).fit(train)
    folder, expected = tuner.save(tmp_path / "low"), tuner.predict_proba(test)
    state, held = tuner.extractor.backbone.module.state_dict(), load_file(folder / "backbone.safetensors")
    names = tuner.tuned_.names
    endings = (".lora_A", ".lora_B") + ((".lora_lengths",) if kind == "dora" else ())
    assert set(held) == {name + ending for name in names for ending in endings}
    whole = sum(state[name].nbytes for name in names)
    assert sum(tensor.nbytes for tensor in held.values()) < 0.1 * whole
    loaded = FrozenAdapter.load(folder)
    again = loaded.extractor.backbone.module.state_dict()
    assert all(torch.equal(again[name], state[name]) for name in names)
    np.testing.assert_array_equal(loaded.predict_proba(test), expected)
    copied = loaded.save(tmp_path / "again")
    assert (copied / "backbone.safetensors").read_bytes() == (folder / "backbone.safetensors").read_bytes()


def test_matrices_that_do_not_go_together_are_told(train: Dataset, tmp_path: Path) -> None:
    folder = FineTuner(MODEL, "lora", rank=2, steps=1, batch_size=16).fit(train).save(tmp_path / "low")
    file, card = folder / "backbone.safetensors", json.loads((folder / "modelgraft_adapter.json").read_text())
    del card["checksum"]  # changed on purpose, not damaged
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith(".lora_A"))
    tensors[name] = torch.zeros(3, *tensors[name].shape[1:])
    save_file(tensors, file)
    card["tuned"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    card["tuned"]["tensors"][name]["shape"] = list(tensors[name].shape)
    (folder / "modelgraft_adapter.json").write_text(json.dumps(card))
    with pytest.raises(ModelgraftError, match=r"the low-rank matrices of .* do not go together"):
        FrozenAdapter.load(folder)
    card["tuned"]["low_rank"] = {name: {"scaling": "much", "turned": False}}
    (folder / "modelgraft_adapter.json").write_text(json.dumps(card))
    with pytest.raises(ModelgraftError, match=r"wrong at tuned\.low_rank"):
        FrozenAdapter.load(folder)


@pytest.mark.full
def test_low_rank_training_resumes_to_the_same_bits(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    options = {"strategy": "dora", "steps": 6, "batch_size": 16, "lora_dropout": 0.1}

    def stop(now: object) -> None:
        if now.step == 3:  # type: ignore[attr-defined]
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    whole = FineTuner(MODEL, **options).fit(train)
    with pytest.raises(Interrupted):
        FineTuner(MODEL, folder=tmp_path, tell=stop, **options).fit(train)
    resumed = FineTuner(MODEL, folder=tmp_path, **options).fit(train, resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(test), whole.predict_proba(test))


@pytest.mark.full
def test_pairs_of_texts_then_the_exact_probe(texts: tuple[list[str], list[str]], tmp_path: Path) -> None:
    tuner = FineTuner(MODEL, "contrastive", steps=20, lr=1e-3).fit(*texts)
    losses = tuner.report_["losses"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    probe = LinearProbe(tuner.extractor.backbone, modality="text", store=False).fit(*texts)
    np.testing.assert_allclose(tuner.predict_proba(texts[0]), probe.predict_proba(texts[0]), atol=1e-6)
    again = FrozenAdapter.load(tuner.save(tmp_path / "pairs"))
    np.testing.assert_array_equal(again.predict_proba(texts[0]), tuner.predict_proba(texts[0]))


@pytest.mark.full
def test_pictures_with_names_keep_other_names_askable(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    """FLYP moves both towers, and what predicts is zero-shot classification by the tuned model."""
    tuner = FineTuner(MODEL, "flyp", steps=8, batch_size=16).fit(train)
    assert {name.partition(".")[0] for name in tuner.tuned_.names} == {"image", "text"}
    by_name = ZeroShotClassifier(tuner.extractor.backbone, labels=list(tuner.classes))
    np.testing.assert_allclose(tuner.predict_proba(test), by_name.predict_proba(list(test.items)), atol=1e-6)
    assert tuner.score(test) > 0.8
    more = ZeroShotClassifier(tuner.extractor.backbone, labels=["airplane", "ship"])
    assert more.predict_proba(list(test.items[:2])).shape == (2, 2)
    again = FrozenAdapter.load(tuner.save(tmp_path / "both"))
    np.testing.assert_array_equal(again.predict_proba(test), tuner.predict_proba(test))


def test_the_loss_of_pictures_and_prompts_is_that_of_open_clip() -> None:
    """CLIP's and SigLIP's losses as open_clip computes them, and rows that add up to them."""
    from modelgraft.contract import ScoreRule
    from modelgraft_adapters.finetuning.image_text import ImageTextObjective
    from open_clip.loss import ClipLoss, SigLipLoss
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(0)
    images, prompts = (F.normalize(torch.randn(7, 16, generator=generator), dim=-1) for _ in range(2))
    cosines = images @ prompts.T
    outputs = torch.stack([cosines, cosines.T], dim=1)
    clip = ImageTextObjective(ScoreRule("softmax", 30.0))(outputs, torch.zeros(7)).mean()
    torch.testing.assert_close(clip, ClipLoss()(images, prompts, torch.tensor(30.0)))
    sigmoid = ImageTextObjective(ScoreRule("sigmoid", 10.0, -5.0))(outputs, torch.zeros(7)).mean()
    torch.testing.assert_close(sigmoid, SigLipLoss()(images, prompts, torch.tensor(10.0), torch.tensor(-5.0)))


def test_what_a_way_cannot_do_is_said(train: Dataset, texts: tuple[list[str], list[str]]) -> None:
    with pytest.raises(UsageError, match="trains on no unlabelled items"):
        FineTuner(MODEL, "flyp", steps=1).fit(train, unlabelled=list(train.items))
    with pytest.raises(UsageError, match="with images that have one class each"):
        FineTuner(MODEL, "full", steps=1).fit(*texts, unlabelled=texts[0])
    with pytest.raises(UsageError, match="weighs all classes alike"):
        FineTuner(MODEL, "flyp", steps=1, class_weight="balanced").fit(train)
