"""Runs in a process of its own: the same model, by its public name here and by model and tag in open_clip, side by side.

``python -m tests.open_clip.differential_client ROOT small|whole NAME...`` prints a JSON line per name. ROOT is what the hub
stand-in serves; every model is published, compared and removed again before the next, so that the disk holds one.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import modelgraft
import numpy as np
import open_clip
import torch
from modelgraft.contract import ImageBackbone, TextBackbone
from modelgraft_adapters import ZeroShotClassifier
from PIL import Image, ImageDraw
from torch.nn import functional as F

from tests.open_clip.cases import CASES, Case
from tests.open_clip.zoo import publish, shrink

LABELS = ["cat", "red square", "dog", "a blue circle beside a bird", "東京タワー", "fox " * 120]
TEMPLATES = ["a photo of a {}.", "this is the quick {}", "{}"]


def pictures() -> list[Image.Image]:
    """A wide and a small tall image with edges and noise: crops, squashes and filters all show."""
    noise = np.random.default_rng(0)
    out = []
    for width, height in ((330, 240), (64, 98)):
        picture = Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
        drawing = ImageDraw.Draw(picture)
        drawing.rectangle((width // 8, height // 8, width // 2, height // 2), fill=(220, 30, 20))
        drawing.ellipse((width // 2, height // 3, width - 5, height - 5), fill=(20, 60, 230))
        out.append(picture)
    return out


@torch.no_grad()
def recipe(model: Any, tokenizer: Any, image_features: torch.Tensor, texts: list[str]) -> np.ndarray:
    """The zero-shot snippet of open_clip's README, and for models with a bias that of SigLIP's model cards."""
    text_features = F.normalize(model.encode_text(tokenizer(texts)), dim=-1)
    if model.logit_bias is not None:
        logits = image_features @ text_features.T * model.logit_scale.exp() + model.logit_bias
        return np.asarray(torch.sigmoid(logits))
    return np.asarray((100.0 * image_features @ text_features.T).softmax(dim=-1))


@torch.no_grad()
def ensemble(model: Any, tokenizer: Any, image_features: torch.Tensor) -> np.ndarray:
    """The recipe of open_clip's zero-shot evaluation: `build_zero_shot_classifier` over templates."""
    classifier = open_clip.build_zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES)
    logits = model.logit_scale.exp() * image_features @ classifier
    if model.logit_bias is not None:
        return np.asarray(torch.sigmoid(logits + model.logit_bias))
    return np.asarray(logits.softmax(dim=-1))


def compare(case: Case) -> dict[str, Any]:
    """Differences between the two, and signs that the comparison can fail."""
    name, tag = case.name.split(":")
    images = pictures()
    ours = ZeroShotClassifier(f"open_clip/{case.name}", labels=LABELS, device="cpu")
    assert isinstance(ours.backbone, ImageBackbone) and isinstance(ours.backbone, TextBackbone)
    template = ours.backbone.entry.templates[0] if ours.backbone.entry.templates else "a photo of a {}."
    found = ours.predict_proba(images)
    found_ensemble = ZeroShotClassifier(ours.backbone, labels=LABELS, templates=TEMPLATES).predict_proba(images[:1])

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model, _, transform = open_clip.create_model_and_transforms(case.reference or name, pretrained=tag)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    pixels = torch.stack([transform(image) for image in images])
    with torch.no_grad():
        image_features = F.normalize(model.encode_image(pixels), dim=-1)
    expected = recipe(model, tokenizer, image_features, [template.replace("{}", label) for label in LABELS])

    upright = torch.stack([ours.backbone.preprocess(image) for image in images])
    embedded = ours.backbone.encode_image(upright[:1])
    return {
        "probabilities": float(np.abs(found - expected).max()),
        "ensemble": float(np.abs(found_ensemble - ensemble(model, tokenizer, image_features[:1])).max()),
        "pixels_equal": torch.equal(upright, pixels),
        "spread_over_labels": float(np.ptp(expected, axis=1).min()),
        "spread_over_images": float(np.ptp(expected, axis=0).max()),
        "quick_gelu_warned": any("QuickGELU" in str(w.message) for w in told),
        "notes": ours.notes,
        "rule": [ours.backbone.score_rule().kind, ours.backbone.score_rule().scale],
        "embed_dims": [ours.backbone.embed_dim, embedded.shape[1]],
        "lengths": [*embedded.norm(dim=1).tolist(), ours.backbone.encode_text(["cat"]).norm().item()],
        **(in_half_precision(case, upright[:1], embedded) if case.half else {}),
    }


def in_half_precision(case: Case, pixels: torch.Tensor, expected: torch.Tensor) -> dict[str, Any]:
    """The same in bfloat16: near, and with the scale of the scores not rounded."""
    half = modelgraft.load(f"open_clip/{case.name}", device="cpu", dtype="bfloat16")
    found = half.encode_image(pixels)
    return {
        "half_scale": half.score_rule().scale,
        "half_agreement": float(F.cosine_similarity(found, expected).min()),
        "half_dtypes": sorted({str(p.dtype) for p in half.module.parameters()}),
        "half_text": str(half.encode_text(["cat"]).dtype),
    }


def main(root: str, size: str, *names: str) -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as configs:
        for name in names:
            case, started = CASES[name], time.monotonic()
            try:
                for model in {name.split(":")[0], case.reference} - {None}:
                    if size == "small":
                        shrink(str(model), Path(configs))
                entry = modelgraft.resolve(f"open_clip/{name}")
                folder = publish(Path(root), entry, small=size == "small", pickled=case.pickled)
                answer = compare(case)
                shutil.rmtree(folder)
                shutil.rmtree(
                    Path(os.environ["HF_HUB_CACHE"]) / f"models--{str(entry.weights.repo).replace('/', '--')}"
                )
            except Exception:
                answer = {"error": traceback.format_exc()}
            gc.collect()
            print(json.dumps({"name": name, "seconds": time.monotonic() - started, **answer}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
