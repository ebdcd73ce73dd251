"""How often the 95 % intervals of scores hold the truth: simulated test sets of which the truth is known.

    python benchmarks/coverage.py [--repeats 1000]

Every interval is the one that `evaluate` gives; nothing is computed here but the data and the count. The truth is the score of a
very large test set of the same kind. With 1,000 test sets a coverage of 95 % is known to within 1.4 points.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import save
from modelgraft_adapters.metrics.class_scores import area_under_curve, macro_f1
from modelgraft_adapters.metrics.scores import average_precisions, evaluate, explained_share

SIZES = (20, 50, 100, 200)
LARGE = 400_000
SLOW = 0.4
"""The part of the repeats that scores which are resampled get."""
Drawn = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int], Drawn]


def classifier(shares: list[float], signal: list[float], sharp: float) -> Draw:
    """Softmax of noise and a signal for the true class, by class; ``sharp`` above 1 is more sure than right."""

    def draw(rng: np.random.Generator, count: int) -> Drawn:
        targets = rng.choice(len(shares), count, p=np.array(shares) / sum(shares))
        logits = rng.normal(size=(count, len(shares)))
        logits[np.arange(count), targets] += np.array(signal)[targets]
        odds = np.exp(sharp * (logits - logits.max(axis=1, keepdims=True)))
        return targets, odds / odds.sum(axis=1, keepdims=True)

    return draw


def tagger(prevalence: list[float], apart: float) -> Draw:
    """Each label alone; its probability is right on average."""

    def draw(rng: np.random.Generator, count: int) -> Drawn:
        rates = np.array(prevalence)
        targets = rng.random((count, len(rates))) < rates
        scores = rng.normal(size=targets.shape) + apart * targets
        logits = apart * scores - apart**2 / 2 + np.log(rates / (1 - rates))
        return targets.astype(np.float32), 1 / (1 + np.exp(-logits))

    return draw


def regressor(target: Callable[[np.random.Generator, int], np.ndarray], error: Callable[..., np.ndarray]) -> Draw:
    """Targets, and outputs that miss them by an error."""

    def draw(rng: np.random.Generator, count: int) -> Drawn:
        targets = target(rng, count)
        return targets[:, None], (targets + error(rng, targets))[:, None]

    return draw


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    """Targets of mean 0 and variance 1."""
    return rng.normal(size=count)


CASES: dict[str, tuple[str, Draw]] = {
    "2 classes": ("single-label", classifier([1, 1], [1.5, 1.5], 1.0)),
    "5 classes": ("single-label", classifier([1] * 5, [2.0, 2.5, 1.5, 3.0, 2.0], 1.5)),
    "5 classes, easy": ("single-label", classifier([1] * 5, [4.0] * 5, 1.0)),
    "10 classes, too sure": ("single-label", classifier([1] * 10, list(np.linspace(1, 4, 10)), 3.0)),
    "10 classes, 1 : 1/2 : 1/3 ...": ("single-label", classifier([1 / n for n in range(1, 11)], [2.5] * 10, 1.0)),
    "95 % and 5 %": ("single-label", classifier([95, 5], [2.5, 1.0], 1.0)),
    "90 %, 8 %, 2 %": ("single-label", classifier([90, 8, 2], [2.5, 1.5, 1.0], 1.5)),
    "3 labels of 30 %": ("multi-label", tagger([0.3] * 3, 1.5)),
    "5 labels of 10 %": ("multi-label", tagger([0.1] * 5, 2.0)),
    "4 labels, easy": ("multi-label", tagger([0.3] * 4, 3.5)),
    "normal errors": ("regression", regressor(normal, lambda rng, t: 0.45 * rng.normal(size=t.shape))),
    "little explained": ("regression", regressor(normal, lambda rng, t: 0.9 * rng.normal(size=t.shape))),
    "heavy-tailed errors (t, 5)": (
        "regression",
        regressor(normal, lambda rng, t: 0.35 * rng.standard_t(5, size=t.shape)),
    ),
    "skew targets": (
        "regression",
        regressor(lambda rng, n: np.exp(0.6 * rng.normal(size=n)), lambda rng, t: 0.25 * t * rng.normal(size=t.shape)),
    ),
}


def truths(task: str, draw: Draw) -> dict[str, float]:
    """The scores of a very large test set."""
    targets, outputs = draw(np.random.default_rng(1), LARGE)
    if task == "single-label":
        right = outputs.argmax(axis=1) == targets
        return {
            "accuracy": float(right.mean()),
            "balanced accuracy": float(np.mean([right[targets == c].mean() for c in np.unique(targets)])),
            "macro F1": macro_f1(targets, outputs.argmax(axis=1), outputs.shape[1])[0],
            "AUROC": area_under_curve(targets, outputs)[0],
            "log loss": float(-np.log(outputs[np.arange(LARGE), targets].clip(1e-12)).mean()),
        }
    if task == "multi-label":
        on, said = targets > 0.5, outputs > 0.5
        return {
            "mean average precision": float(average_precisions(on, outputs, np.ones((1, LARGE)))[0]),
            "micro F1": float(2 * (on & said).sum() / (on.sum() + said.sum())),
            "exact match": float((on == said).all(axis=1).mean()),
        }
    errors = targets - outputs
    return {
        "R2": explained_share(targets, outputs),
        "mean absolute error": float(np.abs(errors).mean()),
        "root mean squared error": float(np.sqrt((errors**2).mean())),
    }


def coverage(task: Any, draw: Draw, size: int, repeats: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Of each score: the part of the intervals that hold the truth, their mean width, the part that carries a warning.

    A score that a test set does not define, and an interval that is not known, are left out and counted as ``unknown``.
    """
    truth, rng = truths(task, draw), np.random.default_rng(seed)
    found: dict[str, list[tuple[bool, float, bool]]] = {name: [] for name in truth}
    for _ in range(repeats):
        targets, outputs = draw(rng, size)
        names = [str(n) for n in range(outputs.shape[1])]
        result = evaluate(task, names, targets, outputs, [""] * size, np.arange(size), resamples=400)
        for score in result.scores:
            if score.name in truth and math.isfinite(score.low):
                held = score.low <= truth[score.name] <= score.high
                found[score.name].append((held, score.high - score.low, bool(score.note)))
    return {
        name: {
            "held": float(np.mean([held for held, _, _ in rows])) if rows else math.nan,
            "width": float(np.mean([width for _, width, _ in rows])) if rows else math.nan,
            "noted": float(np.mean([noted for _, _, noted in rows])) if rows else math.nan,
            "unknown": 1 - len(rows) / repeats,
        }
        for name, rows in found.items()
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--repeats", type=int, default=1000)
    options = arguments.parse_args()
    begin, rows = time.process_time(), []
    for case, (task, draw) in CASES.items():
        repeats = options.repeats if task == "single-label" else round(SLOW * options.repeats)
        for size in SIZES:
            found = coverage(task, draw, size, repeats)
            rows.append({"case": case, "task": task, "items": size, "repeats": repeats, "scores": found})
            print(case, size, {name: round(100 * s["held"], 1) for name, s in found.items()}, flush=True)
    save("coverage", {"rows": rows, "cpu_s": time.process_time() - begin})


if __name__ == "__main__":
    main()
