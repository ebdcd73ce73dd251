"""Whether the linear probe's certificate holds: its claim beside a float64 reference, on features that are hard on solvers.

    python benchmarks/certificate.py

The reference begins at the probe's own model and at nothing, takes Newton's steps on the given features in float64 while they lower
the objective (summed in the longest float there is), and is the lower of the two. The gap is the objective of the kept model less
that; a claim holds where the gap is not above it, but for the rounding of the objective itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from measure import save
from modelgraft.learning import Examples
from modelgraft_heads.linear import LinearHead

STRENGTHS = (1e-2, 1.0, 1e3)
ROUNDING = 1e-12
"""Of an objective in nats, summed in any order."""
Features = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def blobs(
    count: int = 300, width: int = 12, apart: float = 1.0, shares: tuple[float, ...] = (1, 1, 1), tails: int = 0
) -> Features:
    """Classes around centres; noise is normal, or Student's with ``tails`` degrees of freedom."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        targets = rng.choice(len(shares), count, p=np.array(shares) / sum(shares))
        targets[: len(shares)] = np.arange(len(shares))
        noise = rng.standard_t(tails, (count, width)) if tails else rng.normal(size=(count, width))
        return noise + apart * rng.normal(size=(len(shares), width))[targets], targets

    return draw


def changed(draw: Features, how: Callable[[np.ndarray], np.ndarray]) -> Features:
    """The features made hard."""

    def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        features, targets = draw(rng)
        return how(features), targets

    return drawn


def giant(size: float) -> Callable[[np.ndarray], np.ndarray]:
    """One row of outliers."""
    return lambda x: np.concatenate([x[:1] * size, x[1:]])


CASES: dict[str, Features] = {
    "plain": blobs(),
    "offset 1e2": changed(blobs(), lambda x: x + 1e2),
    "offset 1e4": changed(blobs(), lambda x: x + 1e4),
    "offset 1e6": changed(blobs(), lambda x: x + 1e6),
    "one row of outliers, 1e3": changed(blobs(), giant(1e3)),
    "one row of outliers, 1e6": changed(blobs(), giant(1e6)),
    "one row of outliers, 1e9": changed(blobs(), giant(1e9)),
    "outliers 1e6, offset 1e4": changed(blobs(), lambda x: giant(1e6)(x) + 1e4),
    "scales 1e-3 to 1e3": changed(blobs(), lambda x: x * np.logspace(-3, 3, x.shape[1])),
    "all times 1e-6": changed(blobs(), lambda x: 1e-6 * x),
    "all times 1e6": changed(blobs(), lambda x: 1e6 * x),
    "columns twice": changed(blobs(), lambda x: np.concatenate([x, x], axis=1)),
    "columns nearly twice": changed(blobs(), lambda x: np.concatenate([x, x * (1 + 1e-5)], axis=1)),
    "constant columns": changed(blobs(), lambda x: np.concatenate([x, np.full_like(x, 7.0)], axis=1)),
    "rows twice": changed(blobs(), lambda x: np.concatenate([x[:150], x[:150]])),
    "separable": blobs(apart=6.0),
    "two classes": blobs(shares=(1, 1)),
    "more columns than rows": blobs(count=25, width=40),
    "imbalanced, 98 : 1 : 1": blobs(shares=(98, 1, 1)),
    "heavy tails (t, 2)": blobs(tails=2),
    "heavy tails (Cauchy)": blobs(tails=1),
    "ten classes": blobs(width=8, shares=(1,) * 10),
}


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, penalty: float) -> float:
    """Of a model (C, D), (C,) for centred features, in the longest float."""
    logits = x.astype(np.longdouble) @ weight.T.astype(np.longdouble) + bias.astype(np.longdouble)
    top = logits.max(axis=1)
    losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return losses.mean() + penalty / 2 * (weight.astype(np.longdouble) ** 2).sum()


def newton(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, penalty: float, steps: int = 60
) -> float:
    """The lowest objective that Newton's steps get to, each halved until it lowers it."""
    count, width = x.shape
    classes = len(weight)
    wide = np.concatenate([x, np.ones((count, 1))], axis=1)
    size = np.sqrt((wide**2).mean(axis=0) + 1e-300)  # of the columns: the equations are solved in units of it
    point = np.concatenate([weight, bias[:, None]], axis=1)
    ridge = np.append(np.full(width, penalty), 0.0)
    best = objective(x, y, weight, bias, penalty)
    for _ in range(steps):
        logits = wide @ point.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = (p - np.eye(classes)[y]).T @ wide / count + ridge * point
        scaled = wide / size
        curved = np.einsum("nc,nd->ncd", p, -p) + np.eye(classes) * p[:, None]
        hessian = np.einsum("ncd,ni,nj->cidj", curved, scaled, scaled, optimize=True) / count
        hessian = hessian.reshape(classes * (width + 1), -1)
        hessian += np.diag(np.tile(ridge / size**2, classes))
        step = np.linalg.lstsq(hessian, (gradient / size).ravel(), rcond=1e-15)[0].reshape(point.shape) / size
        for halving in range(40):
            there = point - step * 0.5**halving
            now = objective(x, y, there[:, :-1], there[:, -1], penalty)
            if now < best:
                point, best = there, now
                break
        else:
            break
    return best


def measured(draw: Features, C: float, seed: int = 0) -> dict[str, float | bool]:
    """What the probe claims of its model, and the gap that the reference finds."""
    features, targets = draw(np.random.default_rng(seed))
    given = torch.tensor(features, dtype=torch.float32)
    classes = int(targets.max()) + 1
    examples = Examples(
        given, torch.tensor(targets), "single-label", tuple(map(str, range(classes))), torch.arange(len(given)) % 5
    )
    begin = time.perf_counter()
    head = LinearHead.fit(examples, C=C)
    seconds = time.perf_counter() - begin
    exact = given.double().numpy()
    mean = exact.mean(axis=0)
    x = exact - mean
    penalty = (2.0 if classes == 2 else 1.0) / (C * len(x))
    weight = head.weight.double().numpy()
    bias = head.bias.double().numpy() + weight @ mean
    found = objective(x, targets, weight, bias, penalty)
    nothing = np.zeros_like(weight)
    best = min(newton(x, targets, weight, bias, penalty), newton(x, targets, nothing, np.zeros(classes), penalty))
    report = head.report()
    claim = report["certificate"] if report["certificate"] is not None else float("inf")
    gap = float(found - best)
    return {
        "C": C,
        "claim": claim,
        "gap": gap,
        "converged": report["converged"],
        "holds": gap <= claim + ROUNDING * max(1.0, float(found)),
        "seconds": seconds,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seeds", type=int, default=3)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    begin, rows = time.process_time(), []
    for case, draw in CASES.items():
        for C in STRENGTHS:
            found = [measured(draw, C, seed) for seed in range(options.seeds)]
            rows.append(
                {
                    "case": case,
                    "C": C,
                    "models": len(found),
                    "holds": sum(bool(one["holds"]) for one in found),
                    "converged": sum(bool(one["converged"]) for one in found),
                    "largest_claim": max(one["claim"] for one in found),
                    "largest_gap": max(one["gap"] for one in found),
                }
            )
            print(rows[-1], flush=True)
    save("certificate", {"rows": rows, "cpu_s": time.process_time() - begin})


if __name__ == "__main__":
    main()
