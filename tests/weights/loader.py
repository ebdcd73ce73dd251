"""A process that has torch and timm ready, and forks once for every model it is told to load: what a user's program would do.

``python -m tests.weights.loader`` reads a JSON line per job and answers each with one:

- ``{"publish": NAME, "folder": DIR, "seed": N}``: a timm model with random weights as ``DIR/model.safetensors``; the answer is
  the embedding of `pixels` as timm itself computes it;
- ``{"load": NAME, "verified": true}``: `modelgraft.load` in a fork, and the embedding; or the error that a user would see.

Where the hub client keeps its cache is read at import and so is the same for every job: `tests.weights.bench` moves the folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import modelgraft
import modelgraft_timm.backbone  # noqa: F401 -- both ready before the fork
import timm
import torch
from modelgraft.errors import ModelgraftError
from modelgraft.weights import verifying
from modelgraft_timm.names import timm_name
from safetensors.torch import save_file


def pixels(size: tuple[int, int, int]) -> torch.Tensor:
    """One image, the same every time."""
    return torch.linspace(-2, 2, size[0] * size[1] * size[2]).sin().reshape(1, *size)


def publish(name: str, folder: Path, seed: int) -> dict[str, Any]:
    entry = modelgraft.resolve(name)
    assert entry.input_size is not None
    torch.manual_seed(seed)
    model: Any = timm.create_model(timm_name(entry)).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor + 0.05 * torch.rand_like(tensor))
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    with torch.inference_mode():
        features = model.forward_head(model.forward_features(pixels(entry.input_size)), pre_logits=True)
    return {"embedding": features[0].tolist()}


def load(name: str) -> dict[str, Any]:
    try:
        backbone: Any = modelgraft.load(name, device="cpu")
        return {"embedding": backbone.encode_image(pixels(backbone.entry.input_size))[0].tolist()}
    except ModelgraftError as error:
        return {"error": type(error).__name__, "text": str(error)}
    except Exception as error:  # what no user should see; the test says so
        return {"error": type(error).__name__, "text": f"not on purpose: {error}"}


def main() -> None:
    torch.set_num_threads(1)  # and so no threads that a fork would lose
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    for line in sys.stdin:
        job = json.loads(line)
        if "publish" in job:
            answer = publish(job["publish"], Path(job["folder"]), job["seed"])
        else:
            answer = in_a_fork(job["load"], job["verified"])
        print(json.dumps(answer), file=answers, flush=True)


def in_a_fork(name: str, verified: bool) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if not verified:
                verifying.fault = lambda *given, **how: None
            os.write(write, json.dumps(load(name)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"error": "crash", "text": "the process that loaded it died"}


if __name__ == "__main__":
    main()
