"""24 values of C x 5 folds on real embeddings: the batched solve against scikit-learn's LogisticRegression, fold by fold.

    python benchmarks/probe_sweep.py [--data ../shared/data] [--items 4000]

"At equal objective": every one of scikit-learn's 120 fits is taken on at a falling tolerance until its objective is no more than
1e-6 (relative) above the batched solve's, and no further. It starts each fit from the solution of the C before, as its
LogisticRegressionCV does, and each tolerance from the last one's solution: only its own fitting is timed. Embeddings are of real
photographs (CIFAR-10) by ImageNet MobileNetV2: 1,280 numbers each. Both get the same threads, one after the other in one process.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import save
from modelgraft.learning import Examples
from modelgraft_adapters.media.images import FORMATS
from modelgraft_heads.design import Design
from modelgraft_heads.linear import STRENGTHS, Sweep
from PIL import Image
from sklearn.linear_model import LogisticRegression

TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # the first is scikit-learn's default
EQUAL = 1e-6  # of the objective, relative
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--items", type=int, default=4000)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    features, targets = embeddings(options.data, options.items)
    folds = np.arange(len(features)) % 5
    examples = Examples(
        torch.from_numpy(features),
        torch.from_numpy(targets),
        "single-label",
        tuple(str(n) for n in range(10)),
        torch.from_numpy(folds),
    )
    start = time.perf_counter()
    curve = Sweep(Design.of(examples.features), examples).curve(list(STRENGTHS), list(range(5)))
    ours = time.perf_counter() - start
    print({"batched_s": ours}, flush=True)
    reached = objectives_of_sweep(examples, folds, features)
    fits, accuracy = scikit_learn(features, targets, folds, reached)
    theirs = sum(fit["seconds"] for fit in fits)
    at_default = sum(fit["seconds_at_default"] for fit in fits)
    save(
        "probe_sweep",
        {
            "items": len(features),
            "numbers": features.shape[1],
            "classes": 10,
            "fits": len(fits),
            "threads": options.threads,
            "batched_s": ours,
            "scikit_learn_s": theirs,
            "ratio": theirs / ours,
            "fits_at_equal_objective": sum(fit["objective_above_ours"] <= EQUAL for fit in fits),
            "largest_objective_above_ours": max(fit["objective_above_ours"] for fit in fits),
            "scikit_learn_at_default_s": at_default,
            "ratio_at_default": at_default / ours,
            "objective_above_ours_at_default": {
                "median": float(np.median([fit["above_at_default"] for fit in fits])),
                "largest": max(fit["above_at_default"] for fit in fits),
            },
            "best_accuracy": max(point["score"] for point in curve),
            "best_accuracy_scikit_learn": max(accuracy),
        },
    )


def objectives_of_sweep(examples: Examples, folds: np.ndarray, features: np.ndarray) -> list[float]:
    """The objective of every problem as the sweep leaves it, evaluated in float64 on the features themselves."""
    design = Design.of(examples.features)
    inside = torch.stack([torch.from_numpy(folds != fold) for fold in range(5)])
    solutions = [solution for _, solution in Sweep(design, examples).path(list(STRENGTHS), inside, None)]
    weights, biases = torch.cat([s.weight for s in solutions]), torch.cat([s.bias for s in solutions])
    found = []
    for k in range(len(STRENGTHS) * 5):
        weight, bias = design.unrotate(weights[k], biases[k])
        held = folds != k % 5
        targets = examples.targets.numpy()[held]
        found.append(objective(features[held], targets, weight.numpy(), bias.numpy(), STRENGTHS[k // 5]))
    return found


def objective(features: np.ndarray, targets: np.ndarray, weight: np.ndarray, bias: np.ndarray, C: float) -> float:
    logits = features.astype(np.float64) @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]
    return float(losses.mean() + (weight**2).sum() / (2 * C * len(targets)))


def scikit_learn(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, reached: list[float]
) -> tuple[list[dict[str, float]], list[float]]:
    """(every fit, accuracy of every C over all folds)."""
    exact = features.astype(np.float64)
    hits = np.zeros(len(STRENGTHS))
    fits = []
    for fold in range(5):
        held = folds != fold
        train, labels = exact[held], targets[held]
        model = LogisticRegression(warm_start=True, max_iter=100_000)
        for number, C in enumerate(STRENGTHS):
            fit = {"fold": fold, "C": C, "seconds": 0.0}
            for tolerance in TOLERANCES:
                start = time.perf_counter()
                model.set_params(C=C, tol=tolerance).fit(train, labels)
                fit["seconds"] += time.perf_counter() - start
                found = objective(features[held], labels, model.coef_, model.intercept_, C)
                fit["objective_above_ours"] = found / reached[number * 5 + fold] - 1
                if tolerance == TOLERANCES[0]:
                    fit["seconds_at_default"] = fit["seconds"]
                    fit["above_at_default"] = fit["objective_above_ours"]
                if fit["objective_above_ours"] <= EQUAL:
                    break
            fit["tolerance"] = tolerance
            fits.append(fit)
            print(fit, flush=True)
            hits[number] += (model.predict(exact[~held]) == targets[~held]).sum()
    return fits, list(hits / len(targets))


def embeddings(data: Path, items: int) -> tuple[np.ndarray, np.ndarray]:
    """(items, 1280) float32 and (items,) int64, the classes in equal parts."""
    import timm
    from safetensors.torch import load_file

    model = timm.create_model("mobilenetv2_100").eval()
    model.load_state_dict(load_file(data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors"))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
    counts: dict[str, int] = {}
    names, rows, batch = [], [], []
    with tarfile.open(data / "cifar10_train_full.tar.gz") as tar, torch.inference_mode():
        for member in tar:
            name = member.name.split("/")[1] if member.isfile() else ""
            if not name or counts.get(name, 0) >= items // 10:
                continue
            counts[name] = counts.get(name, 0) + 1
            names.append(name)
            file = io.BytesIO(tar.extractfile(member).read())
            batch.append(transform(Image.open(file, formats=FORMATS).convert("RGB")))
            if len(batch) == 32 or sum(counts.values()) == items:
                rows.append(model.forward_head(model.forward_features(torch.stack(batch)), pre_logits=True))
                batch = []
    if batch:
        raise SystemExit("fewer images than asked for")
    order = np.random.default_rng(0).permutation(len(names))
    classes = sorted(counts)
    return torch.cat(rows).numpy()[order], np.array([classes.index(name) for name in names], np.int64)[order]


if __name__ == "__main__":
    main()
