"""Two tasks learnt together against the one alone, where one of them has few labels.

    python benchmarks/multitask.py [--data ../shared/data] [--seeds 5]

The task of interest has five labels a class; the other has up to a hundred. Items have the label of one task only. Alone and
together take the same number of steps of the embedded model's picture tower from the same pretrained weights, every block trained;
together by uncertainty weights and by a plain sum. Accuracy is that of the task of interest, on 400 of its test items. What is in
the results is kept, so a run goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from modelgraft_adapters import FineTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
from quality import DATA

MODEL, STEPS, RATE, TESTED = "embedded/sprig", 60, 3e-4, 400
PAIRS = (("usps", "mnist"),)
WAYS = {"alone": None, "together, uncertainty": "uncertainty", "together, sum": None}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--seeds", type=int, default=5)
    options = arguments.parse_args()
    path = RESULTS / "multitask.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for main_name, other_name in PAIRS:
        kept = done.setdefault("pairs", {}).setdefault(f"{main_name} + {other_name}", {})
        data, other = (read_data(options.data / f"{name}.tar") for name in (main_name, other_name))
        test = data.part("test")
        test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[:TESTED]))
        for seed in range(options.seeds):
            few, many = few_shot(data.part("train"), 5, seed), few_shot(other.part("train"), 100, seed)
            for way, weights in WAYS.items():
                runs = kept.setdefault(way, {})
                if str(seed) in runs:
                    continue
                runs[str(seed)] = alone(few, test, seed) if way == "alone" else together(few, many, test, seed, weights)
                done["machine"] = machine()
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(done, indent=1) + "\n")
                print(main_name, other_name, way, seed, runs[str(seed)], flush=True)


def alone(few: Dataset, test: Dataset, seed: int) -> float:
    return FineTuner(MODEL, "full", steps=STEPS, lr=RATE, seed=seed).fit(few).score(test)


def together(few: Dataset, many: Dataset, test: Dataset, seed: int, weights: Any) -> float:
    items = [*few.items, *many.items]
    names = [few.classes[n] for n in few.targets], [many.classes[n] for n in many.targets]
    labels = {"main": [*names[0], *[None] * len(many)], "other": [*[None] * len(few), *names[1]]}
    tuner = MultiTaskTuner(MODEL, "full", weights=weights, steps=STEPS, lr=RATE, seed=seed).fit(items, labels)
    return tuner.adapters_["main"].score(test)


if __name__ == "__main__":
    main()
