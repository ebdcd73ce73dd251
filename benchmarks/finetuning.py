"""Fine-tuning against training from scratch, at 4, 16 and 64 labels a class; LP-FT against full fine-tuning out of domain; WiSE-FT.

    python benchmarks/finetuning.py [--data ../shared/data] [--only shots domains] [--draws 3] [--seeds 5]

shots: each set with a model that was not trained on it: real ImageNet weights of MobileNetV2 (at 96 pixels), the real
all-MiniLM-L6-v2, and the embedded model's image tower. From scratch is the same architecture from random weights, with the
same data, augmentation and loop and twice the steps. Banking77 has at most 25 labels a class.

domains: trained on one domain (PACS photographs; MNIST) and tested on its test part and on others (art, cartoons, sketches;
MNIST-M); the curve between the model that training began from (the exact probe) and the tuned one comes from the same runs.

Every score is on test parts (of shots 400 items of them, of Fashion-MNIST all 1,000), which choose nothing. What is in the results
is kept, so a run goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from modelgraft_adapters import FineTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.finetuning.weight_averaging import wise_curve
from quality import DATA, load_set, minilm, mobilenet_folder

SIDE, SHOTS, STEPS = 96, (4, 16, 64), 40
TESTED = {"fashion_mnist": 1000}
"""Test items, where they are not 400 at most: a small model has read all in seconds."""
SETS = {
    "cifar10": ("mobilenet", {"lr": 3e-4}),
    "fashion_mnist": ("embedded", {"lr": 3e-4}),
    "trec": ("minilm", {"lr": 5e-5}),
    "banking77": ("minilm", {"lr": 5e-5}),
}
DOMAINS = {"pacs": "mobilenet", "mnist": "embedded"}
WISE = tuple(n / 10 for n in range(11))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--only", nargs="*", default=["shots", "domains"])
    arguments.add_argument("--sets", nargs="*", default=[*SETS, *DOMAINS])
    arguments.add_argument("--draws", type=int, default=3, help="of the labels, in shots")
    arguments.add_argument("--seeds", type=int, default=5, help="of domains")
    options = arguments.parse_args()
    path = RESULTS / "finetuning.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "mobilenet": small_mobilenet(options.data, Path(folder)),
            "minilm": minilm(),
            "embedded": "embedded/sprig",
        }
        for part in options.only:
            kept = done.setdefault(part, {})
            for key, found in (shots if part == "shots" else domains)(options, models, kept):
                kept[key] = found
                done["machine"] = machine()
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(done, indent=1) + "\n")
                print(key, {k: v for k, v in found.items() if k != "curve"}, flush=True)


def shots(options: argparse.Namespace, models: dict[str, str], kept: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(run, accuracy): pretrained and from scratch, over draws of the labels."""
    for name, (kind, settings) in SETS.items():
        if name not in options.sets:
            continue
        data = load_set(options.data, name)
        test = data.part("test")
        test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[: TESTED.get(name, 400)]))
        for count in SHOTS:
            for seed in range(options.draws):
                few = few_shot(data.part("train"), count, seed)
                for strategy in ("lp-ft", "scratch"):
                    key = f"{name} {kind} {strategy} {count} {seed}"
                    if key in kept:
                        continue
                    own = settings if strategy == "lp-ft" else {}
                    steps = STEPS if strategy == "lp-ft" else 2 * STEPS
                    started = time.perf_counter()
                    tuner = FineTuner(models[kind], strategy, seed=seed, steps=steps, **own).fit(few)
                    spent = time.perf_counter() - started
                    yield key, {"accuracy": tuner.score(test), "items": len(few), "seconds": round(spent, 2)}


def domains(options: argparse.Namespace, models: dict[str, str], kept: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(run, accuracies inside and outside the domain, and along WiSE-FT's line)."""
    for name, kind in DOMAINS.items():
        if name not in options.sets:
            continue
        train, inside, outside = pacs(options.data) if name == "pacs" else digits(options.data)
        for seed in range(options.seeds):
            few = few_shot(train, 16, seed)
            for strategy in ("lp-ft", "full"):
                key = f"{name} {kind} {strategy} {seed}"
                if key in kept:
                    continue
                tuner = FineTuner(models[kind], strategy, seed=seed, steps=STEPS, lr=3e-4).fit(few)
                found = {"inside": tuner.score(inside), "outside": tuner.score(outside), "items": len(few)}
                if strategy == "lp-ft":
                    points = wise_curve(tuner, [inside, outside], WISE)
                    found["curve"] = [[p.alpha, *(e.score.value for e in p.evaluations)] for p in points]
                yield key, found


def pacs(folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """Photographs to train on, their test part, and the test parts of art, cartoons and sketches."""
    whole = read_data(folder / "pacs.tar", class_level=2)
    photo = np.array(["/photo/" in name for name in whole.identities])
    test = whole.split == "test"
    return replace(whole.take(~test & photo), split=None), whole.take(test & photo), whole.take(test & ~photo)


def digits(folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """MNIST to train on, its test part, and that of MNIST-M."""
    mnist, other = read_data(folder / "mnist.tar"), read_data(folder / "mnist_m.tar")
    return mnist.part("train"), mnist.part("test"), other.part("test")


def small_mobilenet(data: Path, folder: Path) -> str:
    """The ImageNet weights, reading images of 96 pixels: a step of a second on two cores."""
    mobilenet_folder(data, folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, SIDE, SIDE]
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


if __name__ == "__main__":
    main()
