"""What every head promises, whoever brings it: fitted, saved and made again alike, on whatever features there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import HeadSpec, ScoreRule, list_heads, load_head
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, LearnedHead, TextClasses
from safetensors.torch import load_file, save_file

from tests.heads.conftest import folds_of

SPECS = {spec.name: spec for spec in list_heads()}
LEARNING = [name for name in SPECS if name != "text"]
CASES = [(name, task) for name, spec in SPECS.items() for task in spec.tasks]


def _examples(
    count: int = 60, width: int = 12, classes: int = 3, task: str = "single-label", seed: int = 0
) -> Examples:
    """Items around ``classes`` centres, class embeddings near them, unlabelled items of the same kind."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width)) * 2
    targets = np.arange(count) % classes
    features = torch.tensor(centres[targets] + rng.normal(size=(count, width)), dtype=torch.float32)
    more = torch.tensor(centres[rng.integers(0, classes, 40)] + rng.normal(size=(40, width)), dtype=torch.float32)
    text = torch.nn.functional.normalize(
        torch.tensor(centres + rng.normal(size=centres.shape), dtype=torch.float32), dim=1
    )
    kind = "sigmoid" if task == "multi-label" else "softmax"
    wanted: torch.Tensor = torch.from_numpy(targets)
    if task == "multi-label":
        wanted = torch.stack([wanted == 0, wanted != 2, wanted == 2], dim=1).float()
    elif task == "regression":
        wanted = features[:, :classes] * 100 + 5
    folds = folds_of(targets, 4) if count >= 4 * classes else torch.zeros(count, dtype=torch.int64)
    rule = ScoreRule(kind, 20.0)  # type: ignore[arg-type]
    return Examples(
        features,
        wanted,
        task,
        tuple("abc"[:classes]),
        folds,
        seed,
        None,
        TextClasses(text, rule),
        more,  # type: ignore[arg-type]
    )


# The choice of these settings trains dozens of networks; it has a test of its own.
QUICK: dict[str, dict[str, Any]] = {"mlp": {"steps": 100, "decay": 0.1, "hidden": 64}, "cosine": {"epochs": 50}}


def _fit(name: str, examples: Examples, **settings: Any) -> LearnedHead:
    return load_head(name).fit(examples, **{**QUICK.get(name, {}), **settings})


def test_the_projects_heads_are_announced() -> None:
    ours = {
        "text",
        "knn",
        "prototype",
        "cosine",
        "tip-adapter",
        "tip-adapter-f",
        "mlp",
        "label-spreading",
        "pseudo-label",
    }
    assert ours <= set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_a_head_has_the_members_of_the_contract(name: str) -> None:
    assert isinstance(_fit(name, _examples()), LearnedHead)


@pytest.mark.full
@pytest.mark.parametrize(("name", "task"), CASES)
def test_logits_and_probabilities_have_their_shape_and_range(name: str, task: str) -> None:
    examples = _examples(task=task)
    head = _fit(name, examples)
    logits = head.logits(examples.features)
    assert logits.shape == (60, 3) and logits.dtype == (torch.float64 if task == "regression" else torch.float32)
    assert torch.isfinite(logits).all()
    assert head.logits(examples.features[:0]).shape == (0, 3)
    if task != "regression":
        found = head.probabilities(examples.features)
        assert found.dtype == torch.float32 and found.min() >= 0 and found.max() <= 1
        if task == "single-label":
            torch.testing.assert_close(found.sum(dim=1), torch.ones(60), atol=1e-5, rtol=0)
            assert torch.equal(found.argmax(dim=1), logits.argmax(dim=1))


@pytest.mark.full
@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[0] != "text"])
def test_it_learns(name: str, task: str) -> None:
    examples, fresh = _examples(task=task), _examples(task=task, count=90)
    logits = _fit(name, examples).logits(fresh.features)
    if task == "regression":
        residual = ((logits - fresh.targets) ** 2).mean() / fresh.targets.var()
        assert residual < 0.5
    elif task == "multi-label":
        assert ((logits > 0) == fresh.targets.bool()).float().mean() > 0.9
    else:
        assert (logits.argmax(dim=1) == fresh.targets).float().mean() > 0.9


@pytest.mark.full
@pytest.mark.parametrize(("name", "task"), CASES)
def test_saved_and_made_again_it_answers_alike_to_the_bit(name: str, task: str, tmp_path: Path) -> None:
    examples = _examples(task=task)
    head = _fit(name, examples)
    tensors, settings = head.state()
    save_file(tensors, tmp_path / "head.safetensors")
    again = load_head(name).restore(load_file(tmp_path / "head.safetensors"), json.loads(json.dumps(settings)))
    assert torch.equal(head.logits(examples.features), again.logits(examples.features))
    if task != "regression":
        assert torch.equal(head.probabilities(examples.features), again.probabilities(examples.features))
    assert torch.equal(again.to(torch.device("cpu")).logits(examples.features), head.logits(examples.features))


@pytest.mark.full
@pytest.mark.parametrize(("name", "task"), CASES)
def test_one_seed_one_result(name: str, task: str) -> None:
    examples = _examples(task=task)
    first = _fit(name, examples).logits(examples.features)
    torch.rand(7)  # a head does not depend on the global generator
    assert torch.equal(first, _fit(name, examples).logits(examples.features))


@pytest.mark.parametrize("name", SPECS)
def test_the_report_is_plain_json(name: str) -> None:
    report = _fit(name, _examples()).report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    for row in report.get("curve", []):
        assert row["low"] <= row["score"] <= row["high"]
    assert all(isinstance(line, str) and "\n" not in line for line in report.get("notes", []))


@pytest.mark.full
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_features_of_any_scale(name: str, scale: float) -> None:
    examples = _examples()
    assert examples.unlabelled is not None
    head = _fit(name, replace(examples, features=examples.features * scale, unlabelled=examples.unlabelled * scale))
    logits = head.logits(examples.features * scale)
    assert torch.isfinite(logits).all()
    if name in ("knn", "prototype", "cosine", "tip-adapter", "mlp", "label-spreading", "pseudo-label"):
        assert (logits.argmax(dim=1) == examples.targets).float().mean() > 0.85


@pytest.mark.parametrize("name", SPECS)
def test_one_item_per_class_more_dimensions_than_items(name: str) -> None:
    examples = _examples(count=3, width=20)
    logits = _fit(name, examples).logits(examples.features)
    assert torch.isfinite(logits).all()
    if name != "text":
        assert torch.equal(logits.argmax(dim=1), examples.targets)


@pytest.mark.parametrize("name", SPECS)
def test_constant_features(name: str) -> None:
    examples = _examples()
    assert examples.unlabelled is not None
    same = torch.ones_like(examples.features)
    found = _fit(name, replace(examples, features=same, unlabelled=torch.ones_like(examples.unlabelled))).probabilities(
        same
    )
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(60), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SPECS)
def test_a_class_absent_from_a_fold_and_a_class_without_any_item(name: str) -> None:
    examples = _examples()
    kept = torch.cat([(examples.targets == 0).nonzero().flatten(), (examples.targets == 1).nonzero().flatten()[:1]])
    few = replace(
        examples, features=examples.features[kept], targets=examples.targets[kept], folds=torch.arange(len(kept)) % 3
    )
    found = _fit(name, few).probabilities(examples.features)
    assert torch.isfinite(found).all()
    if not SPECS[name].needs and name != "cosine":  # without a text nothing is known of the third class
        assert found[:, 2].max() < 0.05


# A class mean does not depend on class weights, as the prototype's docstring says.
@pytest.mark.parametrize("name", [name for name in LEARNING if name != "prototype"])
def test_class_weights_move_the_answers_towards_the_class(name: str) -> None:
    rng = np.random.default_rng(0)
    examples = _examples(count=300)
    # three classes that overlap widely
    features = examples.features * 0.15 + torch.tensor(rng.normal(size=(300, 12)), dtype=torch.float32)
    wide = replace(examples, features=features, folds=folds_of(examples.targets.numpy(), 4))
    settings: dict[str, Any] = {
        "cosine": {"blend": 1.0, "constraint": "none"},
        "tip-adapter": {"alpha": 3.0, "beta": 3.0},
        "tip-adapter-f": {"alpha": 3.0, "beta": 3.0},
        "label-spreading": {"k": 20, "alpha": 0.9},
        "pseudo-label": {"C": 0.01},
        "mlp": {"steps": 50, "decay": 1.0},
        "knn": {"k": 50},
        "linear": {"C": 0.01},
    }.get(name, {})
    plain = _fit(name, wide, **settings).probabilities(features)[:, 1].mean()
    weighted = _fit(name, replace(wide, class_weights=torch.tensor([1.0, 8.0, 1.0])), **settings)
    assert weighted.probabilities(features)[:, 1].mean() > plain + 0.03


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (name, what)
        for name, spec in SPECS.items()
        for what in ("features", *(need for need in spec.needs if need == "unlabelled"))
    ],
)
def test_features_that_are_not_numbers_are_refused(name: str, what: str) -> None:
    examples = _examples()
    broken = getattr(examples, what).clone()
    broken[5, 2] = torch.nan
    with pytest.raises(UsageError, match="finite"):
        _fit(name, replace(examples, **{what: broken}))


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.needs])
def test_what_a_head_needs_it_asks_for(name: str) -> None:
    (need,) = SPECS[name].needs
    with pytest.raises(UsageError, match=name):
        _fit(name, replace(_examples(), **{need: None}))


@pytest.mark.parametrize("name", SPECS)
def test_a_task_that_is_not_its_own_is_refused(name: str) -> None:
    for task in {"single-label", "multi-label", "regression"} - set(SPECS[name].tasks):
        with pytest.raises(UsageError, match=task):
            _fit(name, _examples(task=task))


@pytest.mark.parametrize("name", [name for name in SPECS if name != "linear"])
def test_a_setting_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="'nonsense'"):
        _fit(name, _examples(), nonsense=1)


def test_specs_say_what_they_say() -> None:
    assert all(isinstance(spec, HeadSpec) and spec.help.endswith(".") for spec in SPECS.values())
