"""Sloppy numbers handed to heads, adapters, scores, intervals, learning curves and comparisons: the right answer, or one line."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import FrozenAdapter, KNNClassifier, LinearProbe
from modelgraft_adapters.compare.runner import compare
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot, stratified_split
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.metrics.intervals import mean_of_losses, mean_of_shares, share_with_error, wilson
from modelgraft_adapters.metrics.many_rows import corrected
from modelgraft_adapters.metrics.paired import Answers, difference, mcnemar, reach
from modelgraft_adapters.metrics.scores import Score, evaluate
from modelgraft_adapters.runs.learning_curve import learning_curve

MODEL = "embedded/sprig"
TEXTS = ["a dog", "a cat", "a horse", "a bird", "a car", "a truck", "a ship", "a bus"]
NAN, INF = math.nan, math.inf
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
FIXED: dict[str, dict[str, Any]] = {
    "linear": {"C": 1.0},
    "knn": {"k": 3},
    "prototype": {"temperature": 0.1},
    "cosine": {"scale": 10.0, "epochs": 3},
    "mlp": {"steps": 20, "decay": 0.1},
}
"""Settings of each head, so that nothing is chosen."""


def fit(head: str = "linear", x: Any = X, y: Any = Y, class_weight: Any = None, **settings: Any) -> FrozenAdapter:
    return FrozenAdapter(head=head, class_weight=class_weight, **{**FIXED[head], **settings}).fit(x, y)


def regression(values: list[Any], **settings: Any) -> FrozenAdapter:
    texts = TEXTS[: len(values)]
    return LinearProbe(MODEL, **settings).fit(read_data(texts, values, task="regression"))


def scored(task: Any, targets: Any, outputs: Any, **options: Any) -> dict[str, Score]:
    found = np.asarray(outputs, float)
    names = [str(n) for n in range(found.shape[1])]
    count = len(targets)
    result = evaluate(task, names, np.asarray(targets), found, [""] * count, np.arange(count), **options)
    return {score.name: score for score in result.scores}


SURE = [[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]]
NUMBERS = np.arange(12.0)[:, None] ** 1.5
GUESSES = NUMBERS + rng.normal(size=(12, 1))


def right(*values: float) -> Answers:
    return Answers("single-label", np.array(values, float), np.zeros((0, 0)), np.zeros((0, 0)))


def numbers(outputs: Any, targets: Any) -> Answers:
    return Answers("regression", np.zeros(0), np.array(outputs, float), np.array(targets, float))


def curve(x: np.ndarray = X, tested: np.ndarray = X, **options: Any) -> list[Any]:
    train, test = (read_data([f"item {n}" for n in range(len(part))], Y[: len(part)].tolist()) for part in (x, tested))
    return learning_curve(LinearProbe(C=1.0), train, x, test, tested, **{"shots": (2, None), "seeds": (0,), **options})


def comparison(**options: Any) -> Any:
    return compare(read_data(TEXTS * 2, [0, 0, 0, 0, 1, 1, 1, 1] * 2), [MODEL], ["knn"], **options)


def tuned(**settings: Any) -> Settings:
    return Settings.of({"strategy": "full", **settings})


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "True for C": (lambda: fit(C=True), "C=True for the head 'linear': give a finite number above 0"),
    "text for C": (lambda: fit(C="1.0"), "C='1.0'"),
    "C of 0": (lambda: fit(C=0), "C=0"),
    "C below 0": (lambda: fit(C=-1.0), "C=-1.0"),
    "C of nan": (lambda: fit(C=NAN), "C=nan"),
    "C of inf": (lambda: fit(C=INF), "C=inf"),
    "C in a list": (lambda: fit(C=[1.0]), r"C=\[1.0\]"),
    "no Cs": (lambda: LinearProbe(Cs=[]).fit(X, Y), r"Cs=\[\] .*give a list of finite numbers"),
    "nan among Cs": (lambda: LinearProbe(Cs=[NAN, 1.0]).fit(X, Y), r"Cs=\[nan, 1.0\]"),
    "True among Cs": (lambda: LinearProbe(Cs=[True, 2.0]).fit(X, Y), r"Cs=\[True, 2.0\]"),
    "one number for Cs": (lambda: LinearProbe(Cs=1.0).fit(X, Y), "Cs=1.0 .*a list"),  # type: ignore[arg-type]
    "Cs of a regression": (lambda: regression([1, 2, 3, 4], Cs=[1.0]), "C and Cs are of classification"),
    "True for alpha": (lambda: regression([1, 2, 3, 4], alpha=True), "alpha=True"),
    "text for k": (lambda: fit("knn", k="3"), "k='3'"),
    "half a neighbour": (lambda: fit("knn", k=1.5), "give a whole number"),
    "k of inf": (lambda: fit("knn", k=INF), "k=inf"),
    "a temperature of 0": (lambda: fit("knn", temperature=0), "temperature=0"),
    "a temperature of nan": (lambda: fit("prototype", temperature=NAN), "temperature=nan"),
    "a temperature beyond float32": (lambda: fit("prototype", temperature=1e-40), "at least 0.001"),
    "an infinite temperature": (lambda: fit("knn", temperature=INF), "temperature=inf"),
    "a scale beyond float32": (lambda: fit("cosine", scale=1e38), "at most 1000"),
    "an infinite rate": (lambda: fit("mlp", rate=INF), "rate=inf"),
    "a rate that leaves all numbers": (lambda: fit("mlp", rate=1e30), "left all finite numbers; take lower ones"),
    "a decay that leaves all numbers": (lambda: fit("mlp", decay=1e10), "left all finite numbers"),
    "an infinite constraint": (lambda: fit("cosine", constraint=INF), "constraint=inf"),
    "an infinite learning rate": (lambda: tuned(lr=INF), "lr must be above 0, not inf"),
    "an average that never moves": (lambda: tuned(ema=1.0), "ema must be below 1"),
    "a class weight of nan": (lambda: fit(class_weight={0: NAN}), "class_weight of 0 is nan"),
    "a class weight beyond float32": (lambda: fit(class_weight={0: 1e39}), r"class_weight of 0 is 1e\+39"),
    "one class": (lambda: fit(y=[1] * 40), "all 40 items to train on are of the class '1'"),
    "an infinite class": (lambda: LinearProbe(MODEL).fit(TEXTS, [INF, 1.0] * 4), "the label of item 0 is inf"),
    "numbers too large to learn": (lambda: regression([1e300, 2e300]), "is not finite in float32"),
    "numbers too near to learn": (lambda: regression([1e-160, 2e-160, 3e-160]), "give them in a smaller unit"),
    "one number to learn": (lambda: regression([1.5]), "nothing to train"),
    "masked features": (lambda: fit(x=np.ma.array(X, mask=X > 1)), "X has masked numbers"),
    "probabilities that sum to more": (lambda: scored("single-label", [0, 1, 1], [[0.8, 0.8]] * 3), "sum to 1.6, not to 1"),
    "probabilities below 0": (lambda: scored("single-label", [0], [[-0.5, 1.5]]), "probabilities from -0.5 to 1.5"),
    "probabilities of nan": (lambda: scored("single-label", [0], [[NAN, 0.5]]), "not finite"),
    "memberships beyond 1": (lambda: scored("multi-label", [[1, 0]], [[3.0, 0.1]]), "probabilities from 0.1 to 3"),
    "a target beyond the classes": (lambda: scored("single-label", [0, 1, 2], SURE), "item 2 is no class number from 0 to 1"),
    "a target below -1": (lambda: scored("single-label", [0, 1, -5], SURE), "item 2 is no class number"),
    "a target between classes": (lambda: scored("single-label", [0.5, 1, 1], SURE), "item 0 is no class number"),
    "half a membership": (lambda: scored("multi-label", [[1, 0], [0.5, 1], [0, 1]], SURE), "item 1 is neither 0 nor 1"),
    "targets in a column": (lambda: scored("single-label", [[0], [1], [1]], SURE), "a class number"),
    "values to spread over all": (lambda: scored("regression", NUMBERS, [[1.0]]), r"outputs of shape \(1, 1\)"),
    "an infinite value": (lambda: scored("regression", [[1.0], [2.0]], [[INF], [1.0]]), "not finite"),
    "half a resample": (lambda: scored("regression", NUMBERS, GUESSES, resamples=1.5), "resamples=1.5"),
    "more hits than trials": (lambda: wilson(5, 3), "5 hits in 3 trials"),
    "a loss below 0": (lambda: mean_of_losses(np.array([1.0, -2.0])), "a loss of -2"),
    "a share of nothing": (lambda: mean_of_shares(np.array([0.0]), np.array([0.0])), "a count above 0"),
    "half an item that differs": (lambda: mcnemar(1.5, 2), "two numbers of items"),  # type: ignore[arg-type]
    "rows of other test items": (lambda: difference([right(1, 0, 1)], [right(1, 0)]), "take the same test items"),
    "rows of other targets": (
        lambda: difference([numbers([[1], [2]], [[1], [3]])], [numbers([[1], [2]], [[5], [3]])]), "other targets"
    ),
    "rows of other draws": (lambda: corrected([[right(1, 0)] * 2, [right(1, 1)] * 3]), "2 and 3 trainings"),
    "a row without answers": (lambda: corrected([[right(1, 0)], []]), "without answers"),
    "a best row there is not": (lambda: corrected([[right(1)], [right(0)]], best=5), "number 5 of 2 rows"),
    "a score of nan to get to": (lambda: reach([], 2, NAN), "is nan"),
    "a curve of no steps": (lambda: curve(shots=()), "shots is empty"),
    "a curve of half a label": (lambda: curve(shots=(1.5,)), "shots=1.5"),
    "a curve of True labels": (lambda: curve(shots=(True,)), "shots=True"),
    "a curve of more than there is": (lambda: curve(shots=(100,)), "100 shots are all 40 items"),
    "a curve of nan seeds": (lambda: curve(seeds=(NAN,)), "seed=nan"),
    "a curve of other features": (lambda: curve(tested=X[:, :3]), "features of 5 numbers and test features of 3"),
    "a comparison of no seeds": (lambda: comparison(seeds=0), "seeds=0"),
    "a comparison of True seeds": (lambda: comparison(seeds=True), "seeds=True"),
    "a comparison to nan": (lambda: comparison(wanted=NAN), "wanted=nan"),
    "a comparison of nan labels": (lambda: comparison(shots=[NAN]), "shots=nan"),
    "text for shots": (lambda: few_shot(read_data(TEXTS, [0, 1] * 4), "2"), "shots='2'"),  # type: ignore[arg-type]
    "text for a fraction": (
        lambda: stratified_split(read_data(TEXTS, [0, 1] * 4), "0.2"), "test_fraction='0.2'"  # type: ignore[arg-type]
    ),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_a_line(what: str) -> None:
    make, match = REFUSED[what]
    with pytest.raises(UsageError, match=match) as told:
        make()
    assert "\n" not in str(told.value)


def _score(value: float, low: float = NAN, high: float = NAN) -> Any:
    return pytest.approx((value, low, high), nan_ok=True, rel=1e-9)


def _ends(score: Score) -> tuple[float, float, float]:
    return score.value, score.low, score.high


def _unit(factor: float, name: str) -> tuple[float, ...]:
    """A score of numbers in a unit of their own, less the unit."""
    score = scored("regression", NUMBERS * factor, GUESSES * factor)[name]
    return tuple(v if name == "R2" else v / factor for v in _ends(score))


def _giant(head: str) -> tuple[bool, bool, list[int]]:
    """Of rows far beyond all others: finite probabilities, the class on whose side each is."""
    head_ = fit(head)
    far = np.concatenate([X[:1] * 1e30, X[1:2] * 1e37, X[2:]]).astype(np.float32)
    found = head_.predict_proba(far)
    return bool(np.isfinite(found).all()), np.allclose(found.sum(axis=1), 1, atol=1e-5), head_.predict(far)[:2].tolist()


def _all_times(head: str, factor: float) -> bool:
    """Trained on features in another unit, a head that has no unit answers as before."""
    other = (X * np.float32(factor)).astype(np.float32)
    return np.array_equal(fit(head, other).predict(other), fit(head).predict(X))


def _one_row(head: str) -> list[str]:
    x = X.copy()
    x[3] = 1e30
    return [note for note in fit(head, x).notes_ if "leave" in note]


ALIKE = [(right(1, 1, 1), right(0, 0, 0)), (right(1), right(0))]

RIGHT: dict[str, tuple[Callable[[], Any], Any]] = {
    "numpy's numbers for C": (lambda: fit(C=np.float32(2)).report_["chosen"], {"C": 2.0}),
    "a whole number for C": (lambda: fit(C=np.int64(2)).report_["chosen"], {"C": 2.0}),
    "Cs twice": (lambda: len(LinearProbe(Cs=[1, 0.1, 1.0, 0.1]).fit(X, Y).report_["curve"]), 2),
    "more folds than items": (lambda: LinearProbe(Cs=[0.1, 1.0], n_folds=10**9).fit(X, Y).score(X[:1], Y[:1]), 1.0),
    "more neighbours than items": (lambda: KNNClassifier(k=10**9).fit(X, Y).report_["chosen"]["k"], 40),
    "a temperature near 0": (
        lambda: fit("knn", temperature=1e-300).predict_proba(X).tolist(), lambda: fit("knn", k=1).predict_proba(X).tolist()
    ),
    "weights near the end of float32": (
        lambda: fit("knn", class_weight={0: 1e-40, 1: 1e-40}).predict_proba(X).tolist(),
        lambda: fit("knn").predict_proba(X).tolist(),
    ),
    "weights near the other end": (
        lambda: fit("knn", class_weight={0: 3e38, 1: 3e38}).predict_proba(X).tolist(),
        lambda: fit("knn").predict_proba(X).tolist(),
    ),
    **{
        f"rows of 1e30 for {head}": (lambda h=head: _giant(h), lambda h=head: (True, True, fit(h).predict(X)[:2].tolist()))
        for head in FIXED
    },
    **{f"all features times 1e30 for {head}": (lambda h=head: _all_times(h, 1e30), True) for head in FIXED if head != "linear"},
    **{f"all features times 1e-41 for {head}": (lambda h=head: _all_times(h, 1e-41), True) for head in ("knn", "prototype")},
    "features below float32's usual": (lambda: bool(np.isfinite(fit("mlp", X * np.float32(1e-41)).predict_proba(X)).all()), True),
    "one row of 1e30 is said by mlp": (lambda: len(_one_row("mlp")), 1),
    "one row of 1e30 is said by linear": (lambda: len(_one_row("linear")), 1),
    "one row of 1e30 matters not to a cosine": (lambda: _one_row("knn"), []),
    "a rate that unlearns is said": (lambda: any("take a lower rate" in n for n in fit("cosine", rate=1e30, seed=0).notes_), True),
    "a usual rate is not spoken of": (lambda: any("lower rate" in n for n in fit("cosine", rate=0.1).notes_), False),
    "whole fractions for classes": (lambda: fit(y=Y.astype(float)).predict(X).dtype.kind, "f"),
    "fractions for classes of items": (
        lambda: LinearProbe(MODEL, C=1.0).fit(TEXTS, [0.5] * 4 + [1.7] * 4).predict(TEXTS).tolist(), [0.5] * 4 + [1.7] * 4
    ),
    "classes beyond float64's whole numbers": (
        lambda: fit(y=(2**60 + Y).tolist()).predict(X).tolist() == (2**60 + fit().predict(X)).tolist(), True
    ),
    "numbers that are rounded are said": (
        lambda: any("2**53" in note for note in regression([2**60 + 300 * n + 1 for n in range(8)]).notes_), True
    ),
    "float targets to score": (lambda: scored("single-label", [0.0, 1.0, 0.0], SURE)["accuracy"].value, 1.0),
    "bool targets to score": (lambda: scored("single-label", [False, True, False], SURE)["accuracy"].value, 1.0),
    "one item to score": (lambda: _ends(scored("single-label", [0], SURE[:1])["log loss"]), _score(-math.log(0.6))),
    "two numbers to score": (lambda: _ends(scored("regression", [[1.0], [2.0]], [[1.0], [1.5]])["R2"]), _score(0.5)),
    **{
        f"{name} in units of {factor:g}": (
            lambda f=factor, n=name: _unit(f, n),
            lambda n=name: pytest.approx(_unit(1.0, n), rel=1e-6),
        )
        for factor in (1e300, 1e-300, 1e-160)
        for name in ("R2", "mean absolute error", "root mean squared error")
    },
    "unsigned targets": (
        lambda: scored("regression", np.array([[1], [2], [9]], np.uint8), [[2.0], [3.0], [8.0]])["mean absolute error"].value, 1.0
    ),
    "an interval of nothing to go by": (
        lambda: _ends(scored("regression", [[1.0], [2.0], [4.0]], [[1.1], [2.2], [3.0]])["R2"])[1:],
        pytest.approx((NAN, NAN), nan_ok=True),
    ),
    "a share of nan": (lambda: wilson(NAN, 3), pytest.approx((NAN, NAN), nan_ok=True)),
    "a share of none": (lambda: wilson(0, 0), pytest.approx((NAN, NAN), nan_ok=True)),
    "an error of nan": (lambda: share_with_error(0.5, NAN, 5), pytest.approx((NAN, NAN), nan_ok=True)),
    "losses with nan": (lambda: mean_of_losses(np.array([1.0, NAN, 2.0])), pytest.approx((NAN, NAN), nan_ok=True)),
    "one loss": (lambda: mean_of_losses(np.ones(1)), pytest.approx((NAN, NAN), nan_ok=True)),
    "a comparison of one row": (lambda: corrected([[right(1, 0)]]), [None]),
    "a comparison of no row": (lambda: corrected([]), []),
    "no item is no evidence": (lambda: math.isnan(corrected([[right(NAN, NAN)], [right(1, 0)]])[1].p), True),  # type: ignore[union-attr]
    "one number is no evidence": (
        lambda: math.isnan(corrected([[numbers([[1]], [[2]])], [numbers([[2]], [[2]])]])[1].p), True  # type: ignore[union-attr]
    ),
    **{
        f"{len(a.right)} items that all say the same": (
            lambda a=a, b=b: corrected([[a], [b]])[1].p > 0.02 and corrected([[a], [b], [b]])[1].p > 0.02, True
        )
        for a, b in ALIKE
    },
    "numbers near 1e300 compared": (
        lambda: difference([numbers(GUESSES * 1e299, NUMBERS * 1e299)], [numbers(NUMBERS * 1e299, NUMBERS * 1e299)]).value,
        lambda: pytest.approx(difference([numbers(GUESSES, NUMBERS)], [numbers(NUMBERS, NUMBERS)]).value),
    ),
    "a curve of steps and seeds twice": (
        lambda: [(p.shots, len(p.scores)) for p in curve(shots=(2, 2, None, None), seeds=(0, 0, 0))], [(2, 1), (None, 1)]
    ),
    "a curve of a step beyond all": (lambda: [p.shots for p in curve(shots=(10**9, None))], [None]),
    "a curve of numpy's steps": (lambda: [type(p.shots) for p in curve(shots=np.array([2]))], [int]),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("what", RIGHT)
def test_what_is_meant_is_done(what: str) -> None:
    make, expected = RIGHT[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert make() == (expected() if callable(expected) else expected)
