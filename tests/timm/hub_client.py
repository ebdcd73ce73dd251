"""Runs in a process of its own (huggingface_hub reads its environment at import): loads and embeds what it is told to.

``python -m tests.timm.hub_client JOBS.pt OUT.pt``: JOBS holds a list of (name, revision, dtype name, pixels); OUT gets, in the
same order, the embeddings and logits of each, or the error that a user would see.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import modelgraft
import torch
from modelgraft.contract import ImageBackbone
from modelgraft.errors import ModelgraftError


def main(jobs: str, out: str) -> None:
    answers: list[dict[str, Any]] = []
    for name, revision, dtype, pixels in torch.load(jobs, weights_only=True):
        started = time.monotonic()
        try:
            backbone = modelgraft.load(f"{name}@{revision}" if revision else name, device="cpu", dtype=dtype)
        except ModelgraftError as error:
            answers.append({"error": type(error).__name__, "text": str(error), "seconds": time.monotonic() - started})
            continue
        assert isinstance(backbone, ImageBackbone)
        assert not backbone.module.training and backbone.embed_dim == modelgraft.resolve(name).embed_dim
        embeddings = backbone.encode_image(pixels)
        assert embeddings.is_inference() and embeddings.dtype == torch.float32
        with torch.inference_mode():
            logits = backbone.module(pixels.to(next(backbone.module.parameters()).dtype))
        answers.append({"embeddings": embeddings.clone(), "logits": logits.float().clone()})
    torch.save(answers, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
