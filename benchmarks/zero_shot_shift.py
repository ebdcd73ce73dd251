"""Zero-shot by each transductive method beside plain zero-shot: on whole sets, under label shift, and on few items.

    python benchmarks/zero_shot_shift.py [--data ../shared/data] [--seeds 5] [--cpu 200]

Images by the embedded model, texts by all-MiniLM-L6-v2, classes by their names. For each seed a subsample of the items: ``as is``
(80 % of them), ``skewed`` (at most 300 and 40 %, the k-th class in a random order weighed k ** -1.5), ``half`` (80 % of the items
of half of the classes, all classes among the labels), ``few`` (20 items). Every method sees the items of the subsample and no
label. Beside the methods: all templates with even weights, and the head ``label-spreading`` with the class texts as its labelled
items, texts and items each less their mean. What is in the results is kept, so a run goes on; `--cpu` ends it after so many
seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import AG_NEWS
from measure import RESULTS, machine
from modelgraft import load_head
from modelgraft.learning import Examples
from modelgraft_adapters import FeatureExtractor, TransductiveZeroShotClassifier, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.metrics.paired import Answers, difference
from modelgraft_adapters.transductive.naming import METHODS
from quality import DATA, load_set, minilm

PACS = ("photo", "art_painting", "cartoon", "sketch")
SETS = ("cifar10", *PACS, "flowers5", "fashion_mnist", "ag_news", "trec", "banking77")
KINDS = ("as is", "skewed", "half", "few")
WORDS = {
    "ag_news": AG_NEWS,
    "trec": {
        "ABBR": "an abbreviation",
        "DESC": "a description",
        "ENTY": "a thing",
        "HUM": "a person",
        "LOC": "a place",
        "NUM": "a number",
    },
}
TEXT_TEMPLATES = (
    "This example is {}.",
    "{}",
    "{}!",
    "This text is about {}.",
    "It is about {}.",
    "The topic is {}.",
    "A question about {}.",
    "I am asking about {}.",
)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--cpu", type=float, default=200.0)
    options = arguments.parse_args()
    path = RESULTS / "zero_shot_shift.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    for name in SETS:
        wanted = [(kind, seed) for kind in KINDS for seed in range(options.seeds)]
        wanted = [one for one in wanted if "/".join((name, one[0], str(one[1]))) not in done["runs"]]
        if not wanted or time.process_time() > options.cpu:
            print(f"{name}: {len(wanted)} runs are left")
            continue
        case = Case(options.data, name)
        for kind, seed in wanted:
            found = case.run(drawn(case.targets, kind, seed))
            done["runs"]["/".join((name, kind, str(seed)))] = found
        done["machine"] = machine()
        path.write_text(json.dumps(done, indent=1) + "\n")
        print(name, found["plain"], found["gains"], f"{time.process_time():.0f} s of CPU", flush=True)


def drawn(targets: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """The items of a subsample."""
    rng = np.random.default_rng(seed)
    order, count = rng.permutation(len(targets)), int(targets.max()) + 1
    classes = rng.permutation(count)
    if kind == "few":
        return order[:20]
    if kind == "half":
        order = order[np.isin(targets[order], classes[: max(2, count // 2)])]
    if kind != "skewed":
        return order[: int(0.8 * len(order))]
    weights = (1.0 + classes) ** -1.5
    weights = (weights / np.maximum(np.bincount(targets, minlength=count), 1))[targets]
    return rng.choice(len(targets), min(300, int(0.4 * len(targets))), replace=False, p=weights / weights.sum())


def read(folder: Path, name: str) -> Dataset:
    """The test part; of a domain of PACS all items."""
    if name not in PACS:
        return load_set(folder, name).part("test")
    whole = read_data(folder / "pacs.tar", class_level=2)
    return whole.take(np.array([f"/{name}/" in one for one in whole.identities]))


class Case:
    """A set, its features, and the classifiers."""

    def __init__(self, folder: Path, name: str) -> None:
        data = read(folder, name)
        assert data.targets is not None
        self.targets = data.targets
        labels = [WORDS.get(name, {}).get(one, one.replace("_", " ")) for one in data.classes]
        text = data.modality == "text"
        self.plain = ZeroShotClassifier(minilm() if text else "embedded/sprig", labels, device="cpu")
        backbone = self.plain.backbone
        many: Any = list(TEXT_TEMPLATES) if text else "imagenet-80"
        self.ensemble = ZeroShotClassifier(backbone, labels, templates=many)
        self.methods = {
            method: TransductiveZeroShotClassifier(
                backbone, labels, method=method, templates=many if method == "prompt-weights" else None
            )
            for method in METHODS
        }
        found = FeatureExtractor(backbone, modality=data.modality).embed(data.items)
        assert found.good.all()
        self.features = found.features

    def run(self, rows: np.ndarray) -> dict[str, Any]:
        """Accuracy of plain zero-shot and the difference of each method to it, with its interval, on these items."""
        features, targets = self.features[rows], self.targets[rows]
        right = {name: scores.argmax(axis=1) == targets for name, scores in self._scores(features)}
        answers = {
            name: Answers("single-label", found.astype(float), np.zeros((0, 0)), np.zeros((0, 0)))
            for name, found in right.items()
        }
        gains = {}
        for name in list(right)[1:]:
            gain = difference([answers[name]], [answers["plain"]])
            gains[name] = [gain.value, gain.low, gain.high]
        return {"items": len(rows), "plain": float(right["plain"].mean()), "gains": gains}

    def _scores(self, features: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        yield "plain", self.plain.scores(features)
        for method, classifier in self.methods.items():
            yield method, classifier.fit_features(features).scores(features)
        yield "all templates", self.ensemble.scores(features)
        yield "label-spreading", spread(features, self.plain.head.weight.numpy())


def spread(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels spread from the class texts over the items, by the head."""
    nodes = features / np.linalg.norm(features, axis=1, keepdims=True)
    texts, items = (torch.from_numpy(np.asarray(part - part.mean(axis=0), np.float32)) for part in (classes, nodes))
    names = tuple(str(number) for number in range(len(texts)))
    examples = Examples(
        texts,
        torch.arange(len(texts)),
        "single-label",
        names,
        torch.zeros(len(texts), dtype=torch.int64),
        unlabelled=items,
    )
    head = load_head("label-spreading").fit(examples, k=min(10, len(texts) + len(items) - 1), alpha=0.9)
    return head.probabilities(items).numpy()  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
