"""A run on disk, so that it goes on after an interruption: one file, whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.opening import find
from modelgraft.paths import sweep
from modelgraft.sealed import sealed_reader, sealed_writer

from modelgraft_adapters.finetuning.loop import Loop, Progressed

FILE: Final = "checkpoint.pt"
FORMAT: Final = 3


def save_checkpoint(path: Path, loop: Loop, about: dict[str, Any], best: dict[str, Any] | None) -> None:
    """Write all that the rest of the run depends on: what is trained, the optimizer, the average, the best so far.

    Args:
        about: what the run is of (data, model, settings), which one that resumes must match.
    """
    content = {
        "format": FORMAT,
        "about": json.dumps(about, sort_keys=True),
        "done": asdict(loop.done),
        "live": {name: value.detach() for name, value in loop.live.items()},
        "optimizer": loop.optimizer.state_dict(),
        "scaler": loop.accelerator.scaler.state_dict() if loop.accelerator.scaler else None,
        "average": loop.average.values if loop.average else None,
        "best": best,
        "passing": loop.grafted.passing(),
    }
    try:
        with sealed_writer(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch says in words of its own that a write failed
        failed = find(error, OSError)
        if not isinstance(failed, OSError):
            raise
        raise ModelgraftError(f"the checkpoint {path} cannot be written: {failed.strerror or failed}") from None
    sweep(path)  # half a checkpoint of a process that was killed may be gigabytes


def load_checkpoint(path: Path, loop: Loop, about: dict[str, Any]) -> dict[str, Any] | None:
    """Put a run back to where its checkpoint is; the best so far.

    Raises:
        UsageError: there is none, or it is of another run: other data, model or settings.
        ModelgraftError: it is damaged.
    """
    if not path.exists():
        raise UsageError(f"there is nothing to resume: {path} does not exist")
    try:
        with sealed_reader(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        then = json.loads(content["about"])
    except Exception as error:  # damaged, or torch.load's: it raises anything on what is no checkpoint
        raise ModelgraftError(
            f"{path} is no whole checkpoint ({type(error).__name__}); begin anew without resume"
        ) from None
    if content["format"] != FORMAT:
        raise ModelgraftError(f"{path} was written by another version of modelgraft; begin anew without resume")
    now = json.loads(json.dumps(about, sort_keys=True))
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            raise UsageError(
                f"{path} is of another run: its {key} is {_short(then.get(key))}, and here it is {_short(now.get(key))}; give the "
                "same, or another folder"
            )
    with torch.no_grad():
        for name, value in loop.live.items():
            value.copy_(content["live"][name])
        for name, value in loop.grafted.passing().items():
            if name in content["passing"] and content["passing"][name].shape == value.shape:
                value.copy_(content["passing"][name])
    loop.optimizer.load_state_dict(content["optimizer"])
    if content["scaler"] is not None and loop.accelerator.scaler:
        loop.accelerator.scaler.load_state_dict(content["scaler"])
    if loop.average is not None:
        loop.average.values = {n: v.to(loop.live[n].device) for n, v in content["average"].items()}
    loop.done = Progressed(**content["done"])
    best: dict[str, Any] | None = content["best"]
    return best


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def discard(folder: Path) -> None:
    """Delete the checkpoint in a folder, of a run that is finished and saved."""
    (folder / FILE).unlink(missing_ok=True)
