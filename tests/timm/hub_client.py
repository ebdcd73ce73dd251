"""Runs in a process of its own (huggingface_hub reads its environment at import): loads and embeds what it is told to.

``python -m tests.timm.hub_client JOBS.pt OUT.pt``: JOBS holds a list of (name, revision, dtype name, pixels); OUT gets, in the
same order, the embeddings and logits of each, or the error that a user would see.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from modelgraft.contract import ImageBackbone
from modelgraft.errors import ModelgraftError
from modelgraft_timm.plugin import modelgraft_entries, modelgraft_load


def main(jobs: str, out: str) -> None:
    entries = {entry.name: entry for entry in modelgraft_entries()}
    answers: list[dict[str, Any]] = []
    for name, revision, dtype, pixels in torch.load(jobs, weights_only=True):
        started = time.monotonic()
        try:
            backbone = modelgraft_load(
                entries[name].with_revision(revision),
                torch.device("cpu"),
                getattr(torch, dtype) if dtype else None,
            )
        except ModelgraftError as error:
            answers.append({"error": type(error).__name__, "text": str(error), "seconds": time.monotonic() - started})
            continue
        assert isinstance(backbone, ImageBackbone)
        assert not backbone.module.training and backbone.embed_dim == entries[name].embed_dim
        embeddings = backbone.encode_image(pixels)
        assert embeddings.is_inference() and embeddings.dtype == torch.float32
        with torch.inference_mode():
            logits = backbone.module(pixels.to(next(backbone.module.parameters()).dtype))
        answers.append({"embeddings": embeddings.clone(), "logits": logits.float().clone()})
    torch.save(answers, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
