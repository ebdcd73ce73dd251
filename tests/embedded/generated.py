"""A prepared folder made of noise: as `prepare` leaves one, but in milliseconds and from no data."""

from __future__ import annotations

from pathlib import Path

import torch
from modelgraft_embedded.training.concepts import Concepts
from modelgraft_embedded.training.files import save_json, save_tensors

NAMES = [["red thing"], ["green thing", "grass"], ["blue thing", "sky"], ["thing"]]
WORDS = ["red", "green", "blue", "thing", "a", "photo", "of", "the", "grass", "sky"]


def prepared(work: Path, pictures: int = 48, dim: int = 1280) -> None:
    """Images of one colour each, three concepts and a wider one, teacher answers that fit."""
    random = torch.Generator().manual_seed(5)
    concepts = Concepts(names=NAMES, imagenet=[0, 1, 2], wider={0: 3, 1: 3, 2: 3})
    work.mkdir(parents=True, exist_ok=True)
    concepts.save(work / "concepts.json")

    def table(side: int) -> dict[str, torch.Tensor]:
        label = torch.arange(pictures) % 3
        pixels = torch.randint(0, 90, (pictures, 3, side, side), generator=random, dtype=torch.uint8)
        pixels[torch.arange(pictures), label] += 150
        scores = torch.randn(pictures, 1000, generator=random)
        scores[torch.arange(pictures), label] += 5
        features = torch.rand(pictures, dim, generator=random)
        validation = torch.arange(pictures) % 8 == 0
        return {
            "pixels": pixels,
            "label": label,
            "validation": validation,
            "features": features.half(),
            "scores": scores.half(),
        }

    small = table(64)
    save_tensors(work / "cifar.safetensors", {key: small[key] for key in ("pixels", "label", "validation")})
    save_tensors(work / "cifar_teacher-000000.safetensors", {key: small[key] for key in ("features", "scores")})
    save_tensors(work / "views-some.safetensors", table(72))
    texts = [name for group in NAMES for name in group] + WORDS[:3] + ["a thing that is red", "the sky is blue"]
    targets = torch.nn.functional.normalize(torch.randn(len(texts), 256, generator=random), dim=1)
    save_json(work / "texts.json", {"texts": texts, "names": len(texts) - 2, "words": WORDS})
    save_tensors(work / "texts.safetensors", {"targets": targets.half()})
