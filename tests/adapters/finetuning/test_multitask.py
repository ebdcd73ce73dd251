"""Several tasks on one backbone: a step's loss against its formula, trained weights, heads taken apart, `MultiTaskTuner`."""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import load
from modelgraft.errors import UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter, LinearProbe
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.tasks import read_tasks
from modelgraft_adapters.finetuning.batches import PictureItems, TextItems
from modelgraft_adapters.finetuning.losses import Objective
from modelgraft_adapters.finetuning.multitask import (
    MultiTaskHead,
    MultiTaskObjective,
    OneTask,
    SharedBackbone,
    TaskItems,
    Tasks,
    checked_weights,
    joined,
    shares,
)
from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
from modelgraft_adapters.finetuning.run import Interrupted
from torch.nn import functional as F

MODEL = "embedded/sprig"
CPU = torch.device("cpu")
SHORT: dict[str, Any] = {"steps": 4, "batch_size": 16, "lr": 1e-3}


def _labels(data: Dataset) -> dict[str, list[Any]]:
    """Of photographs: which animal or vehicle, which of the two, what there is on it, how bright it is; each lacking somewhere."""
    names = [data.classes[n] for n in data.targets]
    legs = {"cat": ["legs", "fur"], "frog": ["legs"], "truck": ["wheels"]}
    bright = [float(np.asarray(item).mean()) for item in data.items]
    return {
        "fine": [None if n % 5 == 1 else name for n, name in enumerate(names)],
        "coarse": ["vehicle" if name == "truck" else "animal" for name in names],
        "has": [None if n % 7 == 2 else legs[name] for n, name in enumerate(names)],
        "bright": [None if n % 6 == 4 else value for n, value in enumerate(bright)],
    }


def _one(data: Dataset, task: str) -> Dataset:
    return read_data(list(data.items), _labels(data)[task], task="regression" if task == "bright" else None)


def _parts(data: Dataset) -> dict[str, Dataset]:
    return {name: _one(data, name) for name in _labels(data)}


def _step(tasks: Tasks, rows: list[int], scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits, labelled, targets) of some items, the logits drawn."""
    drawn = torch.randn(len(rows), sum(tasks.columns), generator=torch.Generator().manual_seed(0))
    return (scale * drawn).requires_grad_(), tasks.labelled[rows], tasks.targets[rows]


@pytest.mark.parametrize("weights", [None, {"fine": 0.5, "bright": 3.0}])
def test_fixed_weights_give_the_weighted_sum_of_each_tasks_own_mean(train: Dataset, weights: Any) -> None:
    """Each mean over the items that have the label, by torch's losses on the data's own targets."""
    parts = _parts(train)
    tasks = Tasks.of(parts, None, 0.0, CPU)
    rows = list(range(0, 48, 2))
    logits, labelled, targets = _step(tasks, rows)
    fixed = checked_weights(weights, list(parts))
    loss = MultiTaskObjective(tasks.tasks, fixed)(joined(logits, shares(labelled), None), targets).mean()
    own = dict(zip(parts, logits.split(tasks.columns, dim=1), strict=True))
    expected = torch.zeros(())
    for name, data in parts.items():
        part = data.take(rows)
        there = torch.from_numpy(part.labelled)
        assert name == "coarse" or 0 < int(there.sum()) < len(rows)
        wanted, given = torch.from_numpy(part.targets)[there], own[name][there]
        if data.task == "single-label":
            single = F.cross_entropy(given, wanted)
        elif data.task == "multi-label":
            single = F.binary_cross_entropy_with_logits(given, wanted)
        else:
            known = data.targets[data.labelled]
            single = F.mse_loss(given, ((wanted - known.mean()) / known.std()).float())
        expected = expected + (weights or {}).get(name, 1.0) * single
    torch.testing.assert_close(loss, expected)
    assert {data.task for data in parts.values()} == {"single-label", "multi-label", "regression"}


def test_learnt_weights_go_to_the_logarithm_of_the_loss() -> None:
    """Tasks whose losses stay as they are, one with few labels: descent on s ends at log L, where weight times loss is 1."""
    constant = (0.02, 0.7, 30.0)
    tasks = tuple(
        OneTask(str(n), Objective("regression"), slice(n, n + 1), slice(n, n + 1)) for n in range(len(constant))
    )
    targets = torch.tensor(constant).sqrt().repeat(8, 1)
    labelled = torch.ones(8, 3, dtype=torch.bool)
    labelled[2:, 1] = False
    targets[2:, 1] = torch.nan
    head = MultiTaskHead(4, (1, 1, 1), learnt=True)
    assert not head.log_variances.any()
    objective = MultiTaskObjective(tasks, (1.0, 1.0, 1.0))
    optimizer = torch.optim.SGD([head.log_variances], lr=0.1)
    first = None
    for _ in range(600):
        optimizer.zero_grad()
        loss = objective(joined(torch.zeros(8, 3), shares(labelled), head.log_variances), targets).mean()
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    assert first == pytest.approx(sum(constant), rel=1e-6)  # s = 0 is the plain sum
    torch.testing.assert_close(head.log_variances.detach(), torch.tensor(constant).log(), atol=1e-4, rtol=1e-4)
    assert loss.item() == pytest.approx(sum(1 + math.log(value) for value in constant), abs=1e-4)


@pytest.mark.parametrize("learnt", [False, True])
def test_parts_of_a_step_add_up_to_the_step(train: Dataset, learnt: bool) -> None:
    """However the labels lie in them: loss and gradients, of the tasks' weights too."""
    tasks = Tasks.of(_parts(train), "balanced", 0.1, CPU)
    logits, labelled, targets = _step(tasks, list(range(16)))
    labelled = labelled.clone()
    labelled[:12, 0] = False  # the last part alone has labels of the first task
    head = MultiTaskHead(4, tasks.columns, learnt)
    logs = None if head.log_variances is None else head.log_variances
    if logs is not None:
        logs.data.copy_(torch.tensor([-1.0, 0.5, 1.0, 0.0]))
    objective = MultiTaskObjective(tasks.tasks, (1.0, 2.0, 0.5, 1.0))
    trained = [logits] if logs is None else [logits, logs]

    def taken(parts: int) -> tuple[float, list[torch.Tensor]]:
        total, gradients = 0.0, [torch.zeros_like(one) for one in trained]
        outputs = joined(logits, shares(labelled), logs)  # counted for the whole step
        for rows in torch.arange(16).split(16 // parts):
            loss = objective(outputs[rows], targets[rows]).sum() / 16
            total += loss.item()
            for held, new in zip(gradients, torch.autograd.grad(loss, trained, retain_graph=True), strict=True):
                held += new
        return total, gradients

    (whole, first), (summed, second) = taken(1), taken(4)
    assert summed == pytest.approx(whole, rel=1e-6)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)
    assert not first[0][:12, : tasks.columns[0]].any() and first[0][12:, : tasks.columns[0]].any()


def test_a_task_that_no_item_of_a_step_has_counts_nothing(train: Dataset) -> None:
    """Nothing is not a number, its columns have no gradient, and its own weight stays where it is."""
    tasks = Tasks.of(_parts(train), None, 0.0, CPU)
    rows = [1, 6, 11]  # without `fine`
    logits, labelled, targets = _step(tasks, rows)
    logs = torch.zeros(4, requires_grad=True)
    loss = MultiTaskObjective(tasks.tasks, (1.0,) * 4)(joined(logits, shares(labelled), logs), targets).mean()
    loss.backward()
    assert math.isfinite(loss.item()) and torch.isfinite(logits.grad).all()
    assert not logits.grad[:, :3].any() and logits.grad[:, 3:5].any()
    assert logs.grad[0] == 0 and logs.grad[1] != 0


def test_heads_taken_apart_give_the_logits_of_the_joint_one() -> None:
    torch.manual_seed(0)
    head = MultiTaskHead(16, (3, 1, 5), learnt=False)
    features = torch.randn(7, 16)
    joint = head(features).split((3, 1, 5), dim=1)
    for task, expected in enumerate(joint):
        weight, bias = head.of(task)
        torch.testing.assert_close(features @ weight.T + bias, expected)
    before = head.of(0)[0].clone()
    head.weight.data.zero_()
    assert head.log_variances is None and head.of(0)[0].abs().sum() == 0 and before.any()


def test_a_step_counts_the_labels_of_what_could_be_read(train: Dataset, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"nothing")
    backbone = load(MODEL, device="cpu")
    labelled = torch.tensor([[True, False], [True, True], [False, True], [True, True]])
    items = TaskItems(PictureItems([*train.items[:3], damaged], backbone.preprocess, 0), labelled)
    batch = items.collate([items[0, n] for n in (3, 2, 0, 1)])
    assert [n for n, _ in batch.broken] == [3] and batch.index.tolist() == [2, 0, 1]
    expected = torch.tensor([[0.0, 1.5], [1.5, 0.0], [1.5, 1.5]])
    torch.testing.assert_close(batch.inputs["shares"], expected)
    head = MultiTaskHead(backbone.embed_dim, (2, 3), learnt=True)
    outputs = SharedBackbone(backbone, head).eval()(batch.inputs)
    assert outputs.shape == (3, 5 + 4) and torch.equal(outputs[:, 5:7], batch.inputs["shares"])
    torch.testing.assert_close(outputs[:, :5], head(backbone.embed(batch.inputs["pixels"])))
    texts = TaskItems(TextItems(["a cat", "", "a dog"], backbone.token_batch), labelled[:3])
    words = texts.collate([texts[0, n] for n in range(3)])
    assert len(words) == 2 and SharedBackbone(backbone, head).eval()(words.inputs).shape == (2, 9)


def test_a_task_that_would_drown_is_told(train: Dataset) -> None:
    items, names = list(train.items), _labels(train)["coarse"]
    few = [name if n % 16 == 3 else None for n, name in enumerate(names)]  # one in 16 items
    settings: dict[str, Any] = {"steps": 1, "batch_size": 32}
    told = MultiTaskTuner(MODEL, "head-only", **settings).fit(items, {"many": names, "few": few}).notes_
    assert any(note.startswith("few: 2.0 of a step's 32 items have a label of it") for note in told)
    evenly = MultiTaskTuner(MODEL, "head-only", sampling="equal", **settings).fit(items, {"many": names, "few": few})
    assert not any("of a step's" in note for note in evenly.notes_)


@pytest.mark.parametrize(("size", "processes"), [(8, 1), (8, 2), (7, 1)])
def test_equal_sampling_gives_each_task_as_many_rows(size: int, processes: int) -> None:
    """Of two tasks, one with 3 labels and one with 40: whole passes over the own items of each, whatever the size of a step."""
    labelled = torch.zeros(43, 2, dtype=torch.bool)
    labelled[:3, 0], labelled[3:, 1] = True, True
    items = TaskItems(TextItems([f"text {n}" for n in range(43)], lambda texts: {}), labelled, "equal")
    steps = [items.places(step, size, seed=5) for step in range(80)]
    assert all(len(step) == size for step in steps)
    seen = [[place for step in steps for place in step if labelled[place[1], task]] for task in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == 40 * size
    for places, own in zip(seen, (range(3), range(3, 43)), strict=True):
        whole = len(places) // len(own)
        assert Counter(places[: whole * len(own)]) == Counter((turn, item) for turn in range(whole) for item in own)
    if processes > 1:  # each has of both tasks alike
        parts = [steps[0][rank::processes] for rank in range(processes)]
        assert all(sum(item < 3 for _, item in part) == size // processes // 2 for part in parts)


@pytest.mark.full
@pytest.mark.parametrize("task", ["fine", "has", "bright"])
def test_one_task_alone_is_trained_as_by_the_tuner_of_one(train: Dataset, test: Dataset, task: str) -> None:
    """The same items, steps, start and units, of each kind of task: weights None and one task are `FineTuner`."""
    names = {"strategy": "last-1", **SHORT, "label_smoothing": 0.1 if task == "fine" else 0.0}
    data = _one(train, task)
    data = data.take(data.labelled)
    several = MultiTaskTuner(MODEL, weights=None, **names).fit({task: data})
    one = FineTuner(MODEL, **names).fit(data)
    np.testing.assert_allclose(several.report_["losses"], one.report_["losses"], rtol=1e-5, atol=1e-6)
    for name, value in one.end_.items():
        torch.testing.assert_close(several.end_[name], value, rtol=1e-4, atol=1e-6, msg=name)
    give = "predict" if task == "bright" else "predict_proba"
    ours, theirs = (getattr(adapter, give)(test.items) for adapter in (several.adapters_[task], one))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def tuner(train: Dataset) -> MultiTaskTuner:
    return MultiTaskTuner(MODEL, "lp-ft", steps=12, batch_size=16, lr=1e-4).fit(_parts(train))


@pytest.mark.full
def test_step_zero_of_lp_ft_is_the_probe_of_each_task(train: Dataset, test: Dataset) -> None:
    still = MultiTaskTuner(MODEL, "lp-ft", steps=1, lr=1e-30, weight_decay=0.0).fit(_parts(train))
    for name, data in _parts(train).items():
        probe = LinearProbe(MODEL, dtype="float32").fit(data)
        give = "predict" if name == "bright" else "predict_proba"
        ours, theirs = (getattr(adapter, give)(test.items) for adapter in (still.adapters_[name], probe))
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.full
def test_each_task_has_an_adapter_like_any_other(tuner: MultiTaskTuner, test: Dataset, tmp_path: Path) -> None:
    assert list(tuner.adapters_) == ["fine", "coarse", "has", "bright"]
    assert {name: adapter.task for name, adapter in tuner.adapters_.items()} == {
        "fine": "single-label",
        "coarse": "single-label",
        "has": "multi-label",
        "bright": "regression",
    }
    parts = _parts(test)
    found = tuner.evaluate({name: parts[name] for name in ("fine", "coarse", "bright")})
    assert found["coarse"].score.value > 0.9 and found["fine"].score.value > 0.65 and found["bright"].score.name == "R2"
    known = parts["has"].labelled
    assert (tuner.adapters_["has"].predict(test) == parts["has"].targets)[known].mean() > 0.8
    shared = {id(adapter.extractor.backbone) for adapter in tuner.adapters_.values()}
    assert len(shared) == 1 and tuner.model == MODEL  # what the user gave stays what it was
    for name in ("coarse", "bright"):
        adapter = tuner.adapters_[name]  # asked about the same items: other batches change the last bits
        alone = adapter.evaluate_features(adapter.extractor.embed(parts[name].items), parts[name])
        assert alone.score.value == pytest.approx(found[name].score.value, abs=1e-9)
    for name in ("fine", "bright"):
        again = FrozenAdapter.load(tuner.adapters_[name].save(tmp_path / name))
        np.testing.assert_array_equal(again.predict(test), tuner.adapters_[name].predict(test))


def test_the_weights_are_learnt_and_told(tuner: MultiTaskTuner) -> None:
    """At a rate of their own: the backbone's would leave them where they were. Told are exp(-s)."""
    logs = tuner.end_["head.log_variances"]
    assert logs.shape == (4,) and float(logs.abs().min()) > 0.02 and not tuner.start_["head.log_variances"].any()
    for value, (_, weight) in zip(logs.tolist(), tuner.weights_.items(), strict=True):
        assert weight == pytest.approx(math.exp(-value), rel=1e-5)
    assert tuner.report_["task_weights"].keys() == tuner.weights_.keys()
    assert tuner.run_.optimizer.param_groups[-1]["rate"] == 1e-4  # what is told of a step is the head's rate


def test_a_run_resumes_to_the_same_bits(train: Dataset, test: Dataset, tmp_path: Path) -> None:
    options = {"strategy": "last-1", **SHORT}
    whole = MultiTaskTuner(MODEL, **options).fit(_parts(train))

    def stop(now: Any) -> None:
        if now.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        MultiTaskTuner(MODEL, folder=tmp_path, tell=stop, **options).fit(_parts(train))
    resumed = MultiTaskTuner(MODEL, folder=tmp_path, **options).fit(_parts(train), resume=True)
    assert any("resumed at step 2" in note for note in resumed.notes_)
    assert all(torch.equal(value, whole.end_[name]) for name, value in resumed.end_.items())
    with pytest.raises(UsageError, match="another run: its task weights"):
        MultiTaskTuner(MODEL, folder=tmp_path, weights=None, **options).fit(_parts(train), resume=True)


@pytest.mark.full
def test_steps_in_parts_low_rank_and_half_way_back(train: Dataset, test: Dataset) -> None:
    data = _parts(train)
    whole, parts = (MultiTaskTuner(MODEL, "last-1", accumulate=n, precision="fp32", **SHORT).fit(data) for n in (1, 4))
    for name, value in whole.end_.items():
        torch.testing.assert_close(parts.end_[name], value, rtol=1e-3, atol=1e-4, msg=name)
    half = MultiTaskTuner(MODEL, "last-1", wise=0.5, **SHORT).fit(data)
    name = next(name for name in whole.end_ if name.startswith("body.") and name.endswith("weight"))
    torch.testing.assert_close(half.run_.live[name].detach(), (whole.start_[name] + whole.end_[name]) / 2)
    low = MultiTaskTuner(MODEL, "lora", rank=2, **SHORT).fit(data)
    assert low.adapters_["coarse"].predict_proba(test.items[:2]).shape == (2, 2)
    plain = [name for name, _ in load(MODEL).module.named_parameters()]
    assert [name for name, _ in low.adapters_["coarse"].extractor.backbone.module.named_parameters()] == plain


def test_tables_have_a_task_in_each_column(tmp_path: Path) -> None:
    """Questions of two levels, one of them not labelled everywhere; the split test is left alone."""
    rows = ["split,coarse,fine,text"]
    for split, count in (("train", 12), ("test", 6)):
        for n in range(count):
            fine = ("dog", "car", "cat")[n % 3]
            rows.append(
                f"{split},{'vehicle' if fine == 'car' else 'animal'},{'' if n == 4 else fine},a {fine} number {n}"
            )
    table = tmp_path / "items.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    tuner = MultiTaskTuner(MODEL, "full", steps=25, lr=1e-3).fit(table, ["coarse", "fine"])
    found = tuner.evaluate(table, ["coarse", "fine"])
    assert found["coarse"].score.value == found["fine"].score.value == 1.0
    assert tuner.adapters_["coarse"].trained_on_["items"] == 12 and tuner.adapters_["fine"].trained_on_["items"] == 11
    assert tuner.adapters_["coarse"].predict(["a car number 3"]).tolist() == ["vehicle"]
    assert tuner.adapters_["fine"].predict(["a dog number 1"]).tolist() == ["dog"]
    assert any(note.startswith("fine: 1 item without a label") for note in tuner.notes_)


def test_what_cannot_be_is_said(train: Dataset) -> None:
    items, labels = list(train.items), _labels(train)
    with pytest.raises(UsageError, match="'hue', which is no task; there are: fine, coarse"):
        MultiTaskTuner(MODEL, weights={"hue": 1.0}).fit(items, {k: labels[k] for k in ("fine", "coarse")})
    with pytest.raises(UsageError, match="it takes a number of 0 or more"):
        checked_weights({"fine": -1.0}, ["fine"])
    with pytest.raises(UsageError, match="nothing to train"):
        checked_weights({"fine": 0.0}, ["fine"])
    with pytest.raises(UsageError, match="'uncertainty', or a weight for each task"):
        checked_weights("equal", ["fine"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the strategy flyp trains one task"):
        MultiTaskTuner(MODEL, "flyp")
    with pytest.raises(UsageError, match="mixup is not there for several tasks"):
        MultiTaskTuner(MODEL, mixup=0.2)
    with pytest.raises(UsageError, match="the task 'coarse': nothing to train"):
        MultiTaskTuner(MODEL).fit(items, {"fine": labels["fine"], "coarse": ["animal"] * len(items)})
    with pytest.raises(UsageError, match=r"the task 'bright': the labels are .* say task='regression'"):
        MultiTaskTuner(MODEL).fit(items, labels)
    with pytest.raises(UsageError, match="need the labels of each"):
        MultiTaskTuner(MODEL).fit(items)
    with pytest.raises(UsageError, match="not of the same items"):
        read_tasks({"a": train, "b": train.take(range(5))}, None)
    with pytest.raises(UsageError, match="is not fitted yet"):
        MultiTaskTuner(MODEL).evaluate(items, labels)
    tuner = MultiTaskTuner(MODEL, "head-only", steps=1).fit(items, {"fine": labels["fine"]})
    with pytest.raises(UsageError, match="'coarse' was not trained; there are: fine"):
        tuner.evaluate(items, {"coarse": labels["coarse"]})
