"""The probe with many classes: Banking77 (77) and CLINC150 (150), of MiniLM's features. CPU seconds, accuracy, certificate, memory.

    python benchmarks/many_classes.py [--data ../shared/data] [--threads 1] [--strengths 2 10 18]

Every measurement is a process of its own with features that are there: embedding is not timed. "sweep" is 24 values of C x 5 folds;
"probe" adds the chosen model, solved to its certificate; "with curve" is the probe and the learning curve of a report (1 to 16
labels a class, three seeds each). scikit-learn's `LogisticRegression` does a subset of the fits: one fold at a few values of C,
each from the last one's solution and at a falling tolerance until its objective is within 1e-6 (relative) of ours. Its time for
all 120 is extrapolated: the mean of the subset times 120.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import PYTHON, save
from modelgraft.learning import Examples
from modelgraft_adapters import FeatureExtractor, FrozenAdapter
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.costs import own_peak_mib
from modelgraft_adapters.runs.learning_curve import learning_curve
from modelgraft_heads.design import Design
from modelgraft_heads.linear import STRENGTHS, LinearHead, Sweep
from probe_sweep import EQUAL, TOLERANCES, objective
from quality import minilm
from sklearn.linear_model import LogisticRegression

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("banking77", "clinc150")
KINDS = ("sweep", "probe", "with curve")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument(
        "--strengths", type=int, nargs="*", default=[2, 6, 10, 14, 18, 22], help="places of C for scikit-learn"
    )
    arguments.add_argument("--features", type=Path, help="where features are, or are to be kept")
    arguments.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        name, kind = options.part
        print(json.dumps(measured(options, name, kind)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.features = options.features or Path(folder)
        found = {name: of_set(options, name) for name in SETS}
    save("many_classes", {"threads": options.threads, "sets": found})


def of_set(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """All measurements of a set, each in a process of its own."""
    data = load(options, name)
    features(options.features, name, data)
    figures: dict[str, Any] = {"classes": len(data.classes), "train": len(data.train), "test": len(data.test)}
    for kind in (*KINDS, "scikit-learn"):
        command = [PYTHON, __file__, "--part", name, kind, "--threads", str(options.threads)]
        command += ["--data", str(options.data), "--features", str(options.features)]
        command += ["--strengths", *map(str, options.strengths)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
        figures[kind] = json.loads(done.stdout.splitlines()[-1])
        print(name, kind, figures[kind], file=sys.stderr, flush=True)
    return figures


def load(options: argparse.Namespace, name: str) -> Dataset:
    """The set without items out of scope, which CLINC150 has in its test part alone: no class to train."""
    path = options.features / f"{name}.csv"
    if not path.exists():
        with (options.data / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row[1] != "oos"]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return read_data(path, item_column="text", label_column="label")


def features(folder: Path, name: str, data: Dataset) -> None:
    """MiniLM's, written as arrays below ``folder``, if they are not there."""
    for split, part in (("train", data.train), ("test", data.test)):
        path = folder / f"{name}-{split}.npy"
        if not path.exists():
            np.save(path, FeatureExtractor(minilm(), modality="text", store=False).embed(part.items).features)


def measured(options: argparse.Namespace, name: str, kind: str) -> dict[str, Any]:
    """One measurement, in this process."""
    data = load(options, name)
    rows = np.load(options.features / f"{name}-train.npy")
    train = data.train
    examples = Examples(
        torch.from_numpy(rows),
        torch.from_numpy(train.targets),
        "single-label",
        tuple(map(str, data.classes)),
        torch.from_numpy(folds(train.targets, "single-label")),
    )
    if kind == "scikit-learn":
        return scikit_learn(examples, rows, options.strengths)
    imported = own_peak_mib()
    begin = time.process_time()
    if kind == "sweep":
        curve = Sweep(Design.of(examples.features), examples).curve(list(STRENGTHS), list(range(5)))
        result = {"best_accuracy": max(point["score"] for point in curve), "curve": curve}
    elif kind == "probe":
        report = LinearHead.fit(examples).report()
        result = {name: report[name] for name in ("chosen", "certificate", "objective", "converged")}
        result["certificate_relative"] = report["certificate"] / report["objective"]
        result["accuracy_of_chosen"] = max(point["score"] for point in report["curve"])
    else:
        result = with_curve(data, rows, np.load(options.features / f"{name}-test.npy"))
    return {
        "cpu_s": time.process_time() - begin,
        **result,
        "peak_mib": own_peak_mib(),
        "peak_mib_before": imported,
    }


def with_curve(data: Dataset, rows: np.ndarray, tested: np.ndarray) -> dict[str, Any]:
    """The probe, its test and the learning curve of a report."""
    adapter = FrozenAdapter(minilm(), modality="text", seed=0)
    adapter.fit_features(rows, data.train)
    whole = adapter.evaluate_features(Embedded(tested, (None,) * len(tested), (), 0, {}), data.test)
    points = learning_curve(adapter, data.train, rows, data.test, tested, whole=whole)
    return {"points": [{"shots": p.shots, "items": p.items, "mean": p.mean, "scores": p.scores} for p in points]}


def scikit_learn(examples: Examples, rows: np.ndarray, places: list[int]) -> dict[str, Any]:
    """One fold at a few strengths, each to the objective that the sweep reaches."""
    design = Design.of(examples.features)
    inside = torch.stack([examples.folds != fold for fold in range(5)])
    held = inside[0].numpy()
    targets = examples.targets.numpy()[held]
    reached = {}
    for where, solution in Sweep(design, examples).path(list(STRENGTHS), inside, None):
        for n in range(where.start, where.stop):
            weight, bias = design.unrotate(solution.weight[5 * (n - where.start)], solution.bias[5 * (n - where.start)])
            reached[n] = objective(rows[held], targets, weight.numpy(), bias.numpy(), STRENGTHS[n])
    model = LogisticRegression(warm_start=True, max_iter=100_000)
    fits = []
    for n in places:
        seconds, above = 0.0, np.inf
        for tolerance in TOLERANCES:
            begin = time.process_time()
            model.set_params(C=STRENGTHS[n], tol=tolerance).fit(rows[held].astype(np.float64), targets)
            seconds += time.process_time() - begin
            above = objective(rows[held], targets, model.coef_, model.intercept_, STRENGTHS[n]) / reached[n] - 1
            if above <= EQUAL:
                break
        fits.append({"C": STRENGTHS[n], "cpu_s": seconds, "objective_above_ours": above, "tolerance": tolerance})
    return {"fits": fits, "extrapolated_cpu_s": float(np.mean([fit["cpu_s"] for fit in fits])) * 5 * len(STRENGTHS)}


if __name__ == "__main__":
    main()
