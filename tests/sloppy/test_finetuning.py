"""Sloppy inputs of fine-tuning: each gives the right answer or one line that says what is wrong; none trains on something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft.errors import ModelgraftError
from modelgraft_adapters import FineTuner, MultiTaskTuner
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.weight_averaging import move, souped
from PIL import Image

from tests.adapters.finetuning.backbones import Pictures, Texts
from tests.adapters.finetuning.test_refitting import noise

TEXTS = ["a dog", "a car", "a big cat", "a truck", "some bird", "the ship"] * 4
LABELS = ["x", "y"] * 12
PICTURES, NAMES = noise(16)


def fit(strategy: str = "full", items: Any = TEXTS, labels: Any = LABELS, **settings: Any) -> FineTuner:
    kind = Pictures if items is PICTURES or settings.pop("pictures", False) else Texts
    return FineTuner(kind(), strategy, **{"steps": 2, "batch_size": 8, **settings}).fit(items, labels)


def _only_strangers() -> Any:
    data = read_data(PICTURES, ["a"] * 6 + ["b"] * 6 + ["c"] * 4)
    return replace(data, split=np.array(["train"] * 12 + ["val"] * 4))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no model": (lambda _: FineTuner(None, "full").fit(TEXTS, LABELS), "model is NoneType; fine-tuning takes the name of a model"),
    "a class for a backbone": (lambda _: FineTuner(Texts, "full").fit(TEXTS, LABELS), "model is the class Texts"),
    "a module": (lambda _: FineTuner(torch.nn.Linear(3, 3), "full").fit(TEXTS, LABELS), "model is Linear; fine-tuning takes"),
    "a list of strategies": (lambda _: fit(["full"]), "strategy is ['full']"),  # type: ignore[arg-type]
    "a strategy in capitals": (lambda _: fit("LP-FT"), "no strategy 'LP-FT'; there are: full"),
    "more blocks than there are": (lambda _: fit("last-9"), "the model has 2 blocks"),
    "every text blank": (lambda _: fit(items=[" "] * 24), "so nothing was trained: the text is empty"),
    "one class": (lambda _: fit(labels=["x"] * 24), "nothing to train"),
    "no label": (lambda _: fit(labels=[None] * 24), "nothing to train: no item has a label"),
    "a constant to learn": (
        lambda _: fit(items=read_data(TEXTS, [1.5] * 24, task="regression"), labels=None), "have the value [1.5]"
    ),
    "too few to hold one out": (lambda _: fit(items=TEXTS[:4], labels=LABELS[:4], patience=1), "patience holds 0.1 of the 4 items"),
    "only strangers held out": (
        lambda _: fit(items=_only_strangers(), labels=None, pictures=True, patience=1), "no item of the split val is of a class"
    ),
    "resume without a folder": (
        lambda _: FineTuner(Texts(), "full", steps=1).fit(TEXTS, LABELS, resume=True), "nothing to resume without the folder"
    ),
    "a folder that is a file": (lambda p: fit(folder=_file(p)), "no checkpoint could be written to"),
    "a learning rate beyond all": (lambda _: fit(lr=1e30, steps=5), "Take a lower learning rate"),
    "a weight of a class there is not": (lambda _: fit(class_weight={"zzz": 2.0}), "which is no class of the data"),
    "unlabelled texts": (
        lambda _: FineTuner(Texts(), "full", steps=1).fit(TEXTS, LABELS, unlabelled=TEXTS), "trained on with images"
    ),
    "the wrong modality": (lambda _: fit(modality="image"), "reads texts, not images"),
    "float arrays for images": (
        lambda _: fit(items=[np.asarray(p, float) for p in PICTURES], labels=NAMES, pictures=True), "none of the 16 training items"
    ),
    "tensors for images": (lambda _: fit(items=[torch.zeros(3, 8, 8)] * 16, labels=NAMES, pictures=True), "item 0 is a Tensor"),
    "half-way by a word": (lambda _: move(fit(), "half"), "alpha must be from 0 to 1, not 'half'"),  # type: ignore[arg-type]
    "half-way by nan": (lambda _: move(fit(), float("nan")), "alpha must be from 0 to 1, not nan"),
    "a soup of nothing": (lambda _: souped([]), "a soup takes at least one run"),
    "a soup of other classes": (lambda _: souped([fit(), fit(labels=["p", "q"] * 12)]), "on the same classes"),
    "a soup of other tensors": (lambda _: souped([fit(), fit("last-1")]), "not of one model trained in one way"),
    "tasks as a list": (lambda _: MultiTaskTuner(Texts(), "full").fit(TEXTS, [LABELS, LABELS]), "are a mapping task -> labels"),
    "a task without labels": (
        lambda _: MultiTaskTuner(Texts(), "full").fit(TEXTS, {"a": LABELS, "b": [None] * 24}), "the task 'b': nothing to train"
    ),
    "nan in a loaded backbone": (lambda _: FineTuner(_broken(), "full", steps=1).fit(PICTURES, NAMES), "that are not finite"),
}  # fmt: skip


def _file(folder: Path) -> Path:
    (folder / "taken").write_text("mine")
    return folder / "taken"


def _broken() -> Pictures:
    backbone = Pictures()
    with torch.no_grad():
        next(backbone.module.parameters()).fill_(float("nan"))
    return backbone


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_a_line(case: str, tmp_path: Path) -> None:
    run, says = REFUSED[case]
    with pytest.raises(ModelgraftError) as found:
        run(tmp_path)
    assert says in str(found.value) and "\n" not in str(found.value)


def _spared(change: Callable[[Pictures, FineTuner], Any]) -> bool:
    """Whether predictions stay what they were, whatever becomes of what the user gave."""
    backbone = Pictures()
    tuner = FineTuner(backbone, "full", steps=2, batch_size=8).fit(PICTURES, NAMES)
    before = tuner.predict_proba(PICTURES)
    change(backbone, tuner)
    return np.array_equal(before, tuner.predict_proba(PICTURES))


def _scaled(backbone: Pictures, tuner: FineTuner) -> None:
    with torch.no_grad():
        next(backbone.module.parameters()).mul_(9)


def _draws() -> bool:
    one, other = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    FineTuner("embedded/sprig", "lp-ft", steps=1, batch_size=4).fit(TEXTS, LABELS)
    same = np.array_equal(other, np.random.get_state()[1])  # type: ignore[index]
    return same and torch.equal(one, torch.random.get_rng_state())


RIGHT: dict[str, Callable[[], bool]] = {
    "a text among them blank": lambda: fit(items=["", *TEXTS[1:]], steps=4).report_["unreadable"] == 1,
    "half a surrogate pair among them": lambda: fit(items=["goal \ud83d", *TEXTS[1:]], steps=4).report_["unreadable"] == 1,
    "texts by a generator": lambda: len(fit(items=(text for text in TEXTS)).predict(TEXTS[:3])) == 3,
    "labels in a column": lambda: set(fit(labels=np.array(LABELS)[:, None]).predict(TEXTS)) <= {"x", "y"},
    "labels that are numbers": lambda: fit(labels=[0, 1] * 12).predict(TEXTS).dtype.kind == "i",
    "some labels missing": lambda: any("4 items without a label" in n for n in fit(labels=[None] * 4 + LABELS[4:]).notes_),
    "a step of more items than there are": lambda: fit(batch_size=10**6).report_["chosen"]["steps"] == 2,
    "more parts than items": lambda: len(fit(items=TEXTS[:4], labels=LABELS[:4], accumulate=8).report_["losses"]) == 2,
    "images of every mode": lambda: fit(
        items=[Image.new(m, (9, 9)) for m in ("L", "RGBA", "CMYK", "P", "1", "I;16", "F", "LA")] * 2, labels=NAMES, pictures=True
    ).report_["unreadable"] == 0,
    "images of one pixel and of one column": lambda: fit(
        items=[Image.new("RGB", (1, 1)), Image.new("RGB", (1, 5000)), *PICTURES[2:]], labels=NAMES, pictures=True
    ).report_["unreadable"] == 0,
    "a backbone in half precision": lambda: FineTuner(_half(), "full", steps=1).fit(PICTURES, NAMES).report_["losses"][0] < 1,
    "the user's backbone changed afterwards": lambda: _spared(_scaled),
    "parameters changed afterwards": lambda: _spared(lambda _, tuner: tuner.set_params(strategy="last-1", lr=3.0)),
    "another rate looked for afterwards": lambda: _spared(lambda _, tuner: tuner.find_rate(*noise(8, 2))),
    "the same run twice in a soup": lambda: souped([one := fit(), one]).report_["souped"] == 2,
    "random numbers of others": _draws,
}  # fmt: skip


def _half() -> Pictures:
    backbone = Pictures()
    backbone.module.half()
    return backbone


@pytest.mark.full
@pytest.mark.parametrize("case", RIGHT)
def test_what_is_meant_is_done(case: str) -> None:
    assert RIGHT[case]()
