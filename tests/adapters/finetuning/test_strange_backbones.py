"""Backbones that are unlike the project's own: what can be trained is, saved and loaded; what cannot is said before any work.

What is wrong names its plugin and its method, and never trains without a word.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import ModelgraftError, PluginError, UsageError
from modelgraft.training import Block
from modelgraft_adapters import FineTuner, FrozenAdapter, LinearProbe
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.model import Grafted, Passing
from torch import nn

from tests.adapters.finetuning.backbones import WIDTH, Net, Pictures, Texts
from tests.adapters.finetuning.test_refitting import noise

TEXTS = (["a dog", "a car", "a big cat", "a truck", "some bird", "the ship"] * 2, ["x", "y"] * 6)
SHORT: dict[str, Any] = {"steps": 3, "batch_size": 8, "lr": 1e-2}


MORE: dict[str, dict[str, Any]] = {"lp-ft": {"norms": "train"}, "lora": {"rank": 1}}


@pytest.mark.full
@pytest.mark.parametrize("strategy", ["lp-ft", "full", "norm-only", "lora"])
def test_buffers_of_every_kind_and_tied_weights(strategy: str, tmp_path: Path) -> None:
    """Positions that are no part of the state (CLIP's), a counter of calls that is none, running statistics, one weight of two
    layers: trained, saved and loaded, the numbers are the same."""
    backbone, data = Pictures(), noise(16)
    tuner = FineTuner(backbone, strategy, **SHORT, **MORE.get(strategy, {})).fit(*data)
    assert tuner.tuned_ is not None
    names = set(tuner.tuned_.names)
    assert "position_ids" not in names and "second.weight" not in names
    assert ("norm.running_mean" in names) == (strategy in ("lp-ft", "full"))
    assert {"lora": "conv.weight", "norm-only": "norm.weight"}.get(strategy, "first.weight") in names
    again = FrozenAdapter.load(tuner.save(tmp_path / "tuned"), model=Pictures())
    np.testing.assert_array_equal(again.predict_proba(data[0]), tuner.predict_proba(data[0]))
    module: Any = again.extractor.backbone.module
    assert module.first.weight is module.second.weight
    assert torch.equal(module.calls, tuner.extractor.backbone.module.calls)  # type: ignore[arg-type]


def test_a_passing_buffer_that_decides_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics in a buffer that is no part of the state: without them the loaded adapter would say something else."""

    class Drifting(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("drift", torch.zeros(WIDTH), persistent=False)
            self.drift: torch.Tensor

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found = super().forward(pixels)
            if self.training:
                self.drift += 0.1 * found.detach().mean(0) + 0.05
            return found + self.drift

    data = noise(16)
    tuner = FineTuner(Pictures(Drifting()), "full", **SHORT).fit(*data)
    assert tuner.tuned_ is not None and "drift" in tuner.tuned_.names
    again = FrozenAdapter.load(tuner.save(tmp_path / "tuned"), model=Pictures(Drifting()))
    np.testing.assert_array_equal(again.predict_proba(data[0]), tuner.predict_proba(data[0]))
    monkeypatch.setattr(Passing, "moved", lambda self, grafted: [])  # the guard taken out
    tuner = FineTuner(Pictures(Drifting()), "full", **SHORT).fit(*data)
    again = FrozenAdapter.load(tuner.save(tmp_path / "other"), model=Pictures(Drifting()))
    assert np.abs(again.predict_proba(data[0]) - tuner.predict_proba(data[0])).max() > 1e-5


def test_a_cache_that_grows_is_no_part_of_what_is_saved(tmp_path: Path) -> None:
    class Caching(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(1), persistent=False)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if len(self.cache) < len(pixels):  # type: ignore[arg-type]
                self.cache = torch.arange(float(len(pixels)))
            return super().forward(pixels)

    tuner = FineTuner(Pictures(Caching()), "last-1", **SHORT).fit(*noise(16))
    assert tuner.tuned_ is not None and "cache" not in tuner.tuned_.names
    FrozenAdapter.load(tuner.save(tmp_path / "tuned"), model=Pictures(Caching()))


def test_a_resumed_run_has_the_passing_buffers_too(tmp_path: Path) -> None:
    class Counting(Net):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().forward(pixels) * (1 + 0.01 * self.calls)

    data, options = noise(16), {"strategy": "full", "steps": 6, "batch_size": 8, "lr": 1e-2}
    whole = FineTuner(Pictures(Counting()), **options).fit(*data)

    def stop(now: Any) -> None:
        if now.step == 4:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ModelgraftError, match="stopped at step 4 of 6"):
        FineTuner(Pictures(Counting()), folder=tmp_path, tell=stop, **options).fit(*data)
    resumed = FineTuner(Pictures(Counting()), folder=tmp_path, **options).fit(*data, resume=True)
    assert resumed.report_["losses"] == whole.report_["losses"]
    np.testing.assert_array_equal(resumed.predict_proba(data[0]), whole.predict_proba(data[0]))


# What cannot be trained


def _without(backbone: Any, *names: str) -> Any:
    kept = {name: getattr(backbone, name) for name in dir(backbone) if not name.startswith("_") and name not in names}
    return SimpleNamespace(**kept)


class NoParameters(Pictures):
    """As a model in ONNX format: its module holds nothing."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten())

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)[:, :WIDTH]


@pytest.mark.parametrize(
    ("backbone", "data", "settings", "says"),
    [
        (lambda: _without(Pictures(), "embed"), noise(8), {}, "its plugin stranger:toy gives it no embed()"),
        (lambda: _without(Pictures(), "embed", "blocks"), noise(8), {}, "gives it no blocks() and no embed()"),
        (
            lambda: _without(Texts(), "token_batch"),
            TEXTS,
            {},
            "on texts: its plugin stranger:toy gives it no token_batch()",
        ),
        (NoParameters, noise(8), {}, "it has no parameters in torch"),
        (Pictures, noise(8), {"strategy": "scratch"}, "its plugin gives it no randomise()"),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_work(backbone: Any, data: Any, settings: Any, says: str) -> None:
    told: list[Any] = []
    with pytest.raises(UsageError) as found:
        FineTuner(backbone(), tell=told.append, **{"strategy": "full", **SHORT, **settings}).fit(*data)
    assert says in str(found.value) and "\n" not in str(found.value) and not told


def test_an_image_only_plugin_trains_and_recompute_is_left_out() -> None:
    tuner = FineTuner(Pictures(), "full", recompute=True, **SHORT).fit(*noise(16))
    assert "the model cannot compute activations again; recompute is left out" in tuner.notes_


# What a plugin does wrong


def leaves(*_: Any) -> Any:
    sys.exit(3)


def fails(*_: Any) -> Any:
    raise KeyError("weights")


def _changed(kind: Callable[[], Any], name: str, change: Callable[..., Any]) -> Any:
    """A backbone whose method gives something else: ``change`` of what it gave."""
    backbone = kind()
    plain = getattr(type(backbone), name)
    made = type(kind.__name__, (type(backbone),), {name: lambda self, *given: change(plain(self, *given))})
    backbone.__class__ = made
    return backbone


def _detached(found: torch.Tensor) -> torch.Tensor:
    return found.detach()


WRONG: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "embed: NaN": (lambda: _changed(Pictures, "embed", lambda f: f * float("nan")), None, "not finite"),
    "embed: a row too many": (
        lambda: _changed(Pictures, "embed", lambda f: torch.cat([f, f[:1]])), None, "embeds a training batch to a tensor (3, 8)"
    ),
    "embed: a row too few": (lambda: _changed(Pictures, "embed", lambda f: f[1:]), None, "where (2, 8) was announced"),
    "embed: one row for all": (lambda: _changed(Pictures, "embed", lambda f: f[:1]), None, "a tensor (1, 8) of float32"),
    "embed: another width": (lambda: _changed(Pictures, "embed", lambda f: f[:, :5]), None, "a tensor (2, 5) of float32"),
    "embed: whole numbers": (lambda: _changed(Pictures, "embed", lambda f: f.long()), None, "of int64"),
    "embed: an array": (
        lambda: _changed(Pictures, "embed", lambda f: f.detach().numpy()), None, "embeds a training batch to ndarray"
    ),
    "embed: nothing": (lambda: _changed(Pictures, "embed", lambda f: None), None, "embeds a training batch to NoneType"),
    "embed: without gradients": (lambda: _changed(Pictures, "embed", _detached), None, "without gradients"),
    "embed: another than encode_image": (
        lambda: _changed(Pictures, "embed", lambda f: nn.functional.normalize(f)), None, "which differs from encode_image() by"
    ),
    "embed: leaves": (
        lambda: _changed(Pictures, "embed", leaves), None, "embedding a training batch with embedded/sprig: SystemExit: 3"
    ),
    "embed: fails": (lambda: _changed(Pictures, "embed", fails), None, "embedding a training batch with embedded/sprig: KeyError"),
    "embed: of texts, NaN": (lambda: _changed(Texts, "embed", lambda f: f / 0), TEXTS, "not finite"),
    "blocks: fails": (lambda: _changed(Pictures, "blocks", fails), None, "asking for its blocks"),
    "blocks: none": (lambda: _changed(Pictures, "blocks", lambda f: ()), None, "has no blocks with parameters for images"),
    "blocks: an unknown parameter": (
        lambda: _changed(Pictures, "blocks", lambda f: (*f, Block("x", ("head.weight",)))), None, "a parameter 'head.weight'"
    ),
    "blocks: one twice": (
        lambda: _changed(Pictures, "blocks", lambda f: (*f, Block("x", f[0].parameters))), None, "twice in its blocks"
    ),
    "blocks: no blocks at all": (lambda: _changed(Pictures, "blocks", lambda f: 7), None, "asking for its blocks"),
    "token_batch: a row too few": (
        lambda: _changed(Texts, "token_batch", lambda f: {n: v[1:] for n, v in f.items()}), TEXTS, "token_batch of 2 texts counts"
    ),
    "token_batch: lists": (
        lambda: _changed(Texts, "token_batch", lambda f: {n: v.tolist() for n, v in f.items()}), TEXTS, "counts as list"
    ),
    "token_batch: nothing": (lambda: _changed(Texts, "token_batch", lambda f: None), TEXTS, "gives NoneType None as a token_batch"),
    "token_batch: leaves": (lambda: _changed(Texts, "token_batch", leaves), TEXTS, "SystemExit"),
    "preprocess: fails": (lambda: _changed(Pictures, "preprocess", fails), None, "none of the 16 training items could be read"),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("strategy", ["full", "lp-ft"])
@pytest.mark.parametrize("case", WRONG)
def test_a_plugin_that_is_wrong_is_named(case: str, strategy: str) -> None:
    make, data, says = WRONG[case]
    with pytest.raises(ModelgraftError) as found:
        FineTuner(make(), strategy, augment="none", **SHORT).fit(*(data or noise(16)))
    told = str(found.value)
    assert says in told and "stranger:toy" in told and "\n" not in told


class Late(Pictures):
    """Right where it is tried, and wrong in training."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.change = change

    def embed(self, batch: Any) -> torch.Tensor:
        found = super().embed(batch)
        return self.change(found) if self.module.training else found


def _holed(found: torch.Tensor) -> torch.Tensor:
    return torch.cat([found[:1] * float("nan"), found[1:]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_holed, "embeds training items of the first step to numbers that are not finite"),
        (lambda f: torch.cat([f, f]), "where (8, 8) was announced"),
        (_detached, "without gradients, so that nothing of it would be trained"),
    ],
)
def test_what_goes_wrong_only_in_training_is_named_too(change: Any, says: str) -> None:
    with pytest.raises(PluginError) as found:
        FineTuner(Late(change), "full", **SHORT).fit(*noise(16))
    assert says in str(found.value) and "stranger:toy" in str(found.value)


class Clinging(Pictures):
    """Computes with the module it was made with, whatever is copied or put in its place."""

    def __init__(self) -> None:
        super().__init__()
        module = self.module
        self.run = lambda batch: module(batch)

    def embed(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = self.run(batch)
        return found


def _numbers(count: int) -> tuple[Dataset]:
    return (read_data(noise(count)[0], [float(n % 5) for n in range(count)], task="regression"),)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Using a target size")  # torch, of what the guards keep away
def test_guards_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken out, each of these trains to the end without a word: one row for all items of a regression, an embedding without
    gradients, one that is computed with other weights than those that are trained."""
    from modelgraft_adapters.finetuning.loop import Loop

    cases: list[tuple[Any, Any, str]] = [
        (Late(lambda f: f.mean(0, keepdim=True)), _numbers(16), "where (8, 8) was announced"),
        (Late(_detached), noise(16), "without gradients"),
        (Clinging(), noise(16), "no gradient reaches the weights that are to be trained"),
    ]
    for backbone, data, says in cases:
        with pytest.raises(PluginError, match="stranger:toy") as found:
            FineTuner(backbone, "full", augment="none", **SHORT).fit(*data)
        assert says in str(found.value)
    monkeypatch.setattr(plugin_calls, "embedding", lambda backbone, batch, learns: backbone.embed(batch))
    monkeypatch.setattr(Loop, "_check_reached", lambda self, batch: None)
    for backbone, data, _ in cases:
        tuner = FineTuner(backbone, "full", augment="none", **SHORT).fit(*data)
        assert tuner.report_["chosen"]["steps"] == 3


def test_an_embedding_that_differs_would_be_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard taken out: the head is trained on embeddings of another scale than those that it predicts from."""
    monkeypatch.setattr(plugin_calls, "check_embedding", lambda backbone, inputs: None)
    wrong = _changed(Pictures, "embed", lambda f: 10 * f)
    data = noise(16)
    tuner = FineTuner(wrong, "full", augment="none", **SHORT).fit(*data)
    right = FineTuner(Pictures(), "full", augment="none", **SHORT).fit(*data)
    assert np.abs(tuner.predict_proba(data[0]) - right.predict_proba(data[0])).max() > 1e-3


def test_a_backbone_that_cannot_be_copied_is_named() -> None:
    class Locked(Pictures):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle '_thread.lock' object")

    with pytest.raises(PluginError, match="plugin stranger:toy failed while copying embedded/sprig: TypeError"):
        FineTuner(Locked(), "full", **SHORT).fit(*noise(8))


def test_a_block_by_the_other_name_of_a_tied_weight_is_trained() -> None:
    class Other(Pictures):
        def blocks(self, modality: str | None = None) -> tuple[Block, ...]:
            return (
                Block("stem", ("conv.weight", "conv.bias")),
                Block("final", ("second.weight", "second.bias", "first.bias")),
            )

    tuner = FineTuner(Other(), "last-1", **SHORT).fit(*noise(16))
    assert tuner.tuned_ is not None and "first.weight" in tuner.tuned_.names


def test_a_frozen_head_needs_none_of_it() -> None:
    """What cannot be trained can still be probed."""
    assert LinearProbe(_without(Pictures(), "embed", "blocks"), store=False).fit(*noise(16)).head_ is not None
    assert copy.deepcopy(Pictures()).entry == Pictures().entry
    assert not Grafted(Pictures(), nn.Identity()).learns


@pytest.mark.full
def test_what_could_not_be_saved_is_said_before_training(tmp_path: Path) -> None:
    """Names of classes that make the card too large to be read: a line where nothing has to be saved, and else no training."""
    pictures, labels = noise(8)
    long = [label * (1 << 20) for label in labels]
    told: list[Any] = []
    tuner = FineTuner(Pictures(), "head-only", steps=1, batch_size=4).fit(pictures, long)
    assert any(
        note.startswith("this adapter will predict, and cannot be saved: the card would have ") for note in tuner.notes_
    )
    with pytest.raises(ModelgraftError, match="nothing was trained, as it could not be saved: the card would have "):
        FineTuner(Pictures(), "full", steps=1, folder=tmp_path, tell=told.append).fit(pictures, long)
    assert not told and not any(tmp_path.iterdir())
