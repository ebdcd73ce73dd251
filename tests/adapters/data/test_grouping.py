"""Groups stay on one side of every split, and each part has its share of every class as near as they allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import FineTuner, LinearProbe
from modelgraft_adapters.data import splitting
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint, training_facts
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot, folds, stratified_split
from modelgraft_adapters.runs.multitask import parted_tasks
from sklearn.model_selection import StratifiedGroupKFold

rng = np.random.default_rng(0)
GROUPS = rng.integers(0, 40, 400)
ONE = (rng.random(400) < 0.3).astype(np.int64)
TARGETS = {
    "single-label": ONE,
    "multi-label": (rng.random((400, 4)) < 0.2).astype(np.float32),
    "regression": rng.normal(size=(400, 1)).astype(np.float32),
}


def _data(targets: object = ONE, groups: object = GROUPS, task: str | None = None) -> Dataset:
    return read_data([f"text {n}" for n in range(len(groups))], targets, groups=groups, task=task)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", list(TARGETS))
@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_on_two_sides_and_shares_hold(task: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = TARGETS[task]
    data = stratified_split(_data(targets, task=task), 0.2, seed)
    assert data.groups is not None and data.targets is not None
    train, test = data.train, data.test
    assert not set(train.groups) & set(test.groups)  # type: ignore[arg-type]
    assert 0.15 < len(test) / len(data) < 0.25
    spread = np.abs(train.targets.mean(axis=0) - test.targets.mean(axis=0)).max()  # type: ignore[union-attr]
    assert spread < (0.3 if task == "regression" else 0.1)
    fold = folds(data.targets, data.task, 5, seed, data.groups)
    assert all(len(set(fold[data.groups == name])) == 1 for name in set(data.groups))
    assert np.bincount(fold).min() > 60 and len(set(fold)) == 5
    assert np.array_equal(fold, folds(data.targets, data.task, 5, seed, data.groups))
    # Without the guard, the same groups are on both sides.
    plain = folds(data.targets, data.task, 5, seed)
    assert any(len(set(plain[data.groups == name])) > 1 for name in set(data.groups))


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    data = _data()
    assert data.groups is not None
    theirs = np.empty(400, np.int64)
    for number, (_, held) in enumerate(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(ONE, ONE, GROUPS)):
        theirs[held] = number
    ours = folds(ONE, "single-label", 5, 0, data.groups)

    def uneven(fold: np.ndarray) -> float:
        return max(np.ptp(np.bincount(fold[name == ONE], minlength=5)) for name in (0, 1))

    assert uneven(ours) <= uneven(theirs)


def test_few_groups_and_missing_ones_are_told() -> None:
    small = [n % 2 for n in range(30)]
    with pytest.raises(UsageError, match="1 group of 'groups' with labels cannot be split"):
        stratified_split(_data(small, ["a"] * 30))
    halves = stratified_split(_data(small, [n % 3 // 2 for n in range(30)]))
    assert len(halves.test) == 10 and "test part of 33%, not 20%" in halves.notes[-1]
    assert set(folds(np.array(small), "single-label", 5, 0, np.array(["a"] * 30))) == {0}
    lone = _data(small, [None, float("nan"), *range(28)])
    assert lone.groups is not None and len(set(lone.groups)) == 30
    assert "2 items without a group: each is a group of its own" in lone.notes
    with pytest.raises(UsageError, match="30 items and 2 groups"):
        read_data([f"t {n}" for n in range(30)], small, groups=["a", "b"])
    with pytest.raises(UsageError, match="no item has a group"):
        _data(small, [None] * 30)


def test_a_class_of_one_group_stays_in_training() -> None:
    labels = ["a"] * 40 + ["b"] * 40 + ["rare"] * 10
    groups = [*(f"a{n % 8}" for n in range(40)), *(f"b{n % 8}" for n in range(40)), *["r"] * 10]
    for seed in range(5):
        data = stratified_split(_data(labels, groups), 0.2, seed)
        assert "r" in set(data.train.groups)  # type: ignore[arg-type]


def test_groups_on_both_sides_of_a_given_split_are_told(tmp_path: Path) -> None:
    rows = "".join(f"text {n},{n % 2},{'train' if n < 12 else 'test'},p{n % 14}\n" for n in range(20))
    (tmp_path / "t.csv").write_text(f"text,label,split,patient\n{rows}")
    data = read_data(tmp_path / "t.csv", group_column="patient")
    assert any(
        "6 groups of 'patient' are in 'train' and in 'test' ('p0', 'p1' and 4 more; 6 of the 8 items" in n
        for n in data.notes
    )
    (tmp_path / "u.csv").write_text("text,label,patient\n" + "".join(f"t {n},{n % 2},p{n % 3}\n" for n in range(9)))
    assert any("group_column='patient' keeps" in note for note in read_data(tmp_path / "u.csv").notes)
    with pytest.raises(UsageError, match="has no column 'patients'"):
        read_data(tmp_path / "t.csv", group_column="patients")


def test_groups_go_along_into_takes_shots_and_tasks() -> None:
    data = _data()
    shots = few_shot(data, 20)
    assert shots.groups is not None and len(shots.groups) == len(shots) == 40
    labels = [None if n % 3 else int(ONE[n]) for n in range(400)]
    parts = parted_tasks({"one": _data(labels), "two": _data(TARGETS["regression"], task="regression")}, 0.2, 0)
    for part in parts.values():
        assert not set(part.train.groups) & set(part.test.groups)  # type: ignore[arg-type]


def test_a_probe_chooses_by_folds_of_groups_and_its_card_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that tell the author and nothing else: only folds that hold out whole authors see that nothing is trained."""
    words = [f"author {group} {'red' if n % 2 else 'blue'}" for n, group in enumerate(GROUPS[:120])]
    labels = [int(group % 2) for group in GROUPS[:120]]
    seen = []
    real = splitting.share_out
    monkeypatch.setattr(splitting, "share_out", lambda *given: seen.append(1) or real(*given))
    probe = LinearProbe("embedded/sprig", C=1.0)
    probe.fit(words, labels, groups=[f"p{group}" for group in GROUPS[:120]])
    assert seen
    assert probe.trained_on_["groups"] == {"column": "groups", "count": len(set(GROUPS[:120]))}
    few = LinearProbe("embedded/sprig", C=1.0).fit(words, labels, groups=[n % 3 for n in range(120)])
    assert any("3 groups of 'groups' to train on: 3 folds in place of 5" in note for note in few.notes_)
    data, alone = _data(), read_data([f"text {n}" for n in range(400)], ONE)
    assert fingerprint(data) != fingerprint(alone)
    assert "groups" not in training_facts(alone, 3, 0)


def test_the_part_that_patience_looks_at_holds_whole_groups() -> None:
    words, groups = [f"text {n}" for n in range(120)], [f"p{n}" for n in GROUPS[:120]]
    tuner = FineTuner("embedded/sprig", patience=1, epochs=2)
    train, held = tuner._parts(words, ONE[:120], groups)
    assert held is not None and held.groups is not None and train.groups is not None
    assert len(train) + len(held) == 120 and not set(train.groups) & set(held.groups)
