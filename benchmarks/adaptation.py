"""Domain adaptation on features: every method, the choice without labels, and a head trained on the target's labels.

    python benchmarks/adaptation.py [--data ../shared/data] [--only digits pacs texts] [--seeds 5] [--cpu 200]

digits: MNIST, USPS and MNIST-M by the embedded model. pacs: each domain as the target of the three others, by the real
EfficientNet-Lite0. texts: sentiment of Amazon reviews across kinds of goods, and of films (MR) to goods (CR), by the real
all-MiniLM-L6-v2. Features are taken once, through the feature store. A seed draws 80 % of the training items of the source and
of the target, at most 300 of each; scores are on the target's whole test part, whose labels choose nothing. The upper line is
the same head on the same items of the target, with their labels.

network (not among the usual ones): AdaBN and TENT on the digits by the embedded model's image tower, on as many items; then Deep
CORAL and DANN beside the same training (`lp-ft`, `TRAINING`) on the source alone, all other settings the defaults. What they cost
is a minute for a seed and pair of domains, so there are fewer seeds.

What is in the results is kept, so a run goes on; `--cpu` ends it after so many seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import lite_folder
from measure import RESULTS, machine
from modelgraft_adapters import DomainAdapter, FeatureExtractor, FineTuner, FrozenAdapter, LinearProbe
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.norm_adaptation import adabn, tent
from modelgraft_adapters.metrics.paired import Answers, difference
from quality import DATA, minilm

DRAWN, SHARE = 300, 0.8
STRENGTHS = [10.0**power for power in range(-4, 4)]
PACS = ("photo", "art_painting", "cartoon", "sketch")
TRAINING = {"strategy": "lp-ft", "steps": 20, "lr": 3e-4, "augment": "none"}
PAIRS = {
    "digits": [("mnist", "usps"), ("usps", "mnist"), ("mnist", "mnist_m")],
    "pacs": [("+".join(other for other in PACS if other != one), one) for one in PACS],
    "texts": [("books", "kitchen"), ("dvd", "electronics"), ("electronics", "books"), ("kitchen", "dvd"), ("mr", "cr")],
}
Features = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Features, labels and splits of a domain."""
Heads = Callable[[Dataset, Dataset, int], tuple[dict[str, Any], dict[str, Any]]]
"""Of labelled items, others without labels and a seed: fitted heads by name, and what else is to be kept of them."""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--only", nargs="*", default=[*PAIRS])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--cpu", type=float, default=200.0)
    options = arguments.parse_args()
    path = RESULTS / "adaptation.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    wanted = [
        (group, source, target, seed)
        for seed in range(options.seeds)
        for group in options.only
        if group in PAIRS
        for source, target in PAIRS[group]
        if f"{group} {source} {target} {seed}" not in done["runs"]
    ]
    if "network" in options.only:
        network(options, done, path)
        trained(options, done, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        domains = Domains(options.data, Path(folder))
        for group, source, target, seed in wanted:
            if time.process_time() > options.cpu:
                break
            found = one_run(domains.of(group, source), domains.of(group, target), seed)
            done["runs"][f"{group} {source} {target} {seed}"] = found
            done["machine"] = machine()
            path.write_text(json.dumps(done, indent=1) + "\n")
            shown = {name: round(one["accuracy"], 3) for name, one in found["methods"].items()}
            print(group, source, target, seed, found["auto"], shown, round(found["seconds"], 1), flush=True)
    left = [one for one in wanted if "{} {} {} {}".format(*one) not in done["runs"]]
    print(f"{len(left)} runs are left")


def one_run(source: Features, target: Features, seed: int) -> dict[str, Any]:
    """Every method on one draw."""
    started = time.perf_counter()
    (xs, ys), (xt, yt) = (drawn(part, seed + 1000 * n) for n, part in enumerate((source, target)))
    test = target[2] == "test"
    adapter = DomainAdapter(method="auto", Cs=STRENGTHS, seed=seed).fit(xs, ys, xt)
    subspace = DomainAdapter(method="subspace", Cs=STRENGTHS, seed=seed).fit(xs, ys, xt)  # which auto leaves out
    heads = {
        **adapter.candidates(),
        "subspace": subspace,
        "target's labels": LinearProbe(Cs=STRENGTHS, seed=seed).fit(xt, yt),
    }
    answers = {
        name: Answers.of(head.evaluate(target[0][test], target[1][test]), int(test.sum()))
        for name, head in heads.items()
    }
    methods = {}
    for name, one in answers.items():
        gain = difference([one], [answers["source-only"]])
        methods[name] = {"accuracy": one.score, "gain": [gain.value, gain.low, gain.high]}
    return {
        "items": [len(xs), len(xt), int(test.sum())],
        "methods": methods,
        "auto": adapter.method_,
        "measures": adapter.report_["adaptation"]["chosen_by"]["measures"],
        "seconds": time.perf_counter() - started,
    }


def network(options: argparse.Namespace, done: dict[str, Any], path: Path) -> None:
    """AdaBN and TENT beside source-only and the probe as it was pretrained, on the digits."""

    def heads(train: Dataset, blind: Dataset, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        probe = FrozenAdapter("embedded/sprig", Cs=STRENGTHS, seed=seed, device="cpu").fit(train)
        own = {"X_source": train}
        adapted = {"adabn": adabn(probe, blind, **own), "tent": tent(probe, blind, seed=seed, **own)}
        return {"source-only": probe, **adapted}, {}

    on_digits(heads, done.setdefault("network", {}), options, done, path)


def trained(options: argparse.Namespace, done: dict[str, Any], path: Path) -> None:
    """Deep CORAL and DANN beside the same training on the source alone."""

    def heads(train: Dataset, blind: Dataset, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        made = {"fine-tuned": FineTuner("embedded/sprig", seed=seed, device="cpu", **TRAINING).fit(train)}
        for way in ("deep-coral", "dann"):
            tuner = FineTuner("embedded/sprig", semi=way, seed=seed, device="cpu", **TRAINING)
            made[way] = tuner.fit(train, unlabelled=blind)
        settings = {**TRAINING, "threads": torch.get_num_threads()}
        return made, {"settings": settings, "notes": {name: head.notes_ for name, head in made.items()}}

    on_digits(heads, done.setdefault("trained", {}), options, done, path)


def on_digits(make: Heads, runs: dict[str, Any], options: argparse.Namespace, done: dict[str, Any], path: Path) -> None:
    """Each pair of digits and seed that is not there yet: the accuracy of every head, and its gain over the first one."""
    sets = {name: read_data(options.data / f"{name}.tar") for name in ("mnist", "usps", "mnist_m")}
    for seed in range(options.seeds):
        for source, target in PAIRS["digits"]:
            if f"{source} {target} {seed}" in runs or time.process_time() > options.cpu:
                continue
            rng = np.random.default_rng(seed)
            train, blind = (few(sets[name].part("train"), rng) for name in (source, target))
            test = replace(sets[target].part("test"), split=None)
            heads, more = make(train, blind, seed)
            answers = {name: Answers.of(head.evaluate(test), len(test)) for name, head in heads.items()}
            base = next(iter(answers.values()))
            gains = {name: difference([one], [base]) for name, one in answers.items()}
            methods = {n: {"accuracy": answers[n].score, "gain": [g.value, g.low, g.high]} for n, g in gains.items()}
            items = [len(train), len(blind), len(test)]
            runs[f"{source} {target} {seed}"] = {"items": items, "methods": methods, **more}
            path.write_text(json.dumps(done, indent=1) + "\n")
            print(source, target, seed, {name: one.score for name, one in answers.items()}, flush=True)


def few(data: Dataset, rng: np.random.Generator) -> Dataset:
    """So many items of a part."""
    return replace(data.take(np.sort(rng.permutation(len(data))[:DRAWN])), split=None)


def drawn(part: Features, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training items of a domain, by the seed."""
    rows = np.flatnonzero(part[2] == "train")
    count = min(DRAWN, int(SHARE * len(rows)))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
    return part[0][rows], part[1][rows]


class Domains:
    """The features of each domain, taken when they are first asked for."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data = data
        self.folder = folder
        self.known: dict[str, Features] = {}

    def of(self, group: str, name: str) -> Features:
        """One domain, or several joined by ``+``."""
        if "+" in name:
            parts = [self.of(group, one) for one in name.split("+")]
            return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]
        if name not in self.known:
            self.known.update({one: self._embedded(group, data) for one, data in self._read(group, name)})
        return self.known[name]

    def _read(self, group: str, name: str) -> Iterator[tuple[str, Dataset]]:
        if group == "digits":
            yield name, read_data(self.data / f"{name}.tar")
        elif group == "pacs":
            whole = read_data(self.data / "pacs.tar", class_level=2)
            for domain in PACS:
                yield domain, whole.take(np.array([f"/{domain}/" in one for one in whole.identities]))
        else:
            file, column = ("mr_cr_subj", "task") if name in ("mr", "cr") else ("amazon_4domains", "domain")
            columns = {"item_column": "text", "label_column": "label", "split_column": "split", "group_column": column}
            whole = read_data(self.data / f"{file}.csv", **columns)
            assert whole.groups is not None
            yield name, whole.take(whole.groups.astype(str) == name)

    def _embedded(self, group: str, data: Dataset) -> Features:
        model = {"digits": lambda: "embedded/sprig", "pacs": self._lite, "texts": minilm}[group]()
        found = FeatureExtractor(model, modality=data.modality, device="cpu").embed(data.items)
        assert found.good.all() and data.targets is not None
        return found.features, np.array(data.classes)[data.targets], data.splits().astype(str)

    def _lite(self) -> str:
        folder = self.folder / "lite"
        return str(folder) if folder.exists() else lite_folder(self.data, folder)


if __name__ == "__main__":
    main()
