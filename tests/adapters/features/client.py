"""Runs in a process of its own: embeds items and notes every item that goes through the model.

``python -m tests.adapters.features.client MODALITY ITEMS.json NOTED OUT.npy [SECONDS]``: NOTED gets a line of digests for each
forward pass, before it; SECONDS are waited after it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelgraft import load
from modelgraft_adapters.features.extractor import Embedded, FeatureExtractor

BATCH = 16


def counting(noted: Path, seconds: float) -> Any:
    """The embedded model, which notes what it is given."""
    backbone: Any = load("embedded/sprig", device="cpu")

    def note(each: list[bytes]) -> None:
        with noted.open("a") as file:
            file.write(" ".join(hashlib.sha256(item).hexdigest()[:16] for item in each) + "\n")

    encode_image, encode_text = backbone.encode_image, backbone.encode_text

    def image(pixels: torch.Tensor) -> torch.Tensor:
        note([row.numpy().tobytes() for row in pixels])
        found = encode_image(pixels)
        time.sleep(seconds)
        return found

    def text(texts: list[str]) -> torch.Tensor:
        note([text.encode() for text in texts])
        found = encode_text(texts)
        time.sleep(seconds)
        return found

    backbone.encode_image, backbone.encode_text = image, text
    return backbone


def main(modality: str, items: str, noted: str, out: str, seconds: str = "0") -> None:
    torch.set_num_threads(1)
    found = embed(modality, Path(items), Path(noted), float(seconds))
    np.save(out, found.features)


def embed(modality: Any, items: Path, noted: Path, seconds: float = 0) -> Embedded:
    """What the process does."""
    extractor = FeatureExtractor(counting(noted, seconds), modality=modality, batch_size=BATCH, workers=2)
    return extractor.embed(json.loads(items.read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
