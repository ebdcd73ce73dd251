"""The batched solver and the linear head against scikit-learn, on digits and on real embeddings."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from modelgraft_heads.design import Design
from modelgraft_heads.linear import LinearHead
from modelgraft_heads.logistic import Problems, solve
from modelgraft_heads.ridge import solve_ridge
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.linear_model import LogisticRegression, Ridge

STRENGTHS = [1e-4, 1e-2, 1.0, 1e2, 1e3]


def _examples(features: np.ndarray, targets: np.ndarray, task: str = "single-label", **more) -> Examples:
    kind = torch.int64 if task == "single-label" else torch.float32
    count = int(targets.max()) + 1 if task == "single-label" else targets.shape[1]
    return Examples(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(targets, dtype=kind),
        task,
        tuple(str(n) for n in range(count)),
        torch.arange(len(features)) % 5,
        **more,
    )


def _oracle(features: np.ndarray, targets: np.ndarray, C: float, weights: dict[int, float] | None = None):
    """scikit-learn's optimum. By Newton's method where its matrix is small: L-BFGS there stops by the change of the objective,
    on digits up to 3e-5 short of the optimal probabilities."""
    solver = "newton-cg" if features.shape[1] < 200 else "lbfgs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=C, tol=1e-10, max_iter=10_000, solver=solver, class_weight=weights)
        return model.fit(features.astype(np.float32).astype(np.float64), targets)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def embeddings(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """ImageNet MobileNetV2 features (500, 1280) of the five flowers' training photographs: more columns than rows."""
    import timm
    from safetensors.torch import load_file

    model = timm.create_model("mobilenetv2_100")
    model.load_state_dict(load_file(shared_data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors"))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg, use_test_size=False))
    pixels, names = [], []
    with tarfile.open(shared_data / "flowers5.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if member.isfile() and member.name.startswith("train/"):
                pixels.append(transform(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))
                names.append(member.name.split("/")[1])
    with torch.inference_mode():
        batches = torch.stack(pixels).split(50)
        model.eval()
        rows = [model.forward_head(model.forward_features(batch), pre_logits=True) for batch in batches]
    classes = sorted(set(names))
    return torch.cat(rows).numpy(), np.array([classes.index(name) for name in names])


def _agrees(features: np.ndarray, targets: np.ndarray, C: float, weights: dict[int, float] | None = None) -> None:
    given = None if weights is None else torch.tensor([weights[c] for c in range(int(targets.max()) + 1)])
    head = LinearHead.fit(_examples(features, targets, class_weights=given), C=C)
    expected = _oracle(features, targets, C, weights).predict_proba(features.astype(np.float32).astype(np.float64))
    found = head.probabilities(torch.tensor(features, dtype=torch.float32)).numpy()
    assert np.abs(found - expected).max() <= 2e-5
    assert head.report()["certificate"] <= 1e-6
    assert head.report()["converged"]


@pytest.mark.full
@pytest.mark.parametrize("C", STRENGTHS)
def test_digits_as_scikit_learn(C: float) -> None:
    _agrees(*_digits(), C)


@pytest.mark.parametrize("C", STRENGTHS)
def test_two_classes_as_scikit_learn(C: float) -> None:
    features, targets = _digits()
    two = np.isin(targets, (3, 8))
    _agrees(features[two], (targets[two] == 8).astype(int), C)


@pytest.mark.full
@pytest.mark.parametrize("C", STRENGTHS)
def test_real_embeddings_as_scikit_learn(embeddings: tuple[np.ndarray, np.ndarray], C: float) -> None:
    _agrees(*embeddings, C)


@pytest.mark.full
def test_unbalanced_real_embeddings(embeddings: tuple[np.ndarray, np.ndarray]) -> None:
    features, targets = embeddings
    rare = np.flatnonzero((targets != 1) | (np.cumsum(targets == 1) <= 4))
    _agrees(features[rare], targets[rare], 1.0)
    _agrees(features[rare], targets[rare], 1.0, {0: 1.0, 1: 25.0, 2: 1.0, 3: 0.5, 4: 1.0})


@pytest.mark.full
@pytest.mark.parametrize("C", [1e-2, 1e2])
def test_columns_twice_and_constant_columns(C: float) -> None:
    features, targets = _digits()
    odd = np.concatenate([features, features[:, :20], np.full((len(features), 3), 7.0)], axis=1)
    _agrees(odd, targets, C)


def test_more_columns_than_rows() -> None:
    features, targets = _digits()
    _agrees(features[:45], targets[:45], 1.0)


@pytest.mark.full
def test_the_certificate_bounds_the_distance_to_the_optimum() -> None:
    """A sloppy solve says how sloppy it was: its objective is within its certificate of the exact optimum."""
    features, targets = _digits()
    for dtype in (torch.float32, torch.float64):
        design = Design.of(torch.tensor(features), dtype)
        strengths = torch.tensor(STRENGTHS, dtype=torch.float64)
        count = len(features)
        problems = Problems(
            1 / (strengths * count) / design.scale**2,
            torch.full((len(strengths), count), 1 / count),
            torch.tensor(targets),
            10,
        )
        exact = solve(Design.of(torch.tensor(features), torch.float64), problems, tolerance=1e-13, certified=True)
        assert float(exact.certificate.max()) <= 1e-12
        for tolerance in (1e-2, 1e-4, 1e-6):
            rough = solve(design, problems, tolerance=tolerance)
            gap = rough.objective - exact.objective
            assert bool((gap >= -1e-12).all())
            assert bool((gap <= rough.certificate + 1e-12).all())
            assert bool((gap <= 100 * tolerance).all())


def test_a_batch_is_its_problems_one_by_one() -> None:
    """Strengths and folds solved together, and in small batches, are the problems solved alone."""
    features, targets = (torch.tensor(a) for a in _digits())
    features, targets = features[:300], targets[:300]
    design = Design.of(features, torch.float64)
    inside = torch.stack([torch.arange(300) % 3 != fold for fold in range(3)]).double()
    weights = (inside / inside.sum(dim=1, keepdim=True)).repeat(4, 1)
    penalties = torch.tensor([1e-5, 1e-3, 1e-1, 10.0], dtype=torch.float64).repeat_interleave(3)
    problems = Problems(penalties, weights, targets, 10)
    together = solve(design, problems, tolerance=1e-12, certified=True)
    for k in range(len(problems)):
        held = inside[k % 3] > 0
        alone = LogisticRegression(
            C=float(1 / (penalties[k] * held.sum())), tol=1e-12, max_iter=1000, solver="newton-cg"
        ).fit(design.rotated[held].numpy(), targets[held].numpy())
        found = torch.softmax(design.rotated @ together.weight[k].T + together.bias[k], dim=1).numpy()
        assert np.abs(found - alone.predict_proba(design.rotated.numpy())).max() < 1e-5


def test_batches_over_the_limit_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = _digits()
    examples = _examples(features[:200], targets[:200])
    strengths = [
        1e-5,
        1e-4,
        1e-3,
        1e-2,
        0.1,
    ]  # weaker penalties leave held-out losses to the last digits of the optimum
    whole = LinearHead.fit(examples, Cs=strengths)
    monkeypatch.setattr("modelgraft_heads.logistic.LARGEST_BATCH", 200 * 10 * 7)
    monkeypatch.setattr("modelgraft_heads.linear.LARGEST_BATCH", 5_000)
    parts = LinearHead.fit(examples, Cs=strengths)
    for one, other in zip(parts.report()["curve"], whole.report()["curve"], strict=True):
        assert one["score"] == other["score"]
        assert abs(one["log_loss"] - other["log_loss"]) < 5e-3 * other["log_loss"]


@pytest.mark.full
def test_the_curve_is_cross_validation() -> None:
    """Accuracy and log loss of every C are those of scikit-learn trained fold by fold."""
    features, targets = _digits()
    features, targets = features[:600].astype(np.float32), targets[:600]
    strengths = [1e-3, 1e-1, 10.0]
    report = LinearHead.fit(_examples(features, targets), Cs=strengths).report()
    folds = np.arange(600) % 5
    for point, C in zip(report["curve"], strengths, strict=True):
        hits, losses = [], []
        for fold in range(5):
            model = _oracle(features[folds != fold], targets[folds != fold], C)
            p = model.predict_proba(features[folds == fold].astype(np.float64))
            hits += (p.argmax(axis=1) == targets[folds == fold]).tolist()
            losses += (-np.log(p[np.arange(len(p)), targets[folds == fold]])).tolist()
        assert point["C"] == C
        assert abs(point["score"] - np.mean(hits)) <= 1 / 600
        assert abs(point["log_loss"] - np.mean(losses)) <= 2e-4
        assert point["low"] < point["score"] < point["high"]
    best = max(report["curve"], key=lambda point: (point["score"], -point["log_loss"]))
    assert report["chosen"]["C"] == best["C"] and best["C"] in report["ties"]


def test_labels_that_stand_alone_are_logistic_regressions() -> None:
    features, targets = make_multilabel_classification(400, 30, n_classes=4, random_state=0)
    head = LinearHead.fit(_examples(features, targets, "multi-label"), C=0.3)
    found = head.probabilities(torch.tensor(features, dtype=torch.float32)).numpy()
    for label in range(4):
        expected = _oracle(features, targets[:, label], 0.3).predict_proba(features)[:, 1]
        assert np.abs(found[:, label] - expected).max() <= 2e-5
    assert LinearHead.fit(_examples(features, targets, "multi-label")).report()["converged"]


def test_ridge_and_its_leave_one_out_error() -> None:
    features, targets = load_diabetes(return_X_y=True)
    features, targets = (
        features[:80].astype(np.float32).astype(np.float64),
        np.stack([targets, -3 * targets**0.5], 1)[:80],
    )
    for columns in (
        features,
        np.concatenate([features, features**2, np.random.default_rng(0).normal(size=(80, 100))], 1),
    ):
        design = Design.of(torch.tensor(columns), torch.float64)
        alphas = torch.tensor([1e-3, 0.1, 10.0], dtype=torch.float64)
        path = solve_ridge(design, torch.tensor(targets), alphas)
        for n, alpha in enumerate(alphas.tolist()):
            weight, bias = design.unrotate(path.weights[n], path.bias)
            model = Ridge(alpha).fit(columns, targets)
            assert np.abs((torch.tensor(columns) @ weight.T + bias).numpy() - model.predict(columns)).max() < 1e-6
            left_out = [
                Ridge(alpha).fit(np.delete(columns, i, 0), np.delete(targets, i, 0)).predict(columns[i : i + 1])[0]
                - targets[i]
                for i in range(len(columns))
            ]
            assert np.allclose(path.errors[n].numpy(), np.mean(np.square(left_out), axis=0), rtol=1e-6)
    head = LinearHead.fit(_examples(features, targets, "regression"))
    errors = [point["score"] for point in head.report()["curve"]]
    assert head.report()["chosen"]["alpha"] == head.report()["curve"][int(np.argmax(errors))]["alpha"]


def test_rows_that_are_shifted_scaled_or_turned_are_the_same_problem() -> None:
    features, targets = _digits()
    features, targets = features[:200].astype(np.float64), targets[:200]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]
    plain = LinearHead.fit(_examples(features, targets), C=0.5)
    turned = LinearHead.fit(_examples(features @ turn + 3.0, targets), C=0.5)
    scaled = LinearHead.fit(_examples(features * 10, targets), C=0.5 / 100)
    expected = plain.probabilities(torch.tensor(features, dtype=torch.float32))
    assert torch.allclose(turned.probabilities(torch.tensor(features @ turn + 3.0).float()), expected, atol=5e-5)
    assert torch.allclose(scaled.probabilities(torch.tensor(features * 10).float()), expected, atol=5e-5)


def test_a_single_example_a_class_has_nothing_to_choose_by() -> None:
    features, targets = _digits()
    first = [int(np.flatnonzero(targets == c)[0]) for c in range(10)]
    examples = dataclasses.replace(_examples(features[first], targets[first]), folds=torch.zeros(10, dtype=torch.int64))
    head = LinearHead.fit(examples)
    assert head.report()["chosen"]["C"] == 1.0
    assert "too few" in head.report()["notes"][0]
    assert (head.logits(torch.tensor(features[first]).float()).argmax(dim=1).numpy() == targets[first]).all()


def test_a_class_that_a_fold_does_not_have() -> None:
    features, targets = _digits()
    rare = np.flatnonzero((targets != 4) | (np.cumsum(targets == 4) <= 1))[:400]
    report = LinearHead.fit(_examples(features[rare], targets[rare])).report()
    assert report["converged"] and all(np.isfinite(point["log_loss"]) for point in report["curve"])


def test_constant_features_give_the_class_shares() -> None:
    targets = np.array([0, 0, 0, 1])
    head = LinearHead.fit(_examples(np.ones((4, 3)), targets), C=1.0)
    assert torch.allclose(head.probabilities(torch.ones(1, 3)), torch.tensor([[0.75, 0.25]]), atol=1e-5)


def test_features_that_are_no_numbers_are_refused() -> None:
    features, targets = _digits()
    features = features[:50].copy()
    features[3, 2] = np.nan
    with pytest.raises(UsageError, match="1 of 50"):
        LinearHead.fit(_examples(features, targets[:50]))
    with pytest.raises(UsageError, match="above 0"):
        LinearHead.fit(_examples(*_digits()), C=0.0)


def test_the_report_is_plain_json_and_the_head_comes_back() -> None:
    features, targets = _digits()
    head = LinearHead.fit(_examples(features[:300], targets[:300]), Cs=[0.01, 1.0])
    tensors, settings = head.state()
    again = LinearHead.restore(tensors, json.loads(json.dumps(settings)))
    rows = torch.tensor(features[300:400]).float()
    assert torch.equal(again.probabilities(rows), head.probabilities(rows))
    assert again.report() == json.loads(json.dumps(head.report()))


def _proba(head: LinearHead, features: np.ndarray) -> np.ndarray:
    return head.probabilities(torch.tensor(features, dtype=torch.float32)).numpy()


def _weighted(count: int) -> np.ndarray:
    return np.random.default_rng(2).exponential(1.0, count).astype(np.float32)


@pytest.mark.parametrize(("C", "classes"), [(0.01, 10), (1.0, 10), (1.0, 2)])
def test_item_weights_as_scikit_learn(C: float, classes: int) -> None:
    """The objective is ``C sum_i w_i loss_i``: weights are not made to have any mean."""
    features, targets = _digits()
    features, targets = features[targets < classes][:600] / 16, targets[targets < classes][:600]
    weights = _weighted(len(targets))
    head = LinearHead.fit(_examples(features, targets, item_weights=torch.from_numpy(weights)), C=C)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=10_000, solver="newton-cg")
    model.fit(features.astype(np.float32).astype(np.float64), targets, sample_weight=weights.astype(np.float64))
    assert np.abs(_proba(head, features) - model.predict_proba(features)).max() <= 2e-5
    plain = LinearHead.fit(_examples(features, targets), C=C)
    assert np.abs(_proba(plain, features) - model.predict_proba(features)).max() > 1e-3


def test_an_item_of_weight_two_is_an_item_that_is_there_twice() -> None:
    """The chosen strength and its curve too: folds are scored by weight."""
    features, targets = (part[:200] for part in _digits())
    weights = np.random.default_rng(0).integers(0, 3, len(targets))
    double = np.repeat(np.arange(len(targets)), weights)
    folds = torch.arange(len(targets)) % 5
    weighed = dataclasses.replace(_examples(features, targets), item_weights=torch.tensor(weights, dtype=torch.float32))
    repeated = dataclasses.replace(_examples(features[double], targets[double]), folds=folds[double])
    one, other = (LinearHead.fit(found, Cs=[1e-3, 1e-2, 1.0]) for found in (weighed, repeated))
    assert one.report()["chosen"] == other.report()["chosen"]
    for left, right in zip(one.report()["curve"], other.report()["curve"], strict=True):
        assert left["score"] == pytest.approx(right["score"], abs=1e-6)
        assert left["log_loss"] == pytest.approx(right["log_loss"], rel=1e-4)
    assert np.abs(_proba(one, features) - _proba(other, features)).max() <= 2e-5


@pytest.mark.parametrize(
    ("weights", "said"), [([1.0] * 9, "give one for each"), ([-1.0] + [1.0] * 9, "at least 0"), ([0.0] * 10, "above 0")]
)
def test_item_weights_that_cannot_be_are_refused(weights: list[float], said: str) -> None:
    features, targets = (part[:10] for part in _digits())
    with pytest.raises(UsageError, match=said):
        LinearHead.fit(_examples(features, targets, item_weights=torch.tensor(weights)), C=1.0)
