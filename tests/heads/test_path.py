"""The path of optima along C: where each strength starts, and that every problem on it is solved."""

from __future__ import annotations

import math

import pytest
import torch
from modelgraft.learning import Examples
from modelgraft_heads import path
from modelgraft_heads.design import Design
from modelgraft_heads.linear import STRENGTHS, Sweep
from modelgraft_heads.logistic import Solution, solve
from modelgraft_heads.path import Start, follow
from sklearn.linear_model import LogisticRegression

UNKNOWN = torch.zeros(0, dtype=torch.float64)


def _line(strengths: list[float], folds: int) -> Start:
    """Optima that are straight over log C: a slope for each fold."""
    logs = torch.tensor([math.log(c) * (fold + 1) for c in strengths for fold in range(folds)], dtype=torch.float64)
    return logs[:, None, None] * torch.ones(1, 3, 2, dtype=torch.float64), 1 - logs[:, None] * torch.ones(1, 3)


@pytest.mark.parametrize("columns", [1, 12, 1000])
def test_a_straight_path_is_met(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(path, "COLUMNS", columns)
    strengths = [1e-3, 1e-2, 0.1, 0.5, 2.0, 7.0, 7.5]
    starts: list[tuple[list[float], Start | None]] = []

    def exact(group: list[float], start: Start | None) -> Solution:
        starts.append((group, start))
        return Solution(*_line(group, 2), UNKNOWN, UNKNOWN, 0)

    places = [(where, len(found.bias)) for where, found in follow(strengths, 2, 3, exact)]
    size = max(1, columns // 6)
    assert [c for group, _ in starts for c in group] == strengths
    assert [(w.start, w.stop) for w, _ in places] == [(n, min(n + size, 7)) for n in range(0, 7, size)]
    assert all(count == 2 * (where.stop - where.start) for where, count in places)
    assert starts[0][1] is None
    if size == 1:
        group, start = starts[1]
        assert start is not None and torch.equal(start[0], _line([1e-3], 2)[0])
        for group, start in starts[2:]:
            if group[0] in (0.1, 0.5, 2.0, 7.0, 7.5):  # no farther ahead than the two before are apart
                assert start is not None
                for found, expected in zip(start, _line(group, 2), strict=True):
                    torch.testing.assert_close(found.double(), expected.double(), atol=1e-5, rtol=1e-5)


def test_the_line_is_not_followed_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two strengths that nearly are one, a line through their optima says nothing about a far one."""
    monkeypatch.setattr(path, "COLUMNS", 1)
    given: list[Start | None] = []

    def exact(group: list[float], start: Start | None) -> Solution:
        given.append(start)
        return Solution(*_line(group, 1), UNKNOWN, UNKNOWN, 0)

    list(follow([1.0, 1.001, 1e5], 1, 3, exact))
    assert given[2] is not None
    torch.testing.assert_close(given[2][0], _line([1.001**2], 1)[0], atol=1e-6, rtol=1e-6)


def _many(classes: int, each: int, width: int) -> Examples:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=generator)
    targets = torch.arange(classes * each) % classes
    features = centres[targets] + 1.2 * torch.randn(len(targets), width, generator=generator)
    features = features / features.norm(dim=1, keepdim=True)
    folds = torch.arange(len(targets)) // classes % 3
    return Examples(features, targets, "single-label", tuple(map(str, range(classes))), folds)


@pytest.mark.parametrize("strengths", [list(STRENGTHS), [1e-2, 3e3]])
def test_every_problem_of_many_classes_is_solved(strengths: list[float]) -> None:
    """To 1e-6 nats of the optimum, which is certified in float64: with few strengths, far apart, too."""
    examples = _many(60, 12, 24)
    sweep = Sweep(Design.of(examples.features), examples)
    inside = torch.stack([examples.folds != fold for fold in range(3)])
    exact = Design.of(examples.features, torch.float64)
    for places, solution in sweep.path(strengths, inside, None):
        group = strengths[places]
        problems = sweep._problems(exact, group, inside, None)
        best = solve(exact, problems, tolerance=1e-9, certified=True, start=(solution.weight, solution.bias))
        assert float(best.certificate.max()) <= 1e-8
        for k in range(len(problems)):
            z = exact.rotated @ solution.weight[k].double().T + solution.bias[k].double()
            losses = torch.nn.functional.cross_entropy(z, examples.targets, reduction="none")
            weights = problems.weights[k].double()
            found = (losses * weights).sum() + problems.penalties[k] / 2 * solution.weight[k].double().square().sum()
            assert float(found - best.objective[k]) < 1e-6, group


def test_many_classes_are_scikit_learn_s() -> None:
    examples = _many(40, 9, 16)
    strengths = [0.1, 1.0, 10.0, 100.0]
    curve = Sweep(Design.of(examples.features), examples).curve(strengths, [0, 1, 2])
    features, targets = examples.features.double().numpy(), examples.targets.numpy()
    for point in curve:
        hits, losses = 0, 0.0
        for fold in range(3):
            held = (examples.folds == fold).numpy()
            model = LogisticRegression(C=point["C"], tol=1e-9, max_iter=5000).fit(features[~held], targets[~held])
            p = torch.from_numpy(model.predict_log_proba(features[held]))
            hits += int((p.argmax(dim=1).numpy() == targets[held]).sum())
            losses -= float(p.gather(1, examples.targets[torch.from_numpy(held)][:, None]).sum())
        assert abs(point["score"] - hits / len(targets)) <= 1 / len(targets)
        assert abs(point["log_loss"] - losses / len(targets)) <= 1e-3
