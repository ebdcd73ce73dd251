"""Contrastive tuning of MiniLM on eight labels a class, beside the package setfit on the same texts; the memory that pairs take.

    python benchmarks/contrastive.py [--data ../shared/data] [--sets sst2 trec] [--seeds 5]

Ours is ``FineTuner(strategy="contrastive")``, theirs ``setfit.Trainer`` with its defaults (oversampling, steps of 16 pairs, one
epoch, 2e-5, then scikit-learn's logistic regression); setfit 1.2 runs as it is on sentence-transformers 6 and transformers 5. Both
tune the same real all-MiniLM-L6-v2 on the same draws of the labels and are scored on the same 400 test texts, which choose nothing;
the frozen probe is the control. Seconds are of loading and fitting, on the CPU. What is in the results is kept, so a run goes on.

Memory is Python's and numpy's peak (tracemalloc) while pairs are drawn: of setfit the sampler and one pass over it, as its trainer
makes it; of ours the sampler and its first 20,000 pairs.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from measure import RESULTS, save
from modelgraft_adapters import FineTuner, FrozenAdapter
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.finetuning.contrastive import PairSampler
from modelgraft_adapters.metrics.scores import Score, wilson
from modelgraft_adapters.metrics.spread import mean_interval
from quality import DATA, load_set, minilm
from setfit import SetFitModel, Trainer, TrainingArguments
from setfit.sampler import ContrastiveDataset

SHOTS, TESTED, FIRST = 8, 400, 20_000
ITEMS = {"setfit": (50, 200, 800, 1600), "modelgraft": (50, 200, 800, 1600, 20_000)}
METHODS = ("probe", "modelgraft", "setfit")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--sets", nargs="*", default=["sst2", "trec"])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--methods", nargs="*", default=METHODS)
    options = arguments.parse_args()
    path = RESULTS / "contrastive.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    done.pop("machine", None)
    done["versions"] = {name: version(name) for name in ("setfit", "transformers", "accelerate")}
    for name in options.sets:
        found = done.setdefault("sets", {}).setdefault(name, {"runs": {}})
        data = load_set(options.data, name)
        test = data.test
        test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[:TESTED]))
        for seed in range(options.seeds):
            few = few_shot(data.train, SHOTS, seed)
            for method in options.methods:
                if str(seed) not in (kept := found["runs"].setdefault(method, {})):
                    kept[str(seed)] = run(method, few, test, seed)
                    found |= summary(found["runs"], len(test))
                    save("contrastive", done)
    memory = done.setdefault("memory", {})
    for method, sizes in ITEMS.items():
        for items in sizes if method in options.methods else ():
            if str(items) not in (kept := memory.setdefault(method, {})):
                kept[str(items)] = peak(method, items)
                save("contrastive", done)


def run(method: str, few: Dataset, test: Dataset, seed: int) -> dict[str, float]:
    """One fit on the drawn texts: accuracy, and its seconds without the test."""
    start = time.perf_counter()
    if method == "setfit":
        predict, steps = peer(few, seed)
        seconds = time.perf_counter() - start
        accuracy = float((predict(list(test.items)) == test.targets).mean())
        return {"accuracy": accuracy, "steps": steps, "seconds": round(seconds, 2)}
    adapter: Any = (
        FineTuner(minilm(), strategy="contrastive", seed=seed, device="cpu")
        if method == "modelgraft"
        else FrozenAdapter(minilm(), "linear", seed=seed, device="cpu", store=False)
    ).fit(few)
    seconds = time.perf_counter() - start
    steps = adapter.report_["chosen"]["steps"] if method == "modelgraft" else 0
    return {"accuracy": adapter.evaluate(test).score.value, "steps": steps, "seconds": round(seconds, 2)}


def peer(few: Dataset, seed: int) -> tuple[Any, int]:
    """(texts -> classes, steps)."""
    model = SetFitModel.from_pretrained(minilm(), device="cpu")
    assert few.targets is not None
    texts = datasets.Dataset.from_dict({"text": list(few.items), "label": [int(target) for target in few.targets]})
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            batch_size=16,
            num_epochs=1,
            body_learning_rate=2e-5,
            seed=seed,
            report_to="none",
            save_strategy="no",
        )
        trainer = Trainer(model=model, args=settings, train_dataset=texts)
        trainer.train()
    return lambda items: np.asarray(model.predict(items)), trainer.st_trainer.state.global_step


def summary(runs: dict[str, dict[str, Any]], tested: int) -> dict[str, Any]:
    """Means with 95 % intervals over draws and test texts, and of ours minus theirs, draw by draw."""
    out: dict[str, Any] = {}
    for method, kept in runs.items():
        values = [run["accuracy"] for run in kept.values()]
        mean, low, high = mean_interval([Score("accuracy", v, *wilson(v * tested, tested)) for v in values])
        seconds = float(np.mean([run["seconds"] for run in kept.values()]))
        out[method] = {"mean": mean, "low": max(0.0, low), "high": min(1.0, high), "seconds": round(seconds, 2)}
    for other in ("setfit", "probe"):
        out[f"modelgraft - {other}"] = difference(runs.get("modelgraft", {}), runs.get(other, {}))
    return out


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float] | None:
    """Mean of the differences of each draw, and its 95 % t interval over the draws."""
    from scipy.stats import t

    values = np.array([ours[seed]["accuracy"] - theirs[seed]["accuracy"] for seed in ours if seed in theirs])
    if len(values) < 2:
        return None
    half = float(t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"mean": float(values.mean()), "low": float(values.mean()) - half, "high": float(values.mean()) + half}


def peak(method: str, items: int) -> dict[str, Any]:
    """MiB that drawing pairs of so many texts takes; four classes alike."""
    targets = np.arange(items) % 4
    if method == "setfit":
        names, labels = [str(n) for n in range(items)], targets.tolist()
        tracemalloc.start()
        sampler = ContrastiveDataset(names, labels, False)
        for _ in sampler:
            pass
        pairs = len(sampler)
    else:
        tracemalloc.start()
        own = PairSampler(targets, "single-label", 0)
        pairs = len(own)
        for k in range(min(pairs, FIRST)):
            own.pair(0, k)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"pairs": pairs, "mib": round(found / 2**20, 3)}


if __name__ == "__main__":
    main()
