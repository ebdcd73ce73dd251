"""Two tasks learnt together against the one alone, where one of them has few labels.

    python benchmarks/multitask.py [--data ../shared/data] [--seeds 5] [--ways alone ...]

The task of interest has five labels a class; the other has up to a hundred. Items have the label of one task only. Alone and
together take the same number of steps from the same pretrained weights, every block trained. Together, a step has 32 items, drawn
each as often as another, so that few are of the task of interest (uncertainty weights, and a plain sum); or with equal sampling
32 items of each task, as many of the task of interest as it has alone.

Pictures: digits of USPS beside digits of MNIST, the embedded model's picture tower. Texts: what kind of thing a question of TREC
asks for (6 kinds) beside which of 50 finer ones, all-MiniLM-L6-v2. Accuracy is that of the task of interest, on 400 of its test
items. What is in the results is kept, so a run goes on.
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
from quality import DATA, minilm

TESTED = 400
STEPS = {"usps": 60, "trec coarse": 150}
"""The other questions take long to learn from: with 150 steps each of theirs is seen about three times."""
PAIRS = (("usps", "mnist"), ("trec coarse", "trec fine"))
COLUMNS = {"trec coarse": "label", "trec fine": "fine_label"}
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
    arguments.add_argument("--ways", nargs="*", default=[*WAYS], choices=[*WAYS])
    options = arguments.parse_args()
    path = RESULTS / "multitask.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for main_name, other_name in PAIRS:
        kept = done.setdefault("pairs", {}).setdefault(f"{main_name} + {other_name}", {})
        model, rate = (minilm(), 5e-5) if main_name in COLUMNS else ("embedded/sprig", 3e-4)
        data, other = (read(options.data, name) for name in (main_name, other_name))
        test = data.part("test")
        test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[:TESTED]))
        for seed in range(options.seeds):
            few, many = few_shot(data.part("train"), 5, seed), few_shot(other.part("train"), 100, seed)
            for way in options.ways:
                settings = WAYS[way]
                runs = kept.setdefault(way, {})
                if str(seed) in runs:
                    continue
                how = {"steps": STEPS[main_name], "lr": rate, "seed": seed}
                if way == "alone":
                    runs[str(seed)] = FineTuner(model, "full", **how).fit(few).score(test)
                else:
                    runs[str(seed)] = together(MultiTaskTuner(model, "full", **settings, **how), few, many, test)
                done["machine"] = machine()
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(done, indent=1) + "\n")
                print(main_name, other_name, way, seed, runs[str(seed)], flush=True)


def read(folder: Path, name: str) -> Dataset:
    """A tar of pictures, or a column of the table of questions."""
    if name in COLUMNS:
        return read_data(folder / "trec.csv", item_column="text", label_column=COLUMNS[name], split_column="split")
    return read_data(folder / f"{name}.tar")


def together(tuner: MultiTaskTuner, few: Dataset, many: Dataset, test: Dataset) -> float:
    items = [*few.items, *many.items]
    names = [few.classes[n] for n in few.targets], [many.classes[n] for n in many.targets]
    labels = {"main": [*names[0], *[None] * len(many)], "other": [*[None] * len(few), *names[1]]}
    return tuner.fit(items, labels).adapters_["main"].score(test)


if __name__ == "__main__":
    main()
