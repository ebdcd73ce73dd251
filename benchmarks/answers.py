"""Do precisions and engines give the same answers: over real images and texts, with real weights.

    python benchmarks/answers.py [--items 1000] [--seeds 5] [--data ../shared/data] [--only training]

Against the source library's model in float32: the largest difference of a probability, how often the first answer is the same,
and the accuracy. ImageNet classes of its sample images by EfficientNet-Lite0's published classifier (torch alone: an engine runs
a model's embedding); CIFAR-10 by the names of its classes with the embedded model, AG News with all-MiniLM-L6-v2; a probe on
features of CIFAR-10 (EfficientNet-Lite0) and TREC (all-MiniLM-L6-v2) in each precision. Training: all of all-MiniLM-L6-v2 on
TREC, 60 steps, by seed, in fp32 and bf16. With `--only`, what else is in the results is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, save
from modelgraft import list_engines
from modelgraft_adapters import FeatureExtractor, FineTuner, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from quality import DATA, minilm
from scipy import stats

LITE = "tf_efficientnet_lite0.in1k_mlillustrated"
AG_NEWS = {"Sci/Tech": "science and technology", "World": "world politics", "Sports": "sports", "Business": "business"}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--items", type=int, default=1000)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--only", nargs="*")
    options = arguments.parse_args()
    results: dict[str, Any] = {"items": options.items}
    if options.only:
        results = {**json.loads((RESULTS / "answers.json").read_text()), **results}
        results.pop("machine")
    with tempfile.TemporaryDirectory() as folder:
        lite = lite_folder(options.data, Path(folder) / "lite")
        cifar, trec = read_data(options.data / "cifar10.tar"), texts(options.data / "trec.csv")
        news = texts(options.data / "ag_news.csv")
        for name, run in (
            ("ImageNet, EfficientNet-Lite0", lambda: published(lite, options)),
            ("CIFAR-10, embedded/sprig", lambda: by_name("embedded/sprig", of_split(cifar, "test", options.items), {})),
            ("AG News, all-MiniLM-L6-v2", lambda: by_name(minilm(), of_split(news, "test", options.items), AG_NEWS)),
            ("probe, CIFAR-10", lambda: probed(lite, cifar, options.items)),
            ("probe, TREC", lambda: probed(minilm(), trec, options.items)),
            ("training", lambda: trained(options, trec)),
        ):
            if options.only and name not in options.only:
                continue
            results[name] = run()
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    save("answers", results)


def published(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """The model's own classes. A sample's class is the rank of its folder's name."""
    data = read_data(options.data / "imagenet_samples.tar")
    data = data.take(np.linspace(0, len(data) - 1, min(options.items, len(data))).astype(int))
    found = {}
    for precision in ("exact", "fast"):
        logits = FeatureExtractor(model, layer="logits", dtype=precision, store=False).embed(data.items).features
        found[f"torch, {precision}"] = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    return compared(found, data.targets)


def by_name(model: str, data: Dataset, names: dict[str, str]) -> dict[str, Any]:
    """Zero-shot."""
    labels = [names.get(name, name) for name in data.classes]
    found = {}
    for engine in ("torch", *(spec.name for spec in list_engines())):
        for precision in ("exact", "fast"):
            if engine == "onnxruntime" and precision == "fast":
                continue
            classifier = ZeroShotClassifier(model, labels, engine=engine, dtype=precision, device="cpu")
            found[f"{engine}, {precision}"] = classifier.predict_proba(data.items)
            assert not classifier.take_notes()
    return compared(found, data.targets)


def compared(found: dict[str, np.ndarray], targets: np.ndarray) -> dict[str, Any]:
    """Each way against torch in float32."""
    wanted = found["torch, exact"]
    return {
        way: {
            "largest_difference": float(np.abs(rows - wanted).max()),
            "same_first": float((rows.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
            "accuracy": float((rows.argmax(axis=1) == targets).mean()),
        }
        for way, rows in found.items()
    }


def probed(model: str, data: Dataset, most: int) -> dict[str, Any]:
    """The accuracy of a probe that is trained and tested on features of one precision."""
    train, test = of_split(data, "train", 2 * most), of_split(data, "test", most)
    found = {}
    for precision in ("exact", "fast"):
        probe = LinearProbe(model, dtype=precision, device="cpu", store=False).fit(train)
        evaluation = probe.evaluate(test)
        found[precision] = {score.name: score.value for score in evaluation.scores}
    return found


def trained(options: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """Accuracy and the last losses by seed; the difference is of the same seeds."""
    train, test = of_split(data, "train", None), of_split(data, "test", None)
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        runs = []
        for seed in range(options.seeds):
            settings = {"steps": 60, "batch_size": 32, "lr": 1e-4, "precision": precision}
            tuner = FineTuner(minilm(), "full", seed=seed, **settings).fit(train)
            loss = statistics.fmean(tuner.report_["losses"][-10:])
            runs.append({"accuracy": tuner.evaluate(test).scores[0].value, "loss": loss})
        found[precision] = runs
    for name in ("accuracy", "loss"):
        pairs = [b[name] - a[name] for a, b in zip(found["fp32"], found["bf16"], strict=True)]
        half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
        found[f"difference of {name}"] = [
            statistics.fmean(pairs),
            statistics.fmean(pairs) - half,
            statistics.fmean(pairs) + half,
        ]
    return found


def of_split(data: Dataset, split: str, most: int | None) -> Dataset:
    """Items of a split, spread evenly."""
    part = data.part(split)
    most = len(part) if most is None else min(most, len(part))
    return part.take(np.linspace(0, len(part) - 1, most).astype(int))


def texts(path: Path) -> Dataset:
    return read_data(path, item_column="text", label_column="label", split_column="split")


def lite_folder(data: Path, folder: Path) -> str:
    """The real weights as timm saves a model."""
    about = json.loads((data / "weights" / f"{LITE}.json").read_text())
    folder.mkdir()
    stated = {**about["preprocessing"], "num_classes": 1000, "classifier": "classifier", "first_conv": "conv_stem"}
    config = {key: about[key] for key in ("architecture", "num_classes", "num_features")} | {"pretrained_cfg": stated}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(data / "weights" / f"{LITE}.safetensors", folder / "model.safetensors")
    return str(folder)


if __name__ == "__main__":
    main()
