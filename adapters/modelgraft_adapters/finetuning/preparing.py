"""Everything of a run up to its first step: a backbone of its own, the plan, the seal on what is frozen, the loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from modelgraft import load
from modelgraft.devices import device_of
from modelgraft.errors import UsageError
from modelgraft.training import Trainable

from modelgraft_adapters.features.embedding import FeatureExtractor
from modelgraft_adapters.finetuning.accelerating import make_accelerator
from modelgraft_adapters.finetuning.batches import Batches
from modelgraft_adapters.finetuning.grafted import Seal
from modelgraft_adapters.finetuning.loop import Loop
from modelgraft_adapters.finetuning.planning import make_plan
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.finetuning.ways import Way
from modelgraft_adapters.low_rank import LowRankChange


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A run before its first step."""

    way: Way
    loop: Loop
    seal: Seal
    start: dict[str, torch.Tensor]
    """What will have moved, as it is now, by full name, on the CPU."""


def own_backbone(
    model: Any, modality: Any, device: Any, settings: Settings, seed: int
) -> tuple[Any, Mapping[str, Any]]:
    """A backbone of one's own in float32, and the identity of the pretrained one.

    Args:
        model: a name, an entry, or a loaded backbone, of which a copy is made.

    Raises:
        UsageError: no such model, or one that cannot be trained.
    """
    source = FeatureExtractor(model, modality=modality, device=device_here(device), store=False)
    if hasattr(model, "module"):
        backbone = copy.deepcopy(model)
        backbone.module.float()
    else:
        backbone = source.backbone
        if next(backbone.module.parameters()).dtype != torch.float32:
            backbone = load(source.entry, device=source.device, dtype=torch.float32)
    if not isinstance(backbone, Trainable):
        raise UsageError(f"{source.entry.name} cannot be trained further: its plugin has no blocks() and embed()")
    if settings.strategy == "scratch":
        backbone.randomise(seed)
    return backbone, source.card


def prepare(
    backbone: Any,
    way: Way,
    before: Mapping[str, torch.Tensor],
    settings: Settings,
    seed: int,
    modality: str,
    workers: int | None,
    notes: list[str],
) -> Ready:
    """The loop over a way, nothing trained yet.

    Args:
        before: the module's parameters by name, as they were before the way changed its structure.
        notes: lines for the user go here.

    Raises:
        UsageError: nothing to train, or settings that cannot be on this device.
    """
    grafted = way.grafted
    plan = make_plan(grafted.body, way.blocks, grafted.head, settings)
    if settings.recompute and not backbone.recompute(True):
        notes.append("the model cannot compute activations again; recompute is left out")
    if settings.channels_last:
        grafted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    grafted.open(plan)
    grafted.train_by(settings.norms_in_eval)
    seal = Seal(grafted)
    accelerator = make_accelerator(backbone.device, settings.precision)
    count = len(way.items.items)
    size = settings.items_of_step(count)
    if size % accelerator.num_processes:
        raise UsageError(f"{size} items of a step cannot be shared by {accelerator.num_processes} processes alike")
    workers = workers if workers is not None else _workers(backbone.device, modality)
    batches = Batches(way.items, size, seed, accelerator.process_index, accelerator.num_processes, workers)
    steps = settings.total_steps(count)
    loop = Loop(grafted, plan, settings, steps, way.goal, batches, way.targets, way.mix, accelerator)
    moving = (
        loop.live
        if way.low is None
        else {f"body.{name}": before[name] for name in way.low.base_names}
        | {name: value for name, value in loop.live.items() if name.startswith("head.")}
    )
    start = {name: value.detach().cpu().clone() for name, value in moving.items()}
    return Ready(way, loop, seal, start)


def merge(ready: Ready) -> dict[str, LowRankChange]:
    """lora and dora: the low-rank matrices into the weights; from then on the weights are what is live.

    Returns:
        what was added, by the weights' names in the backbone's module; of other strategies nothing.
    """
    if ready.way.low is None:
        return {}
    body = ready.way.grafted.body
    added = ready.way.low.merge(body)
    held = dict(body.named_parameters())
    ready.loop.live = {
        name: held[name.removeprefix("body.")] if name.startswith("body.") else ready.loop.live[name]
        for name in ready.start
    }
    return added


def device_here(given: Any) -> torch.device:
    """The device of this process: under ``accelerate launch`` or torchrun each has its own."""
    if "LOCAL_RANK" in os.environ and given is None:
        device = device_of(None)
        return torch.device(device.type, int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device
    return device_of(given)


def _workers(device: torch.device, modality: str) -> int:
    if device.type == "cpu" or modality != "image":
        return 0  # the model needs every core, and tokenising is quick
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
