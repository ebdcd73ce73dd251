"""`run_adapt`: what is adapted to, what is scored on, and that the target's labels choose nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import Dataset, DomainAdapter, FineTuner
from modelgraft_adapters.finetuning.norm_adaptation import adabn
from modelgraft_adapters.runs.adapt import GIVEN, SAME, SPLIT, run_adapt

from tests.adapters.finetuning.backbones import Pictures

pytestmark = pytest.mark.full
MODEL = "embedded/sprig"


def _colours(light: int, count: int = 24, seed: int = 0, broken: int = 0) -> Dataset:
    """Images of three colours, lit as it is said; some are none."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    colours = np.array([(170, 40, 40), (40, 150, 60), (50, 60, 170)]) + light
    items: list = [
        (colours[n] + rng.integers(-25, 26, (32, 32, 3))).clip(0, 255).astype(np.uint8) for n in targets.tolist()
    ]
    items[:broken] = ["nowhere.png"] * broken
    return Dataset(
        items,
        "image",
        targets=targets,
        classes=("blue", "green", "red"),
        identities=[f"item {n}" for n in range(count)],
    )


def _run(target: Dataset, method: str = "coral", **more):
    return run_adapt(DomainAdapter(MODEL, method, C=1.0), _colours(0, 30), target, **more)


def test_a_target_without_labels_is_not_scored() -> None:
    run = _run(replace(_colours(60), targets=None))
    assert run.scored_on is None and all(one.target is None for one in run.results)
    assert [one.name for one in run.results] == ["source-only", "coral"]
    assert run.adapter.evaluation_ is None
    assert json.loads(json.dumps(run.record(), allow_nan=False))["target_items"] == 24


def test_labels_of_the_target_change_nothing_but_the_scores() -> None:
    target = _colours(60)
    wrong = replace(target, targets=(target.targets + 1) % 3)
    runs = [_run(one, "auto") for one in (target, wrong)]
    assert len({run.adapter.method_ for run in runs}) == 1
    items = _colours(60, 6, 1).items
    outputs = [run.adapter.predict_proba(items) for run in runs]
    assert np.array_equal(outputs[0], outputs[1])
    assert [run.scored_on for run in runs] == [SAME, SAME]
    assert runs[0].results[0].target.score.value > runs[1].results[0].target.score.value
    assert runs[0].adapter.evaluation_ is None, "a card's scores are of items that nothing was trained on"


def test_the_test_split_is_scored_and_not_adapted_to() -> None:
    target = replace(_colours(60), split=np.array(["train", "train", "train", "test"] * 6))
    run = _run(target)
    assert run.scored_on == SPLIT and len(run.target) == 18
    assert run.adapter.report_["adaptation"]["target_items"] == 18
    assert len(run.results[1].target.targets) == 6
    assert run.adapter.evaluation_ is run.results[1].target
    gain = run.results[1].gain
    assert gain.low <= gain.value <= gain.high and run.results[0].gain is None


def test_labelled_items_that_are_given_are_scored() -> None:
    run = _run(replace(_colours(60), targets=None), labelled_target=_colours(60, 9, 5))
    assert run.scored_on == GIVEN and len(run.results[0].target.targets) == 9 and len(run.target) == 24


def test_items_that_cannot_be_read_are_told() -> None:
    run = _run(_colours(60, broken=2))
    assert run.broken == 2 and run.adapter.report_["adaptation"]["target_items"] == 22
    assert any("2 of 24 items could not be read" in note for note in run.notes)
    with pytest.raises(ModelgraftError, match="none of the 24 items of the target could be read"):
        _run(_colours(60, broken=24))


def test_what_cannot_be_is_refused() -> None:
    target = _colours(60)
    texts = Dataset(["a", "b"] * 5, "text", targets=np.arange(10) % 2, classes=("x", "y"))
    for call, said in (
        (lambda: _run(texts), "images and the target texts"),
        (lambda: _run(target.take(np.zeros(0, int))), "no items"),
        (lambda: _run(target.take(np.arange(3))), "3 readable items"),
        (lambda: _run(target, labelled_target=replace(target, targets=None)), "no item with a label"),
        (lambda: run_adapt(DomainAdapter(MODEL), replace(_colours(0), targets=None), target), "label"),
        (
            lambda: run_adapt(DomainAdapter(MODEL), replace(_colours(0), targets=np.zeros(24, int)), target),
            "two classes",
        ),
    ):
        with pytest.raises(UsageError, match=said):
            call()


@pytest.mark.parametrize("network", ["deep-coral", "dann"])
def test_a_network_is_trained_on_both_domains(network: str) -> None:
    """The same as a tuner by hand, beside source-only on the same items; no label of the target enters."""
    adapter = DomainAdapter(Pictures(), "source-only", C=1.0, store=False)
    target = replace(_colours(60), split=np.array(["train", "train", "test"] * 8))
    settings = {"strategy": "full", "steps": 3, "augment": "none"}
    run = run_adapt(adapter, _colours(0, 30), target, network=network, settings=settings)
    assert [one.name for one in run.results] == ["source-only", network] and run.method == network
    assert run.adapter.evaluation_ is run.results[1].target and run.results[1].gain is not None
    by_hand = FineTuner(Pictures(), semi=network, **settings).fit(replace(run.train, split=None), unlabelled=run.target)
    items = target.items[:6]
    assert np.array_equal(by_hand.predict_proba(items), run.adapter.predict_proba(items))
    assert target.targets is not None
    blind = replace(target, targets=target.targets[::-1].copy())
    other = run_adapt(
        DomainAdapter(Pictures(), "source-only", C=1.0, store=False),
        _colours(0, 30),
        blind,
        network=network,
        settings=settings,
    )
    assert np.array_equal(other.adapter.predict_proba(items), run.adapter.predict_proba(items))


@pytest.mark.parametrize("network", ["adabn", "tent"])
def test_a_network_is_adapted(network: str) -> None:
    """A backbone with batch normalisation: the same as by hand, beside source-only on the same items."""
    adapter = DomainAdapter(Pictures(), "source-only", C=1.0, store=False)
    target = replace(_colours(60), split=np.array(["train", "train", "test"] * 8))
    run = run_adapt(adapter, _colours(0, 30), target, network=network)
    assert [one.name for one in run.results] == ["source-only", network] and run.method == network
    assert run.adapter.evaluation_ is run.results[1].target and run.results[1].gain is not None
    assert run.record()["method"] == network and run.record()["target_items"] == 16
    if network == "adabn":
        by_hand = adabn(adapter, run.target, X_source=run.train)
        items = target.items[:6]
        assert np.abs(by_hand.predict_proba(items) - run.adapter.predict_proba(items)).max() < 1e-6
