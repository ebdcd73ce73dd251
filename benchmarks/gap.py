"""How often a gap is seen where there is none, and where there is one: `modelgraft gap`, and the warning of `predict`.

    python benchmarks/gap.py [--data ../shared/data] [--draws 200]

Real sets, embedded once through the feature store. Without a gap: two random parts of one set, drawn anew each time. With one: a
part of one set and a part of another. What is in the results already is kept: `--again` takes it anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.shift.apart import proxy_a_distance
from modelgraft_adapters.shift.mmd import mmd
from modelgraft_adapters.shift.reference import LEVEL, Reference, judge, make_reference
from quality import DATA, minilm, mobilenet_folder
from scipy.stats import kstest

MOST = 500
"""Items of a set, drawn once."""
LONGEST = 400
"""Characters of a text that are read."""
SIDE = 100
"""Items of each side of a test, or half of a smaller set."""
PERMUTATIONS = 199
SIZES = (25, 50, 100)
MIXED = (0.05, 0.1, 0.2)
"""Shares of a target that are of another set."""
TRAIN = 150
BATCHES = (20, 50, 200)
SMALL = ("MNIST", "USPS", "MNIST-M", "CIFAR-10", "Flowers")
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
SHOPS = ("books", "dvd", "electronics", "kitchen")
PAIRS = (
    *(("MNIST", "USPS"), ("MNIST", "MNIST-M")),
    *(("photo", other) for other in DOMAINS[1:]),
    *(("books", other) for other in SHOPS[1:]),
    ("MR", "CR"),
)
Sets = dict[str, tuple[np.ndarray, np.ndarray]]
"""Name -> features (N, D) and class numbers (N,)."""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--draws", type=int, default=200)
    arguments.add_argument("--again", action="store_true")
    options = arguments.parse_args()
    path, begin = RESULTS / "gap.json", time.process_time()
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() and not options.again else {}
    sets = embedded(options.data)
    done["machine"] = machine()
    done["options"] = {
        "draws": options.draws,
        "side": SIDE,
        "permutations": PERMUTATIONS,
        "train": TRAIN,
        "level": LEVEL,
    }
    done["sets"] = {name: [int(n) for n in features.shape] for name, (features, _) in sets.items()}
    steps: dict[str, Callable[[], Any]] = {}
    for name in sets:
        steps[f"same/{name}"] = lambda name=name: same(sets[name][0], options.draws)
        steps[f"warning/{name}"] = lambda name=name: warning(*sets[name], options.draws)
    for one, other in PAIRS:
        steps[f"apart/{one} to {other}"] = lambda a=one, b=other: apart(sets[a][0], sets[b][0])
        steps[f"mixed/{one} to {other}"] = lambda a=one, b=other: mixed(sets[a][0], sets[b][0])
        steps[f"warned/{one} to {other}"] = lambda a=one, b=other: warned(sets[a][0], sets[b][0])
    for name, step in steps.items():
        kind, _, of = name.partition("/")
        if of not in done.setdefault(kind, {}):
            done[kind][of] = step()
            path.write_text(json.dumps(done, indent=1) + "\n")
            print(f"{time.process_time() - begin:6.1f} s  {name}: {done[kind][of]}", flush=True)


def embedded(data: Path) -> Sets:
    """Features of all sets, each by the model that reads it."""
    found: Sets = {}

    def add(name: str, items: Dataset, extractor: FeatureExtractor) -> None:
        kept = np.sort(np.random.default_rng(0).permutation(len(items))[:MOST])
        items = items.take(kept)
        rows = extractor.embed(items.items)
        assert rows.good.all()
        targets = np.zeros(len(items), np.int64) if items.targets is None else items.targets
        found[name] = rows.features.astype(np.float32), targets

    small = FeatureExtractor("embedded/sprig", modality="image")
    files = ("mnist", "usps", "mnist_m", "cifar10", "flowers5")
    for name, file in zip(SMALL, files, strict=True):
        add(name, read_data(data / f"{file}.tar"), small)
    folder = (
        Path(tempfile.gettempdir()) / "modelgraft-gap-mobilenet"
    )  # the store knows a model in a folder by its place
    folder.mkdir(exist_ok=True)
    large = FeatureExtractor(f"file:{mobilenet_folder(data, folder)}", modality="image")
    pacs = read_data(data / "pacs.tar")
    for domain in DOMAINS:
        add(domain, pacs.take([n for n in range(len(pacs)) if f"/{domain}/" in pacs.identity(n)]), large)
    texts = FeatureExtractor(minilm(), modality="text")
    for file, column, names in (("amazon_4domains.csv", "domain", SHOPS), ("mr_cr_subj.csv", "task", ("MR", "CR"))):
        for name in names:
            add(name, read_data(rows_of(data / file, column, name), modality="text"), texts)
    return found


def rows_of(path: Path, column: str, value: str) -> list[str]:
    """The texts of a table in rows where a column has a value."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"][:LONGEST] for row in csv.DictReader(file) if row[column].lower() == value.lower()]


def parts(count: int, first: int, second: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    return order[:first], order[first : first + second]


def same(features: np.ndarray, draws: int) -> dict[str, Any]:
    """The test of `gap` on two parts of one set."""
    side = min(SIDE, len(features) // 2)
    p_values: dict[str, list[float]] = {"rbf": [], "linear": []}
    for seed in range(draws):
        one, other = parts(len(features), side, side, seed)
        for kernel, of in p_values.items():
            found = mmd(features[one], features[other], kernel=kernel, permutations=PERMUTATIONS, seed=seed)  # type: ignore[arg-type]
            of.append(float(found.p_value or 0))
    smooth = np.random.default_rng(0).uniform(0, 1 / (PERMUTATIONS + 1), draws)  # p-values are multiples of this
    return {
        "side": side,
        **{kernel: sum(p <= 0.05 for p in of) / draws for kernel, of in p_values.items()},
        "uniform": float(kstest(np.array(p_values["rbf"]) - smooth, "uniform").pvalue),
        "p_values": p_values["rbf"],
    }


def apart(one: np.ndarray, other: np.ndarray, draws: int = 50) -> dict[str, Any]:
    """The share of draws with a gap seen, by the items of each side, and how large it is."""
    seen = {}
    for size in SIZES:
        hits = 0
        for seed in range(draws):
            a, b = parts(len(one), size, 0, seed)[0], parts(len(other), size, 0, seed + 1000)[0]
            hits += (mmd(one[a], other[b], permutations=PERMUTATIONS, seed=seed).p_value or 0) <= 0.05
        seen[str(size)] = hits / draws
    a, b = parts(len(one), 2 * SIDE, 0, 0)[0], parts(len(other), 2 * SIDE, 0, 1000)[0]
    return {"seen": seen, "a_distance": proxy_a_distance(one[a], other[b]).distance}


def mixed(one: np.ndarray, other: np.ndarray, draws: int = 50) -> dict[str, float]:
    """The share of draws with a gap seen where a part of the target, by its share, is of the other set and the rest of the same."""
    side, seen = min(SIDE, len(one) // 2), {}
    for share in MIXED:
        hits, strange = 0, round(share * side)
        for seed in range(draws):
            a, b = parts(len(one), side, side - strange, seed)
            c = parts(len(other), strange, 0, seed + 1000)[0]
            target = np.concatenate([one[b], other[c]])
            hits += (mmd(one[a], target, permutations=PERMUTATIONS, seed=seed).p_value or 0) <= 0.05
        seen[f"{share:g}"] = hits / draws
    return seen


def warning(features: np.ndarray, targets: np.ndarray, draws: int) -> dict[str, Any]:
    """The share of batches that `predict` warns of, trained on another part of the same set; also of batches of one class alone."""
    train = min(TRAIN, len(features) // 2)
    hits: dict[str, list[bool]] = {str(size): [] for size in BATCHES if train + size <= len(features)}
    alone = []
    for seed in range(draws):
        first, rest = parts(len(features), train, len(features), seed)
        reference = made(features[first], seed)
        for size, of in hits.items():
            of.append(unlike(reference, features[rest[: int(size)]]))
        if targets.max() > 0:
            kind = seed % (int(targets.max()) + 1)
            if (of_class := rest[targets[rest] == kind][: BATCHES[0]]).size == BATCHES[0]:
                alone.append(unlike(reference, features[of_class]))
    return {
        "train": train,
        "same": {size: float(np.mean(of)) for size, of in hits.items()},
        "one_class": float(np.mean(alone)) if alone else None,
    }


def warned(one: np.ndarray, other: np.ndarray, draws: int = 50) -> dict[str, float]:
    """The share of batches of another set that `predict` warns of."""
    hits: dict[str, list[bool]] = {str(size): [] for size in BATCHES if size <= len(other)}
    for seed in range(draws):
        reference = made(one[parts(len(one), min(TRAIN, len(one) // 2), 0, seed)[0]], seed)
        for size, of in hits.items():
            of.append(unlike(reference, other[parts(len(other), int(size), 0, seed + 1000)[0]]))
    return {size: float(np.mean(of)) for size, of in hits.items()}


def made(features: np.ndarray, seed: int) -> Reference:
    found = make_reference(features, seed)
    assert found is not None
    return found


def unlike(reference: Reference, features: np.ndarray) -> bool:
    test = judge(reference.shares(features), reference.items)
    assert test is not None
    return test.unlike


if __name__ == "__main__":
    main()
