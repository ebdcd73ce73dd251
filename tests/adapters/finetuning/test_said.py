"""What a run says of itself: steps in parts, undefined scores, cut texts, numbers close together, settings, another run's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import FineTuner, MultiTaskTuner
from modelgraft_adapters.cli.training_log import Follower
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.loop import PARTS_DIFFER, Progress
from modelgraft_adapters.finetuning.losses import Units
from modelgraft_adapters.finetuning.run import UNSCORED, Held
from modelgraft_adapters.finetuning.settings import Settings

from tests.adapters.finetuning.backbones import Pictures, Texts
from tests.adapters.finetuning.test_refitting import noise

# Steps in parts


@pytest.mark.parametrize("norms", ["train", "eval"])
def test_parts_are_the_same_step_where_norms_are_in_eval_and_else_it_is_said(norms: str) -> None:
    data, options = noise(16), {"strategy": "full", "steps": 6, "batch_size": 16, "lr": 1e-2, "norms": norms}
    options["precision"] = "fp32"
    whole = FineTuner(Pictures(), augment="none", **options).fit(*data)
    parts = FineTuner(Pictures(), augment="none", accumulate=4, **options).fit(*data)
    apart = np.abs(np.subtract(whole.report_["losses"], parts.report_["losses"])).max()
    if norms == "eval":
        assert apart < 1e-5 and PARTS_DIFFER not in parts.notes_
    else:
        assert apart > 1e-3 and PARTS_DIFFER in parts.notes_ and PARTS_DIFFER not in whole.notes_


@pytest.mark.parametrize("norms", ["train", "eval"])
def test_parts_that_memory_asks_for_say_it_too(norms: str) -> None:
    class Small(Pictures):
        def embed(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 5 and torch.is_grad_enabled():
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return super().embed(batch)

    tuner = FineTuner(Small(), "full", steps=2, batch_size=16, norms=norms).fit(*noise(16))
    told = next(note for note in tuner.notes_ if "each is taken in 4 parts from step 1 on" in note)
    assert ("gives the same step" in told) == (norms == "eval") != (PARTS_DIFFER in tuner.notes_)


# What is not defined


def _several(empty: bool) -> Dataset:
    """Labels that the images say nothing of; those of the part held out have none where ``empty``."""
    pictures, _ = noise(24)
    labels: list[Any] = [("a",) if n % 2 else ("a", "b") for n in range(24)]
    split = np.array(["val" if n >= 16 else "train" for n in range(24)])
    data = read_data(pictures, labels, task="multi-label")
    targets = np.array(data.targets)
    if empty:
        targets[16:] = 0
    return Dataset(data.items, data.modality, data.task, targets, data.classes, split=split)


def test_a_score_that_is_not_defined_is_said_and_the_loss_decides() -> None:
    """No item held out has any label: a mean average precision of nothing. The best is that of least loss, not the first."""
    tuner = FineTuner(Pictures(), "full", epochs=6, batch_size=8, lr=3e-2, patience=2, augment="none").fit(
        _several(True)
    )
    held = tuner.report_["held_out"]
    assert all(one["score"] is None and np.isfinite(one["loss"]) for one in held)
    best = min(held, key=lambda one: one["loss"])
    assert tuner.report_["best_step"] == best["step"] and UNSCORED in tuner.notes_
    json.dumps(tuner.report_, allow_nan=False)
    scored = FineTuner(Pictures(), "full", epochs=2, batch_size=8, patience=2, augment="none").fit(_several(False))
    assert UNSCORED not in scored.notes_ and all(one["score"] is not None for one in scored.report_["held_out"])


def test_the_better_of_two() -> None:
    assert Held(2, None, 0.5).beats(Held(1, None, 0.6)) and not Held(2, None, 0.6).beats(Held(1, None, 0.5))
    assert Held(2, 0.7, 0.9).beats(Held(1, 0.6, 0.1)) and Held(2, 0.7, 0.1).beats(Held(1, 0.7, 0.2))
    assert Held(1, None, 0.5).beats(None)


def test_a_held_out_part_of_which_nothing_can_be_read() -> None:
    pictures, labels = noise(12)
    items: list[Any] = [*pictures, "no.png", "such.png"]
    split = np.array(["train"] * 12 + ["val"] * 2)
    whole = read_data(pictures, labels)
    assert whole.targets is not None
    data = Dataset(items, "image", "single-label", np.array([*whole.targets, 0, 1]), whole.classes, split=split)
    with pytest.raises(ModelgraftError, match="none of the 2 held-out items could be read; the first: "):
        FineTuner(Pictures(), "full", steps=4, batch_size=8, patience=1).fit(data)


# Texts that are cut


@pytest.mark.parametrize("strategy", ["full", "lp-ft", "contrastive"])
def test_all_texts_that_are_cut_are_counted(strategy: str) -> None:
    """Also those of later batches: 3 of 80 here, none of them among the first 40."""
    texts = [f"a dog number {n}" if n % 2 else f"a car number {n}" for n in range(80)]
    for n in (50, 61, 79):
        texts[n] += " and many more words than the model reads"
    tuner = FineTuner(Texts(), strategy, steps=2, batch_size=4).fit(
        texts, ["dog" if n % 2 else "car" for n in range(80)]
    )
    assert "of the texts to train on: 3 of 80 texts cut at 40 letters" in tuner.notes_
    both = {"one": ["dog" if n % 2 else "car" for n in range(80)], "other": [("x", "y")[n % 3 == 0] for n in range(80)]}
    if strategy != "contrastive":
        found = MultiTaskTuner(Texts(), strategy, steps=2, batch_size=4).fit(texts, both)
        assert "of the texts to train on: 3 of 80 texts cut at 40 letters" in found.notes_


# Numbers that lie close together


def test_large_targets_close_together_keep_their_differences() -> None:
    """Points of time, seconds since 1970: their differences are lost where they are centred in float32."""
    seconds = 1.7e9 + np.arange(20.0)[:, None] * 10
    units = Units.of(seconds)
    wanted = (seconds - seconds.mean()) / seconds.std()
    np.testing.assert_allclose(units.apply(torch.from_numpy(seconds)).numpy(), wanted, atol=1e-6)
    weight, bias = units.undo(torch.ones(1, 1), torch.zeros(1))
    assert bias.dtype == torch.float64 and float(bias) == pytest.approx(seconds.mean(), abs=1e-3)
    back = units.enter(weight, bias)
    assert float(back[0]) == pytest.approx(1.0) and float(back[1]) == pytest.approx(0.0, abs=1e-9)
    in_float32 = torch.from_numpy(seconds).float()  # the guard taken out
    lost = (in_float32 - in_float32.mean()) / in_float32.std(correction=0)
    assert float((lost.double() - torch.from_numpy(wanted)).abs().max()) > 0.5


def test_large_targets_are_kept_and_predicted_in_float64() -> None:
    """Seconds since 1970 that differ by minutes: float32 would hold them in steps of 128."""
    texts = [f"a dog number {n}" for n in range(20)]
    wanted = 1.7e9 + np.arange(20.0) * 60 + 7
    data = read_data(texts, wanted.tolist(), task="regression")
    assert data.targets is not None and (data.targets[:, 0] == wanted).all()
    tuner = FineTuner(Texts(), "full", steps=1, batch_size=4).fit(data)
    found = tuner.predict(texts)
    assert found.dtype == np.float64 and np.abs(found - wanted.mean()).max() < 10 * wanted.std()
    assert (found % 128 != 0).any(), "not rounded to what float32 holds"


# Settings


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"steps": np.int64(2)}, {"steps": 2}),
        ({"steps": 2.0}, {"steps": 2}),
        ({"epochs": 2}, {"epochs": 2}),
        ({"epochs": np.float32(0.5)}, {"epochs": 0.5}),
        ({"lr": np.float64(0.25)}, {"lr": 0.25}),
        ({"lr": np.int32(1)}, {"lr": 1}),
        ({"batch_size": np.uint8(8)}, {"batch_size": 8}),
        ({"compile": np.bool_(False)}, {}),
        ({"strategy": "surgical", "block": np.int64(-1)}, {"block": "-1"}),
        ({"strategy": np.str_("full")}, {}),
        ({"patience": None, "clip": None}, {"clip": None}),
    ],
)
def test_what_is_meant_is_taken(given: dict[str, Any], taken: dict[str, Any]) -> None:
    record = Settings.of(given).record()
    assert {name: record[name] for name in taken} == taken
    assert all(type(value) in (int, float, str, bool, type(None)) for value in record.values())
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lr": True}, "lr is True; it takes float"),
        ({"lr": np.bool_(True)}, "it takes float"),
        ({"lr": "1e-3"}, "lr is '1e-3'; it takes float"),
        ({"lr": np.array(0.1)}, "it takes float"),
        ({"lr": torch.tensor(0.1)}, "it takes float"),
        ({"lr": 1j}, "it takes float"),
        ({"steps": 2.5}, "steps is 2.5; it takes int"),
        ({"steps": float("inf")}, "it takes int"),
        ({"steps": float("nan")}, "it takes int"),
        ({"steps": True}, "steps is True; it takes int"),
        ({"steps": -1}, "steps must be above 0"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"patience": -1}, "patience must be above 0"),
        ({"epochs": float("nan")}, "epochs must be above 0"),
        ({"weight_decay": float("nan")}, "weight_decay must be 0 or more"),
        ({"weight_decay": float("inf")}, "weight_decay must be 0 or more"),
        ({"warmup": float("nan")}, "warmup must be from 0 to 1"),
        ({"ema": float("nan")}, "ema must be from 0 to 1"),
        ({"strategy": None}, "strategy is None; it takes str"),
        ({"layer_decay": None}, "layer_decay is None"),
        ({"label_smoothing": 1}, "label_smoothing must be below 1"),
        ({"lora_dropout": 1.0}, "lora_dropout must be below 1"),
        ({"patience": 2, "held_out": 0}, "held_out must be above 0"),
    ],
)
def test_what_cannot_be_is_a_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as found:
        Settings.of(given)
    assert says in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"seed": True}, "seed=True"),
        ({"seed": "3"}, "seed='3'"),
        ({"class_weight": {"a": -1.0}}, "class_weight of 'a' is -1.0"),
        ({"class_weight": {"a": float("nan")}}, "class_weight of 'a' is nan"),
        ({"class_weight": {"b": float("inf")}}, "class_weight of 'b' is inf"),
        ({"class_weight": {"a": "2"}}, "class_weight of 'a' is '2'"),
        ({"class_weight": {"a": 0, "b": 0}}, "leaves nothing to train on"),
        ({"workers": -1}, "workers is -1"),
        ({"workers": 1.5}, "workers is 1.5"),
    ],
)
def test_what_a_run_cannot_take_beside_its_settings(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as found:
        FineTuner(Pictures(), "full", steps=1, **given).fit(*noise(8))
    assert says in str(found.value)


def test_a_seed_that_is_drawn_is_recorded() -> None:
    tuner = FineTuner(Pictures(), "full", steps=1, seed=None).fit(*noise(8))
    assert tuner.seed is None and isinstance(tuner.record_["seed"], int)
    again = FineTuner(Pictures(), "full", steps=1, seed=tuner.record_["seed"]).fit(*noise(8))
    assert again.report_["losses"] == tuner.report_["losses"]


# Another run's log and checkpoint


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _told(folder: Path, steps: range, resumed: bool) -> None:
    with Follower(folder, tensorboard=False, quiet=False, resumed=resumed) as follower:
        for step in steps:
            follower(Progress(step, 9, 0.5, None, 1e-3, 10.0, 1.0))


def test_the_log_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    """A run that was killed has lines of steps after its checkpoint, and half a line: each step is there once."""
    log = tmp_path / "steps.jsonl"
    _told(tmp_path, range(1, 8), False)
    log.write_bytes(log.read_bytes() + b'{"step": 8, "loss": 0.')
    _told(tmp_path, range(5, 10), True)
    assert [line["step"] for line in _lines(log)] == list(range(1, 10))
    log.write_bytes(log.read_bytes()[:-20])  # cut in the line of the last step before the checkpoint
    _told(tmp_path, range(9, 10), True)
    assert [line["step"] for line in _lines(log)] == list(range(1, 10))


def test_a_run_that_never_begins_leaves_the_log_of_another(tmp_path: Path) -> None:
    _told(tmp_path, range(1, 4), False)
    for resumed in (True, False):
        with Follower(tmp_path, tensorboard=False, quiet=False, resumed=resumed):
            pass
        assert len(_lines(tmp_path / "steps.jsonl")) == 3
    _told(tmp_path, range(1, 3), False)
    assert [line["step"] for line in _lines(tmp_path / "steps.jsonl")] == [1, 2]


def _half(tmp_path: Path, data: Any, **options: Any) -> None:
    def stop(now: Any) -> None:
        if now.step == 2:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ModelgraftError, match="stopped at step 2"):
        FineTuner(Pictures(), "full", folder=tmp_path, tell=stop, **options).fit(data)


def test_a_checkpoint_of_other_data_held_out_is_refused(tmp_path: Path) -> None:
    """As many items, of which others are looked at: the best of both would be of neither."""
    options: dict[str, Any] = {"steps": 6, "batch_size": 8, "patience": 3}
    data = _several(False)
    _half(tmp_path, data, **options)
    assert data.targets is not None
    other = Dataset(
        [*data.items[:16], *noise(8, 9)[0]], "image", "multi-label", data.targets, data.classes, split=data.split
    )
    with pytest.raises(UsageError, match="is of another run: its val is"):
        FineTuner(Pictures(), "full", folder=tmp_path, **options).fit(other, resume=True)
