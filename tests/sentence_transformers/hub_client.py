"""Runs in a process of its own (huggingface_hub reads its environment at import): loads models by name and embeds texts.

``python -m tests.sentence_transformers.hub_client JOBS.json OUT.pt``: JOBS holds a list of {name, texts, dtype}; OUT gets, in
the same order, what the backbone gives for each, or the error that a user would see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import modelgraft
import torch
from modelgraft.contract import ImageBackbone, TextBackbone
from modelgraft.errors import ModelgraftError


def main(jobs: str, out: str) -> None:
    answers: list[dict[str, Any]] = []
    for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
        try:
            backbone = modelgraft.load(job["name"], device="cpu", dtype=job.get("dtype"))
        except ModelgraftError as error:
            answers.append({"error": type(error).__name__, "text": str(error)})
            continue
        assert isinstance(backbone, TextBackbone) and not isinstance(backbone, ImageBackbone)
        assert not backbone.module.training
        embeddings = backbone.encode_text(job["texts"])
        rule = backbone.score_rule()
        answers.append(
            {
                "embeddings": embeddings.clone(),
                "notes": backbone.text_notes(job["texts"]),
                "embed_dim": backbone.embed_dim,
                "params": sum(p.numel() for p in backbone.module.parameters()),
                "dtype": str(next(backbone.module.parameters()).dtype),
                "rule": (rule.kind, rule.scale, rule.bias),
            }
        )
    torch.save(answers, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
