"""24 values of C x 5 folds on real embeddings: the batched solve against scikit-learn's LogisticRegression, fold by fold.

    python benchmarks/probe_sweep.py [--data ../shared/data] [--items 4000]

"At equal objective": scikit-learn is run at a falling tolerance until the mean of its objectives over all 120 fits is no more than
1e-6 (relative) above the batched solve's; the time of that run counts. Embeddings are of real photographs (CIFAR-10) by
ImageNet MobileNetV2: 1,280 numbers each. Both get the same threads, one after the other in one process.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import save
from modelgraft.learning import Examples
from modelgraft_heads.design import Design
from modelgraft_heads.linear import SELECTION, STRENGTHS, Sweep
from PIL import Image
from sklearn.linear_model import LogisticRegression

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
    tried = []
    for tolerance in (1e-4, 1e-5, 1e-6, 1e-7):
        start = time.perf_counter()
        accuracy, objectives = scikit_learn(features, targets, folds, tolerance)
        seconds = time.perf_counter() - start
        excess = float(np.mean(objectives) / np.mean(reached) - 1)
        tried.append({"tolerance": tolerance, "seconds": seconds, "objective_above_ours": excess})
        print(tried[-1], flush=True)
        if excess <= 1e-6:
            break
    save(
        "probe_sweep",
        {
            "items": len(features),
            "numbers": features.shape[1],
            "classes": 10,
            "fits": len(STRENGTHS) * 5,
            "threads": options.threads,
            "batched_s": ours,
            "scikit_learn": tried,
            "equal_objective": tried[-1]["objective_above_ours"] <= 1e-6,
            "ratio": tried[-1]["seconds"] / ours,
            "ratio_at_scikit_learns_default": tried[0]["seconds"] / ours,
            "best_accuracy": max(point["score"] for point in curve),
            "best_accuracy_scikit_learn": max(accuracy),
        },
    )


def objectives_of_sweep(examples: Examples, folds: np.ndarray, features: np.ndarray) -> list[float]:
    """The objective of every problem as the sweep leaves it, evaluated in float64 on the features themselves."""
    design = Design.of(examples.features)
    inside = torch.stack([torch.from_numpy(folds != fold) for fold in range(5)])
    solution = Sweep(design, examples)._solve(design, list(STRENGTHS), inside, SELECTION, None)
    found = []
    for k in range(len(STRENGTHS) * 5):
        weight, bias = design.unrotate(solution.weight[k], solution.bias[k])
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
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, tolerance: float
) -> tuple[list[float], list[float]]:
    """(accuracy of every C over all folds, objective of every fit)."""
    exact = features.astype(np.float64)
    accuracy, objectives = [], []
    for C in STRENGTHS:
        hits = 0
        for fold in range(5):
            held = folds != fold
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = LogisticRegression(C=C, tol=tolerance, max_iter=20_000).fit(exact[held], targets[held])
            objectives.append(objective(features[held], targets[held], model.coef_, model.intercept_, C))
            hits += int((model.predict(exact[~held]) == targets[~held]).sum())
        accuracy.append(hits / len(targets))
    return accuracy, objectives


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
            batch.append(transform(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))
            if len(batch) == 32 or sum(counts.values()) == items:
                rows.append(model.forward_head(model.forward_features(torch.stack(batch)), pre_logits=True))
                batch = []
    if batch:
        raise SystemExit("fewer pictures than asked for")
    order = np.random.default_rng(0).permutation(len(names))
    classes = sorted(counts)
    return torch.cat(rows).numpy()[order], np.array([classes.index(name) for name in names], np.int64)[order]


if __name__ == "__main__":
    main()
