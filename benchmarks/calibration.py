"""What calibrating is worth on real data: log loss, calibration error, and how often sets of classes hold the true one.

    python benchmarks/calibration.py [--draws 20] [--data ../shared/data]

Items of train and test are put together and embedded once; each draw trains on 600 of them, or two fifths (on 20 of a class
where there are many), calibrates (the probe by the folds of those, and on 300 others; zero-shot and a fine-tuned adapter on
300), and is measured on all that are left. The coverage of sets has the standard error over the draws.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import save
from modelgraft_adapters import FeatureExtractor, FineTuner, FrozenAdapter, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.calibrating import calibrate_by_folds
from modelgraft_adapters.metrics.calibration import calibrate, worth_of
from quality import DATA, load_set, minilm

SETS = {"cifar10": "image", "flowers5": "image", "pneumonia": "image", "trec": "text", "banking77": "text"}
NAMED = {"cifar10": {}, "flowers5": {}}
TRAIN, HELD = 600, 300
COVERAGES = (0.8, 0.9, 0.95)


def main() -> None:
    """Measure, and keep the raw results."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--draws", type=int, default=20)
    options = arguments.parse_args()
    found: dict[str, Any] = {}
    for name, modality in SETS.items():
        data = load_set(options.data, name)
        model = "embedded/sprig" if modality == "image" else minilm()
        features = FeatureExtractor(model, modality=modality).embed(data.items).features  # type: ignore[arg-type]
        assert data.targets is not None
        ways = {"probe, by folds": (_probe(features, data.targets, True), 0)}
        ways["probe, on 300 items"] = (_probe(features, data.targets, False), HELD)
        if name in NAMED:
            ways["zero-shot, on 300 items"] = (_by_name(features, data), HELD)
        if name == "flowers5":
            ways["fine-tuned, on 300 items"] = (_tuned(data), HELD)
        for way, (outputs, held) in ways.items():
            found[f"{name}, {way}"] = over_draws(outputs, data.targets, held, options.draws)
            print(name, way, found[f"{name}, {way}"], flush=True)
    save("calibration", {"options": {"draws": options.draws, "train": TRAIN, "held": HELD}, "rows": found})


def over_draws(outputs: Any, targets: np.ndarray, held: int, draws: int) -> dict[str, Any]:
    """Means over the draws, and of coverage the standard error by draw."""
    rows = []
    for seed in range(draws):
        calibration, probabilities, truth = outputs(np.random.default_rng(seed), held)
        worths = [worth_of(calibration, probabilities, truth, coverage) for coverage in COVERAGES]
        rows.append(
            [*worths[0].log_loss, *worths[0].calibration_error, calibration.temperature]
            + [value for one in worths for value in (one.covered, one.set_size)]
        )
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(draws)
    names = ["log_loss", "log_loss_after", "error", "error_after", "temperature"]
    out = dict(zip(names, mean[:5].tolist(), strict=True))
    for n, coverage in enumerate(COVERAGES):
        place = 5 + 2 * n
        out[str(coverage)] = {"covered": mean[place], "error": spread[place], "size": mean[place + 1]}
    return out


def _probe(features: np.ndarray, targets: np.ndarray, by_folds: bool) -> Any:
    def drawn(rng: np.random.Generator, held: int) -> Any:
        order = rng.permutation(len(targets))
        many = len(np.unique(targets)) > 20
        train = _few(order, targets, 20) if many else order[: min(TRAIN, 2 * len(order) // 5)]
        rest = np.setdiff1d(order, train, assume_unique=True)
        rest = rng.permutation(rest)
        adapter = FrozenAdapter(None, C=10.0).fit(features[train], targets[train])
        if by_folds:
            data = adapter._read(features[train], targets[train], "train")
            calibration = calibrate_by_folds(adapter, features[train], data)
        else:
            calibration = calibrate(adapter.predict_proba(features[rest[:held]]), targets[rest[:held]], "300 items")
        rest = rest[held:]
        return calibration, adapter.predict_proba(features[rest]), targets[rest]

    return drawn


def _few(order: np.ndarray, targets: np.ndarray, most: int) -> np.ndarray:
    return np.concatenate([order[targets[order] == c][:most] for c in np.unique(targets)])


def _by_name(features: np.ndarray, data: Dataset) -> Any:
    scores = ZeroShotClassifier("embedded/sprig", list(data.classes), device="cpu").scores(features)
    return _fixed(scores, data.targets, np.arange(len(scores)))


def _tuned(data: Dataset) -> Any:
    order = np.random.default_rng(0).permutation(len(data))
    whole = FineTuner("embedded/sprig", "full", steps=60, batch_size=16, device="cpu", lr=1e-3)
    whole.fit(_unsplit(data.take(order[:200])))
    left = data.take(order[200:])
    return _fixed(whole.predict_proba(left.items), left.targets, np.arange(len(left)))


def _unsplit(data: Dataset) -> Dataset:
    return replace(data, split=None)


def _fixed(probabilities: np.ndarray, targets: Any, places: np.ndarray) -> Any:
    """A classifier that does not depend on the draw: only who is calibrated on does."""

    def drawn(rng: np.random.Generator, held: int) -> Any:
        order = rng.permutation(places)
        calibration = calibrate(probabilities[order[:held]], targets[order[:held]], "300 items")
        return calibration, probabilities[order[held:]], targets[order[held:]]

    return drawn


if __name__ == "__main__":
    main()
