"""Two tasks learnt together against the one alone, where one of them has few labels.

    python benchmarks/multitask.py [--data ../shared/data] [--seeds 5]

The task of interest has five labels a class; the other has up to a hundred. Items have the label of one task only. Alone and
together take the same number of steps from the same pretrained weights, every block trained; together with uncertainty weights and
with a plain sum, items drawn each as often as another, and with a plain sum of as many items of the one task as of the other.
Pictures: digits of USPS beside digits of MNIST, the embedded model's picture tower. Texts: opinions on products (CR) beside
opinions on films (MR), all-MiniLM-L6-v2. Accuracy is that of the task of interest, on 400 of its test items. What is in the results
is kept, so a run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from modelgraft_adapters import FineTuner
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
from quality import DATA, minilm

STEPS, TESTED = 60, 400
PAIRS = (("usps", "mnist"), ("cr", "mr"))
WAYS: dict[str, dict[str, Any]] = {
    "alone": {},
    "together, uncertainty": {"weights": "uncertainty"},
    "together, sum": {"weights": None},
    "together, equal sampling": {"weights": None, "sampling": "equal"},
}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--seeds", type=int, default=5)
    options = arguments.parse_args()
    path = RESULTS / "multitask.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for main_name, other_name in PAIRS:
        kept = done.setdefault("pairs", {}).setdefault(f"{main_name} + {other_name}", {})
        text = main_name == "cr"
        model, rate = (minilm(), 5e-5) if text else ("embedded/sprig", 3e-4)
        data, other = (read(options.data, name) for name in (main_name, other_name))
        test = data.part("test")
        test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[:TESTED]))
        for seed in range(options.seeds):
            few, many = few_shot(data.part("train"), 5, seed), few_shot(other.part("train"), 100, seed)
            for way, settings in WAYS.items():
                runs = kept.setdefault(way, {})
                if str(seed) in runs:
                    continue
                how = {"steps": STEPS, "lr": rate, "seed": seed}
                if way == "alone":
                    runs[str(seed)] = FineTuner(model, "full", **how).fit(few).score(test)
                else:
                    runs[str(seed)] = together(MultiTaskTuner(model, "full", **settings, **how), few, many, test)
                done["machine"] = machine()
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(done, indent=1) + "\n")
                print(main_name, other_name, way, seed, runs[str(seed)], flush=True)


def read(folder: Path, name: str) -> Dataset:
    """A set of its own file, or one of the three that are in one table."""
    if name not in ("cr", "mr"):
        return read_data(folder / f"{name}.tar")
    with (folder / "mr_cr_subj.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == name]
    texts, labels, split = ([row[key] for row in rows] for key in ("text", "label", "split"))
    return replace(read_data(texts, labels, modality="text"), split=np.array(split))


def together(tuner: MultiTaskTuner, few: Dataset, many: Dataset, test: Dataset) -> float:
    items = [*few.items, *many.items]
    names = [few.classes[n] for n in few.targets], [many.classes[n] for n in many.targets]
    labels = {"main": [*names[0], *[None] * len(many)], "other": [*[None] * len(few), *names[1]]}
    return tuner.fit(items, labels).adapters_["main"].score(test)


if __name__ == "__main__":
    main()
