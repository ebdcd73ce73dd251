"""`FineTuner` on a real pretrained model and real photographs: what it trains, what it keeps, what it gives back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import Adapter, FineTuner, FrozenAdapter, LinearProbe
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.finetuning.run import Interrupted

MODEL = "embedded/sprig"
SHORT = {"steps": 6, "batch_size": 16}


def _weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in adapter.extractor.backbone.module.state_dict().items()}


@pytest.fixture(scope="module")
def pretrained() -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in load(MODEL).module.state_dict().items()}


@pytest.mark.full
@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({"strategy": "full", "norms": "train"}, r"image\."),
        ({"strategy": "last-1"}, r"image\.project\."),
        ({"strategy": "lp-ft"}, r"image\..*(weight|bias)$"),
        ({"strategy": "bias-only"}, r"image\..*bias$"),
        ({"strategy": "norm-only"}, r"image\.(stem|stages).*\.1\.(weight|bias)$"),
        ({"strategy": "surgical", "block": "0"}, r"image\.stem\..*(weight|bias)$"),
        ({"strategy": "head-only"}, r"^$"),
    ],
)
def test_a_strategy_moves_what_it_says_and_nothing_else(
    train: Dataset, pretrained: dict[str, torch.Tensor], settings: dict, moves: str
) -> None:
    tuner = FineTuner(MODEL, **settings, **SHORT).fit(train)
    moved = {name for name, value in _weights(tuner).items() if not torch.equal(value, pretrained[name])}
    allowed = {name for name in pretrained if re.search(moves, name)}
    assert moved <= allowed
    assert {name for name in allowed if name.endswith("weight")} <= moved  # all of them have a gradient
    assert tuner.report_["frozen_tensors"] > 0
    assert tuner.tuned_ is not None and moved <= set(tuner.tuned_.names)


@pytest.mark.full
def test_step_zero_of_lp_ft_is_the_probe(train: Dataset, test: Dataset) -> None:
    """A learning rate of next to nothing: the model predicts what the exact probe predicts."""
    tuner = FineTuner(MODEL, "lp-ft", steps=1, lr=1e-30, weight_decay=0.0).fit(train)
    probe = LinearProbe(MODEL, dtype="float32").fit(train)
    np.testing.assert_allclose(tuner.predict_proba(test), probe.predict_proba(test), atol=2e-6)
    assert tuner.probe_ is not None


@pytest.mark.full
def test_l2_sp_with_a_huge_alpha_is_the_probe(train: Dataset, test: Dataset) -> None:
    """Held by alpha to where they began and the head trained no further, the weights are the pretrained ones."""
    tuner = FineTuner(MODEL, "lp-ft", steps=8, lr=1e-3, head_lr=1e-30, l2_sp=1e12, weight_decay=0.0, batch_size=16).fit(
        train
    )
    probe = LinearProbe(MODEL, dtype="float32").fit(train)
    np.testing.assert_allclose(tuner.predict_proba(test), probe.predict_proba(test), atol=1e-5)
    free = FineTuner(MODEL, "lp-ft", steps=8, lr=1e-3, head_lr=1e-30, weight_decay=0.0, batch_size=16).fit(train)
    assert np.abs(free.predict_proba(test) - probe.predict_proba(test)).max() > 0.01


@pytest.mark.full
def test_layer_decay_one_is_plain_to_the_last_bit(train: Dataset) -> None:
    one = FineTuner(MODEL, "full", layer_decay=1.0, **SHORT).fit(train)
    plain = FineTuner(MODEL, "full", **SHORT).fit(train)
    assert all(torch.equal(a, _weights(plain)[n]) for n, a in _weights(one).items())


@pytest.mark.full
def test_one_seed_one_result_and_parts_give_the_same_step(train: Dataset, test: Dataset) -> None:
    first, second = (FineTuner(MODEL, "full", norms="eval", seed=3, **SHORT).fit(train) for _ in range(2))
    other = FineTuner(MODEL, "full", norms="eval", seed=4, **SHORT).fit(train)
    parts = FineTuner(MODEL, "full", norms="eval", seed=3, accumulate=4, **SHORT).fit(train)
    assert np.array_equal(first.predict_proba(test), second.predict_proba(test))
    assert not np.array_equal(first.predict_proba(test), other.predict_proba(test))
    np.testing.assert_allclose(parts.predict_proba(test), first.predict_proba(test), atol=2e-4)


@pytest.mark.full
def test_it_learns(train: Dataset, test: Dataset) -> None:
    tuner = FineTuner(MODEL, "full", steps=30, lr=1e-3, augment="flip", batch_size=16).fit(train)
    losses = tuner.report_["losses"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert tuner.evaluate(test).score.low > 1 / 3


def test_what_was_frozen_and_moved_is_refused(train: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose forward pass changes a buffer that is to be frozen."""
    embed = Grafted.forward

    def leaking(self: Grafted, batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.body.image.stem[1].running_mean += 1e-3
        return embed(self, batch)

    monkeypatch.setattr(Grafted, "forward", leaking)
    with pytest.raises(ModelgraftError, match=r"image\.stem\.1\.running_mean was to be frozen and has moved"):
        FineTuner(MODEL, "lp-ft", **SHORT).fit(train)


@pytest.mark.full
def test_saved_loaded_and_predicting_the_same(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    tuner = FineTuner(MODEL, "full", **SHORT).fit(train)
    tuner.evaluate(test)
    folder = tuner.save(tmp_path / "tuned")
    again = FrozenAdapter.load(folder)
    np.testing.assert_array_equal(again.predict_proba(test), tuner.predict_proba(test))
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "modelgraft_adapter.json", "backbone.safetensors", "head.safetensors"
    }  # fmt: skip
    assert again.report_["chosen"]["strategy"] == "full"
    (folder / "backbone.safetensors").write_bytes((folder / "backbone.safetensors").read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelgraftError, match="is not the file that its card names"):
        FrozenAdapter.load(folder)


@pytest.mark.full
def test_interrupted_and_resumed_is_uninterrupted(train: Dataset, tmp_path: Path) -> None:
    """Ctrl-C after step 4 of 9; the run that goes on ends at the same bits."""
    import os
    import signal

    options = {"strategy": "full", "steps": 9, "batch_size": 16, "ema": 0.9, "mixup": 0.2}

    def stop(now: object) -> None:
        if now.step == 4:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGINT)

    whole = FineTuner(MODEL, **options).fit(train)
    with pytest.raises(Interrupted, match="stopped at step 4 of 9; go on with resume"):
        FineTuner(MODEL, folder=tmp_path, tell=stop, **options).fit(train)
    steps = []
    resumed = FineTuner(MODEL, folder=tmp_path, tell=lambda now: steps.append(now.step), **options)
    resumed.fit(train, resume=True)
    assert steps == [5, 6, 7, 8, 9]
    assert all(torch.equal(value, _weights(resumed)[name]) for name, value in _weights(whole).items())
    assert torch.equal(resumed.head_.state()[0]["weight"], whole.head_.state()[0]["weight"])
    assert resumed.report_["losses"] == whole.report_["losses"]
    with pytest.raises(UsageError, match="is of another run: its settings is"):
        FineTuner(MODEL, folder=tmp_path, **{**options, "steps": 10}).fit(train, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ModelgraftError, match="is no whole checkpoint"):
        FineTuner(MODEL, folder=tmp_path, **options).fit(train, resume=True)


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        {"channels_last": True},
        {"precision": "bf16"},
        {"recompute": True},
        {"workers": 1},
        pytest.param({"compile": True}, marks=pytest.mark.slow),
    ],
    ids=lambda options: next(iter(options)),
)
def test_how_it_is_computed_is_not_what(train: Dataset, test: Dataset, options: dict) -> None:
    """Memory formats, precision, reading ahead and compiling change the last digits, and recomputing says it cannot be here."""
    plain = FineTuner(MODEL, "last-2", **SHORT).fit(train)
    other = FineTuner(MODEL, "last-2", **options, **SHORT).fit(train)
    np.testing.assert_allclose(other.predict_proba(test), plain.predict_proba(test), atol=0.03)
    left_out = "the model cannot compute activations again; recompute is left out"
    assert (left_out in other.notes_) == ("recompute" in options)


@pytest.mark.parametrize("augment", ["none", "flip", "crop", "trivial", "randaugment"])
def test_augmentation_gives_what_the_model_reads(train: Dataset, augment: str) -> None:
    from modelgraft_adapters.finetuning.augmentation import training_transform

    backbone = load(MODEL)
    transform, item = training_transform(backbone, augment), train.items[0]
    torch.manual_seed(0)
    views = [transform(item) for _ in range(6)]
    plain = backbone.preprocess(item)
    assert {(view.shape, view.dtype) for view in views} == {(plain.shape, plain.dtype)}
    if augment == "none":
        assert all(torch.equal(view, plain) for view in views)
    elif augment == "flip":
        kinds = [torch.equal(view, plain) or torch.equal(view, plain.flip(2)) for view in views]
        assert all(kinds) and len({tuple(view.flatten().tolist()) for view in views}) == 2
    else:  # other images, in the same numbers: black and white are the model's own
        assert len({tuple(view.flatten().tolist()) for view in views}) == 6
        black, white = (backbone.preprocess(item.point(lambda _, c=c: c)).amin() for c in (0, 255))
        assert all(black - 1e-5 <= view.amin() and view.amax() <= white + 1 for view in views)


def test_early_stopping_keeps_the_best(train: Dataset) -> None:
    tuner = FineTuner(MODEL, "full", epochs=12, lr=3e-3, patience=1, held_out=0.25, batch_size=16).fit(train)
    held = tuner.report_["held_out"]
    best = max(held, key=lambda h: (h["score"], -h["loss"]))
    assert tuner.report_["best_step"] == best["step"]
    assert tuner.report_["stopped_early"] == (len(held) < 12)


def test_a_loss_that_is_no_number_stops_with_its_cause(train: Dataset) -> None:
    with pytest.raises(ModelgraftError, match=r"the loss became (nan|inf) at step \d+.*Take a lower learning rate"):
        FineTuner(MODEL, "full", optimizer="sgd", lr=1e8, clip=None, steps=30, warmup=0.0, augment="none").fit(train)


@pytest.mark.full
def test_too_little_memory_is_answered_by_parts(train: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that holds five images at once: steps of 16 are taken in four parts, with the result of whole ones."""
    whole = FineTuner(MODEL, "lp-ft", precision="fp32", **SHORT).fit(train)
    plain = Grafted.forward

    def small(self: Grafted, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 5 and self.training:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return plain(self, batch)

    monkeypatch.setattr(Grafted, "forward", small)
    parts = FineTuner(MODEL, "lp-ft", precision="fp32", **SHORT).fit(train)
    assert any("each is taken in 4 parts from step 1 on" in note for note in parts.notes_)
    for name, value in _weights(whole).items():
        torch.testing.assert_close(_weights(parts)[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.full
def test_multi_label_and_regression(train: Dataset) -> None:
    items = list(train.items)
    both = [("frog", "green") if n % 3 else ("frog",) for n in range(len(items))]
    tuner = FineTuner(MODEL, "lp-ft", **SHORT).fit(items, both)
    assert tuner.task == "multi-label" and tuner.predict_proba(items).shape == (len(items), 2)
    brightness = [float(np.asarray(item).mean()) for item in items]
    data = read_data(items, brightness, task="regression")
    tuner = FineTuner(MODEL, "full", steps=30, lr=1e-3, augment="flip", batch_size=16).fit(data)
    found = tuner.evaluate_features(tuner.extractor.embed(data.items), data)
    assert found.score.name == "R2" and found.score.value > 0.5


def test_texts_by_the_same_lines(texts: tuple[list[str], list[str]]) -> None:
    tuner = FineTuner(MODEL, "full", steps=30, lr=1e-3).fit(*texts)
    assert tuner.score(*texts) > 0.9
    assert {name.partition(".")[0] for name in tuner.tuned_.names} == {"text"}


@pytest.mark.parametrize(
    ("settings", "data", "says"),
    [
        ({"strategy": "last-99"}, "pictures", "last-99: the model has"),
        ({"strategy": "surgical", "block": "blocks.99"}, "pictures", "no block 'blocks.99'; there are: "),
        ({"strategy": "full", "mixup": 0.2}, "texts", "mixup and cutmix mix images"),
        ({"strategy": "contrastive"}, "pictures", "it takes texts with classes"),
        ({"strategy": "flyp"}, "texts", "takes images with one class each"),
        ({"strategy": "full", "precision": "fp16"}, "pictures", "fp16 needs a CUDA device"),
    ],
)
def test_what_cannot_be_is_said(
    train: Dataset, texts: tuple[list[str], list[str]], settings: dict, data: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        FineTuner(MODEL, steps=1, **settings).fit(*(texts if data == "texts" else (train,)))
