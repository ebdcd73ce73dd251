"""Ways of training through `FineTuner` itself: low-rank matrices, pairs of texts, pictures with the names of their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import UsageError
from modelgraft_adapters import Adapter, FineTuner, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.finetuning.running import Interrupted

MODEL = "embedded/sprig"


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
    np.testing.assert_array_equal(Adapter.load(tuner.save(tmp_path / "low")).predict_proba(test), end)


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


def test_pairs_of_texts_then_the_exact_probe(texts: tuple[list[str], list[str]], tmp_path: Path) -> None:
    tuner = FineTuner(MODEL, "contrastive", steps=20, lr=1e-3).fit(*texts)
    losses = tuner.report_["losses"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    probe = LinearProbe(tuner.model, modality="text", store=False).fit(*texts)
    np.testing.assert_allclose(tuner.predict_proba(texts[0]), probe.predict_proba(texts[0]), atol=1e-6)
    again = Adapter.load(tuner.save(tmp_path / "pairs"))
    np.testing.assert_array_equal(again.predict_proba(texts[0]), tuner.predict_proba(texts[0]))


def test_pictures_with_names_keep_other_names_askable(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    """FLYP moves both towers, and what predicts is zero-shot classification by the tuned model."""
    tuner = FineTuner(MODEL, "flyp", steps=8, batch_size=16).fit(train)
    assert {name.partition(".")[0] for name in tuner.tuned_.names} == {"image", "text"}
    by_name = ZeroShotClassifier(tuner.model, labels=list(tuner.classes))
    np.testing.assert_allclose(tuner.predict_proba(test), by_name.predict_proba(list(test.items)), atol=1e-6)
    assert tuner.score(test) > 0.8
    more = ZeroShotClassifier(tuner.model, labels=["airplane", "ship"])
    assert more.predict_proba(list(test.items[:2])).shape == (2, 2)
    again = Adapter.load(tuner.save(tmp_path / "both"))
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
    with pytest.raises(UsageError, match="learns nothing from unlabelled items"):
        FineTuner(MODEL, "flyp", steps=1).fit(train, unlabelled=list(train.items))
    with pytest.raises(UsageError, match="with pictures that have one class each"):
        FineTuner(MODEL, "full", steps=1).fit(*texts, unlabelled=texts[0])
    with pytest.raises(UsageError, match="weighs all classes alike"):
        FineTuner(MODEL, "flyp", steps=1, class_weight="balanced").fit(train)
