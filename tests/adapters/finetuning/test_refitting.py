"""A fit knows nothing of the fit before it, and a fit that fails changes nothing; what was measured goes with the weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import Adapter, FineTuner, FrozenAdapter, MultiTaskTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.settings import STRATEGIES
from modelgraft_adapters.finetuning.weight_averaging import move, souped, wise_curve, zero_shot_kept
from PIL import Image

from tests.adapters.finetuning.backbones import Pictures, Texts

MODEL = "embedded/sprig"
Labelled = tuple[list[Any], list[str]]


def noise(count: int, seed: int = 0) -> Labelled:
    """Images of noise with labels that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(count)]
    return pictures, [("a", "b")[n] for n in rng.permutation(np.arange(count) % 2)]


def weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Of the backbone that predicts, and of the head."""
    module, head = adapter.extractor.backbone.module, adapter.head_
    assert head is not None
    return {name: v.clone() for name, v in (*module.state_dict().items(), *head.state()[0].items())}


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.full
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_second_fit_is_the_first(strategy: str, train: Dataset, texts: Labelled) -> None:
    """To the last bit, for every strategy; of a loaded backbone, which stays as it was; a rate looked for in between."""
    backbone = load(MODEL)
    before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    settings = {"strategy": "last-1" if strategy == "last-N" else strategy, "steps": 2, "batch_size": 8}
    data: Any = texts if strategy == "contrastive" else (train.take(range(0, 48, 4)),)
    tuner = FineTuner(backbone, **settings, **({"block": "0"} if strategy == "surgical" else {})).fit(*data)
    first, losses = weights(tuner), tuner.report_["losses"]
    tuner.fit(*data)
    assert alike(first, weights(tuner)) and tuner.report_["losses"] == losses
    assert tuner.model is backbone and not backbone.module.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.module.state_dict().items())
    assert not any(value.requires_grad for value in backbone.module.parameters())


@pytest.mark.full
def test_looking_for_a_rate_leaves_no_trace() -> None:
    tuner = FineTuner(Pictures(), "full", steps=3, batch_size=4)
    fresh = weights(FineTuner(Pictures(), "full", steps=3, batch_size=4).fit(*noise(16)))
    tuner.find_rate(*noise(16))
    assert tuner.head_ is None and not tuner.classes
    assert alike(weights(tuner.fit(*noise(16))), fresh)
    tuner.find_rate(*noise(12, 5))
    assert alike(weights(tuner), fresh)


def test_several_tasks_fitted_again() -> None:
    pictures, labels = noise(16)
    data = (pictures, {"one": labels, "other": labels[::-1]})
    backbone = Pictures()
    tuner = MultiTaskTuner(backbone, "full", steps=4, batch_size=8).fit(*data)
    first, held = {name: weights(one) for name, one in tuner.adapters_.items()}, tuner.adapters_["one"]
    tuner.fit(*data)
    assert all(alike(first[name], weights(one)) for name, one in tuner.adapters_.items())
    assert tuner.model is backbone and held is not tuner.adapters_["one"] and alike(first["one"], weights(held))
    with pytest.raises(UsageError):
        tuner.fit(pictures, {"one": ["a"] * 16})
    assert list(tuner.adapters_) == ["one", "other"] and alike(first["one"], weights(tuner.adapters_["one"]))


def crossed(tuner: FineTuner, pictures: list[Any], labels: list[str], folds: int = 4) -> float:
    """Accuracy over the folds, by one tuner that is fitted again for each."""
    right = 0
    for fold in range(folds):
        test = [n for n in range(len(labels)) if n % folds == fold]
        train = [n for n in range(len(labels)) if n % folds != fold]
        tuner.fit([pictures[n] for n in train], [labels[n] for n in train])
        found = tuner.predict([pictures[n] for n in test])
        right += int((found == np.array([labels[n] for n in test], object)).sum())
    return right / len(labels)


@pytest.mark.full
def test_cross_validation_on_noise_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that are drawn cannot be predicted. With the guard taken out (a fit begins from the weights that the one before it
    ended with, which have seen the labels of this fold) they can."""
    pictures, labels = noise(24, 3)
    settings: dict[str, Any] = {"steps": 60, "batch_size": 18, "lr": 3e-2, "augment": "none", "weight_decay": 0.0}
    fresh = crossed(FineTuner(Pictures(), "full", **settings), pictures, labels)
    assert fresh < 0.75
    plain = FineTuner._take_over

    def going_on(self: FineTuner, twin: FineTuner) -> None:
        plain(self, twin)
        self.model = twin.extractor.backbone

    monkeypatch.setattr(FineTuner, "_take_over", going_on)
    assert crossed(FineTuner(Pictures(), "full", **settings), pictures, labels) > fresh + 0.15


BAD: dict[str, tuple[Any, type[BaseException]]] = {
    "one class": (lambda t: t.fit([Image.new("RGB", (8, 8))] * 4, ["c"] * 4), UsageError),
    "no item that can be read": (lambda t: t.fit(["no.png", "such.png"], ["c", "d"]), ModelgraftError),
    "unlike lengths": (lambda t: t.fit(noise(6)[0], ["c", "d"]), UsageError),
    "a seed that is none": (lambda t: _with(t, seed=-3).fit(*noise(8)), UsageError),
}


def _with(tuner: FineTuner, **values: Any) -> FineTuner:
    for name, value in values.items():
        setattr(tuner, name, value)
    return tuner


@pytest.mark.parametrize("case", BAD)
def test_a_fit_that_fails_changes_nothing(case: str) -> None:
    fit, error = BAD[case]
    tuner = FineTuner(Pictures(), "full", steps=3, batch_size=4).fit(*noise(16))
    tuner.evaluate(*noise(8, 1))
    before = dict(vars(tuner))
    with pytest.raises(error):
        fit(tuner)
    now = vars(tuner)
    assert now.keys() == before.keys() and all(now[name] is value for name, value in before.items() if name != "seed")


@pytest.mark.full
@pytest.mark.parametrize("why", [KeyboardInterrupt, RuntimeError("no"), ModelgraftError("the loss became nan")])
def test_what_ends_a_run_half_way_changes_nothing(why: Any) -> None:
    """Other classes, and an end after the second step: head, classes, notes and scores are those of before."""
    tuner = FineTuner(Pictures(), "lp-ft", steps=4, batch_size=4).fit(*noise(16))
    tuner.evaluate(*noise(8, 1))
    before, wanted = dict(vars(tuner)), tuner.predict_proba(noise(6, 2)[0])

    def end(now: Any) -> None:
        if now.step == 2:
            raise why

    tuner.tell = end
    with pytest.raises(why if isinstance(why, type) else type(why)):
        tuner.fit(noise(12, 4)[0], ["x", "y", "z"] * 4)
    tuner.tell = None
    assert list(tuner.classes_) == ["a", "b"]
    assert all(vars(tuner)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(tuner.predict_proba(noise(6, 2)[0]), wanted)


def test_without_a_twin_a_fit_that_fails_would_leave_one_head_under_the_classes_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guard taken out: training writes to the tuner itself."""
    tuner = FineTuner(Pictures(), "full", steps=2, batch_size=4).fit(*noise(16))

    def end(now: Any) -> None:
        raise ModelgraftError("the loss became nan")

    tuner.tell = end
    monkeypatch.setattr(FineTuner, "_twin", lambda self: self)
    with pytest.raises(ModelgraftError):
        tuner.fit(noise(12, 4)[0], ["x", "y"] * 6)
    assert list(tuner.classes_) == ["x", "y"] and tuner.head_ is not None  # of "a" and "b"


def stated(tuner: Adapter, folder: Path) -> Any:
    """The evaluation that the card of the saved adapter states."""
    return json.loads((tuner.save(folder) / "modelgraft_adapter.json").read_text())["evaluation"]


def test_scores_go_with_the_weights_they_were_measured_on(tmp_path: Path) -> None:
    data, test = noise(16), noise(8, 1)
    tuner = FineTuner(Pictures(), "full", steps=6, batch_size=8, lr=1e-2).fit(*data)
    measured = tuner.evaluate(*test)
    assert stated(tuner, tmp_path / "one")["items"] == 8
    points = wise_curve(
        tuner, [read_data(*data)], alphas=(0, 0.5)
    )  # looks at other weights, and leaves those there were
    assert len(points) == 2 and tuner.evaluation_ is measured
    move(tuner, 0.5)
    assert tuner.evaluation_ is None and stated(tuner, tmp_path / "two") is None and tuner.report_["alpha"] == 0.5
    assert "accuracy" not in (tmp_path / "two" / "README.md").read_text().partition("## ")[0]
    tuner.evaluate(*test)
    move(tuner, 1)
    assert tuner.evaluation_ is None and "alpha" not in tuner.report_
    tuner.evaluate(*test)
    assert stated(tuner.fit(*data), tmp_path / "three") is None
    tuner.evaluate(*test)
    assert souped([tuner, FineTuner(Pictures(), "full", steps=6, batch_size=8, seed=1).fit(*data)]) is tuner
    assert tuner.evaluation_ is None and tuner.report_["souped"] == 2


def test_scores_of_several_tasks_go_too() -> None:
    pictures, labels = noise(16)
    tuner = MultiTaskTuner(Pictures(), "full", steps=3, batch_size=8).fit(
        pictures, {"one": labels, "other": labels[::-1]}
    )
    tuner.evaluate(pictures, {"one": labels})
    assert tuner.adapters_["one"].evaluation_ is not None
    move(tuner, 0.5)  # type: ignore[arg-type]
    assert tuner.adapters_["one"].evaluation_ is None and tuner.adapters_["one"].report_["alpha"] == 0.5


def test_a_curve_that_fails_half_way_leaves_the_tuner_where_it_was() -> None:
    tuner = FineTuner(Pictures(), "full", steps=4, batch_size=8, lr=1e-2).fit(*noise(16))
    before = weights(tuner)
    with pytest.raises(ModelgraftError):
        wise_curve(tuner, [read_data(*noise(8)), "no/such/folder"], alphas=(0.5,))
    assert alike(before, weights(tuner)) and tuner.alpha_ == 1


@pytest.mark.full
def test_zero_shot_elsewhere_keeps_what_was_measured(train: Dataset, test: Dataset) -> None:
    tuner = FineTuner(MODEL, "last-1", steps=1, batch_size=8).fit(train)
    measured = tuner.evaluate(test)
    zero_shot_kept(tuner, test)
    assert tuner.evaluation_ is measured


def test_soups_of_other_starts_are_refused() -> None:
    data = noise(16)
    one, other = Pictures(), Pictures()
    with torch.no_grad():
        next(other.module.parameters()).add_(1.0)
    with pytest.raises(UsageError, match="began from the same weights"):
        souped([FineTuner(model, "full", steps=2, batch_size=8).fit(*data) for model in (one, other)])


def test_a_loaded_backbone_in_train_mode_is_refused() -> None:
    backbone = Pictures()
    backbone.module.train()
    with pytest.raises(UsageError, match="is in train mode"):
        FineTuner(backbone, "full", steps=1).fit(*noise(8))


def test_a_reused_tuner_takes_the_other_modality() -> None:
    """What the first data were is no parameter of the second fit."""
    tuner = FineTuner(MODEL, "head-only", steps=1, batch_size=4)
    tuner.fit(["a dog", "a car", "a cat", "a truck"], ["x", "y", "x", "y"])
    assert tuner.fit(*noise(8)).extractor.modality == "image"


@pytest.mark.full
def test_what_is_saved_after_a_second_fit_loads(tmp_path: Path) -> None:
    data = noise(16)
    for model in (Pictures(), Texts()):
        items, labels = (
            data if isinstance(model, Pictures) else (["a dog", "a car", "a big cat", "a truck"] * 4, ["a", "b"] * 8)
        )
        tuner = FineTuner(model, "lp-ft", steps=3, batch_size=8, lr=1e-2).fit(items, labels).fit(items, labels)
        folder = tuner.save(tmp_path / type(model).__name__)
        again = FrozenAdapter.load(folder, model=copy.deepcopy(model))
        np.testing.assert_array_equal(again.predict_proba(items), tuner.predict_proba(items))
