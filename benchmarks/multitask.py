"""Two tasks trained together against the one alone, where one of them has few labels.

    python benchmarks/multitask.py [--data ../shared/data] [--seeds 5] [--setups ...] [--ways alone ...]

The task of interest, digits of USPS, has five labels a class; the other, digits of MNIST, has a hundred. Items have the label
of one task only. Alone and together take the same number of steps of the embedded model's image tower from the same
pretrained weights, every block trained: few, of images that are cropped and mirrored, which does digits no good, and many, of
images as they are. Together, a step has 32 items, drawn each as often as another, so that few are of the task of interest
(uncertainty weights, and a plain sum); or with equal sampling 32 items of each task, as many of the task of interest as it has
alone. Accuracy is that of the task of interest, on 400 of its test items. What is in the results is kept, so a run goes on.
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

MODEL, TESTED = "embedded/sprig", 400
SETUPS: dict[str, dict[str, Any]] = {
    "few steps": {"steps": 60, "lr": 3e-4},
    "many steps": {"steps": 200, "lr": 3e-4, "augment": "none"},
}
WAYS: dict[str, dict[str, Any]] = {
    "alone": {},
    "together, uncertainty": {"weights": "uncertainty"},
    "together, sum": {"weights": None},
    "together, equal sampling": {"weights": None, "sampling": "equal", "batch_size": 64},
}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--setups", nargs="*", default=[*SETUPS], choices=[*SETUPS])
    arguments.add_argument("--ways", nargs="*", default=[*WAYS], choices=[*WAYS])
    options = arguments.parse_args()
    path = RESULTS / "multitask.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    data, other = (read_data(options.data / f"{name}.tar") for name in ("usps", "mnist"))
    test = data.part("test")
    test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[:TESTED]))
    for setup in options.setups:
        kept = done.setdefault("setups", {}).setdefault(setup, {})
        for seed in range(options.seeds):
            few, many = few_shot(data.part("train"), 5, seed), few_shot(other.part("train"), 100, seed)
            for way in options.ways:
                runs = kept.setdefault(way, {})
                if str(seed) in runs:
                    continue
                how = {**SETUPS[setup], "seed": seed}
                if way == "alone":
                    runs[str(seed)] = FineTuner(MODEL, "full", **how).fit(few).score(test)
                else:
                    runs[str(seed)] = together(MultiTaskTuner(MODEL, "full", **WAYS[way], **how), few, many, test)
                done["machine"] = machine()
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(done, indent=1) + "\n")
                print(setup, way, seed, runs[str(seed)], flush=True)


def together(tuner: MultiTaskTuner, few: Dataset, many: Dataset, test: Dataset) -> float:
    items = [*few.items, *many.items]
    names = [few.classes[n] for n in few.targets], [many.classes[n] for n in many.targets]
    labels = {"main": [*names[0], *[None] * len(many)], "other": [*[None] * len(few), *names[1]]}
    return tuner.fit(items, labels).adapters_["main"].score(test)


if __name__ == "__main__":
    main()
