"""The card: zero-shot accuracy against chance and a linear probe, speed, and the page in docs/."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

from modelgraft_embedded.model import DualEncoder
from modelgraft_embedded.preprocess import MEAN, SIZE, STD, preprocess
from modelgraft_embedded.training.concepts import Concepts
from modelgraft_embedded.training.files import FORMATS, save_json
from modelgraft_embedded.training.sets import Test, all_tests

TEMPLATE = "a photo of a {}."
PHOTO_LABELS = (
    ["cat", "cup", "orange flower", "rocket"],
    ["a kitten", "a cup of coffee", "a flower", "a space rocket"],
    ["cat", "cup of coffee", "flower", "rocket", "dog", "temple", "astronaut"],
)
PHOTO_WORDINGS = ("plain", "reworded", "among more")
PHOTO_ORDER = ("cat", "cup", "orange-flower", "rocket")
START, END = "<!-- figures: written by evaluate -->", "<!-- end of figures -->"


@torch.inference_mode()
def embed(model: DualEncoder, images: list[Image.Image]) -> Tensor:
    """Unit vectors (N, D)."""
    pixels = [preprocess(image) for image in images]
    parts = [model.encode_image(torch.stack(pixels[i : i + 128])) for i in range(0, len(pixels), 128)]
    return F.normalize(torch.cat(parts), dim=1)


@torch.inference_mode()
def label_vectors(model: DualEncoder, names: list[str]) -> Tensor:
    """Unit vectors (names, D) under `TEMPLATE`."""
    return F.normalize(model.encode_text([TEMPLATE.format(name) for name in names]), dim=1)


def probe_accuracy(model: DualEncoder, test: Test, data: Path, concepts: Concepts, x: Tensor, y: list[int]) -> float:
    """Logistic regression on the model's own features, fitted on the set's training part."""
    from sklearn.linear_model import LogisticRegression

    images, labels = test.pictures(data, concepts, probe=True)
    regression = LogisticRegression(max_iter=2000, C=10.0).fit(embed(model, images).numpy(), labels)
    return float(regression.score(x.numpy(), y))


def judge(model: DualEncoder, test: Test, data: Path, concepts: Concepts) -> dict[str, Any]:
    """One row of the card."""
    images, labels = test.pictures(data, concepts)
    vectors = embed(model, images)
    best = (vectors @ label_vectors(model, test.names).T).argmax(1)
    right = int((best == torch.tensor(labels)).sum())
    low, high = binomtest(right, len(labels)).proportion_ci(method="wilson")
    row = {
        "set": test.title,
        "n": len(labels),
        "accuracy": round(right / len(labels), 4),
        "interval95": [round(low, 4), round(high, 4)],
        "chance": round(1 / len(test.names), 4),
        "above_chance": low > 1 / len(test.names),
        "held_out_names": test.held_out,
    }
    if test.probe is not None:
        row["linear_probe"] = round(probe_accuracy(model, test, data, concepts, vectors, labels), 4)
    return row


@torch.inference_mode()
def judge_photos(model: DualEncoder, folder: Path) -> list[dict[str, Any]]:
    """The README's photographs among three wordings of the labels."""
    rows = []
    for path in sorted(folder.glob("*.jpg")):
        vector = embed(model, [Image.open(path, formats=FORMATS).convert("RGB")])
        row: dict[str, Any] = {"photo": path.name}
        for key, names in zip(PHOTO_WORDINGS, PHOTO_LABELS, strict=True):
            scores = (model.logit_scale.exp() * vector @ label_vectors(model, names).T).softmax(1)[0]
            best = int(scores.argmax())
            row[key] = names[best]
            row[f"{key}_score"] = round(float(scores[best]), 3)
            row[f"{key}_right"] = PHOTO_ORDER[best : best + 1] == (path.stem,)
        rows.append(row)
    return rows


@torch.inference_mode()
def speed(path: Path) -> dict[str, float]:
    """Seconds to load the file, milliseconds for one picture: processor time, one thread, best of several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loads, encodes = [], []
    for _ in range(5):
        started = time.process_time()
        model = DualEncoder.from_file(path)
        loads.append(time.process_time() - started)
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    for _ in range(30):
        started = time.process_time()
        model.encode_image(pixels)
        encodes.append(time.process_time() - started)
    torch.set_num_threads(threads)
    return {"load_s": round(min(loads), 3), "picture_ms": round(1000 * min(encodes), 2)}


def entry(path: Path, model: DualEncoder, figures: dict[str, float]) -> dict[str, Any]:
    """The catalogue record."""
    return {
        "name": f"embedded/{path.stem}",
        "modality": "image-text",
        "tasks": ["features", "zero-shot"],
        "params": sum(value.numel() for value in model.parameters()),
        "embed_dim": model.config.embed_dim,
        "input_size": [3, SIZE, SIZE],
        "max_tokens": 32,
        "licence": "Apache-2.0",
        "preprocessing": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "crop_mode": "center",
            "crop_pct": 1.0,
        },
        "weights": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size},
        "default": True,
        "score": "softmax",
        "templates": [TEMPLATE],
        "metrics": figures,
        "note": "small: it saw pictures of about 1,000 things, most of them in one photograph",
        "loader": {"file": path.stem},
    }


def page(card: dict[str, Any]) -> str:
    """The figures as Markdown."""
    training = card["training"]
    lines = [
        f"The image stage took {training['seconds'] / 60:.0f} minutes on one thread of a shared CPU: "
        f"seed {training['seed']}, "
        f"{training['steps'] + training['tail']} steps of {sum(training['sizes'])} images, "
        f"after {training['text_steps']} steps on texts. "
        f"{card['params'] / 1e6:.2f} M parameters, {card['bytes'] / 1e6:.1f} MB on disk. "
        f"One image takes {card['speed']['picture_ms']} ms of one CPU core, "
        f"loading {card['speed']['load_s']} s of one.",
        "",
        "| test | images | zero-shot top-1 | 95 % interval | chance | above chance | linear probe |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in card["results"]:
        low, high = row["interval95"]
        name = row["set"] + (" (names never trained on)" if row["held_out_names"] else "")
        probe = f"{row['linear_probe']:.1%}" if "linear_probe" in row else "-"
        lines.append(
            f"| {name} | {row['n']} | **{row['accuracy']:.1%}** | {low:.1%} - {high:.1%} "
            f"| {row['chance']:.1%} | {'yes' if row['above_chance'] else '**no**'} | {probe} |"
        )
    lines += [
        "",
        *(f"- {key}: {', '.join(names)}" for key, names in zip(PHOTO_WORDINGS, PHOTO_LABELS, strict=True)),
        "",
        f"| photograph | {' | '.join(PHOTO_WORDINGS)} |",
        "|---|---|---|---|",
    ]
    for row in card["photos"]:
        answers = [
            f"{row[key]} ({row[f'{key}_score']:.2f}{'' if row[f'{key}_right'] else ', **wrong**'})"
            for key in PHOTO_WORDINGS
        ]
        lines.append(f"| {row['photo']} | {' | '.join(answers)} |")
    return "\n".join(lines)


def fill(path: Path, figures: str) -> None:
    """Put the figures between the page's markers."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{START}\n\n{figures}\n\n{END}{after}", encoding="utf-8")


def evaluate(data: Path, work: Path, weights: Path, docs: Path | None) -> dict[str, Any]:
    """Judge ``weights`` and write the results into the .json beside it, ``work`` and the page."""
    model = DualEncoder.from_file(weights)
    concepts = Concepts.load(work / "concepts.json")
    facts_path = weights.with_suffix(".json")
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    results = []
    for test in all_tests(concepts):
        results.append(judge(model, test, data, concepts))
        print(results[-1], flush=True)
    card = {
        "training": facts["training"],
        "params": sum(value.numel() for value in model.parameters()),
        "bytes": weights.stat().st_size + facts_path.stat().st_size,
        "speed": speed(weights),
        "results": results,
        "photos": judge_photos(model, docs.parent / "photos") if docs else [],
        "held_out": {
            "imagenet": [names[0] for names in concepts.held_names],
            "others": ["giraffe", "house", "tulip"],
        },
    }
    metrics = {f"{row['set']} (zero-shot top-1)": row["accuracy"] for row in results}
    facts |= {"card": card, "entry": entry(weights, model, metrics)}
    facts_path.write_text(json.dumps(facts, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    save_json(work / "card.json", card)
    for row in card["photos"]:
        print(row, flush=True)
    print(card["speed"], card["bytes"], flush=True)
    if docs:
        fill(docs, page(card))
    return card
