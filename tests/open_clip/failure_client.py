"""Runs in a process of its own: publishes what it is told to, then loads models by name.

``python -m tests.open_clip.failure_client ROOT JOBS.json`` prints a JSON line per job ``{name, dtype}``: an error as a user
sees it, or a few figures of what was loaded. Models are those of `zoo`, two layers a tower.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import modelgraft
import torch
from modelgraft.errors import ModelgraftError

from tests.open_clip.zoo import publish, shrink


def attempt(job: dict[str, Any]) -> dict[str, Any]:
    try:
        backbone: Any = modelgraft.load(job["name"], device="cpu", dtype=job.get("dtype"))
    except ModelgraftError as error:
        return {"error": type(error).__name__, "text": str(error)}
    height, width = backbone.entry.input_size[1:]
    pixels = torch.linspace(-1, 1, 3 * height * width).reshape(1, 3, height, width)
    return {
        "image": backbone.encode_image(pixels)[0, :4].tolist(),
        "text": backbone.encode_text(["a cat"])[0, :4].tolist(),
    }


def main(root: str, jobs: str) -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as configs:
        for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
            entry = modelgraft.resolve(job["name"])
            shrink(str(entry.loader["model"]), Path(configs))
            if job.get("publish"):
                publish(Path(root), entry, small=True)
            print(json.dumps(attempt(job)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
