"""Everything of a run up to its first step: a backbone of its own, the plan, the seal on what is frozen, the loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from modelgraft import Entry, load
from modelgraft.devices import device_of
from modelgraft.errors import UnreadableItemError, UsageError
from modelgraft.guard import plugin_code

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.finetuning.accelerator import make_accelerator
from modelgraft_adapters.finetuning.batches import Batches
from modelgraft_adapters.finetuning.loop import PARTS_DIFFER, Loop
from modelgraft_adapters.finetuning.methods import Way
from modelgraft_adapters.finetuning.model import Passing, Seal
from modelgraft_adapters.finetuning.parameter_groups import make_plan
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.media.texts import reason_against
from modelgraft_adapters.saved.low_rank import LowRankChange

_TRIED: Final = 20
"""Training items that are tried for two that can be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A run before its first step."""

    way: Way
    loop: Loop
    seal: Seal
    start: dict[str, torch.Tensor]
    """What will have moved, as it is now, by full name, on the CPU."""
    passing: Passing

    def trained_names(self) -> tuple[str, ...]:
        """Of the body, once trained and merged: the tensors by which it differs from the pretrained one."""
        live = {name.removeprefix("body.") for name in self.loop.live if name.startswith("body.")}
        return tuple(sorted(live | set(self.passing.moved(self.way.grafted))))


def own_backbone(
    model: Any, train: Dataset, device: Any, settings: Settings, seed: int
) -> tuple[Any, Mapping[str, Any]]:
    """A backbone of one's own in float32, tried on two of the training items, and the identity of the pretrained one.

    Args:
        model: a name, an entry, or a loaded backbone, of which a copy is made: it is never changed itself.

    Raises:
        UsageError: no such model, or one that cannot be trained.
        PluginError: its plugin gives other embeddings for training than for predicting, or fails.
    """
    given = check_model(model)
    if given:
        plugin_calls.check_trainable(model, train.modality)
        if model.module.training:
            raise UsageError(
                f"the loaded backbone of {model.entry.name} is in train mode, in which its embeddings differ from call to "
                "call; put it into eval mode (backbone.module.eval())"
            )
    source = FeatureExtractor(model, modality=train.modality, device=device_here(device), store=False)
    if given:
        with plugin_code(plugin_calls.owner(model), f"copying {model.entry.name}"):
            backbone = copy.deepcopy(model)
            backbone.module.float()
    else:
        backbone = source.backbone
        plugin_calls.check_trainable(backbone, train.modality)
        if any(p.is_floating_point() and p.dtype != torch.float32 for p in backbone.module.parameters()):
            backbone = load(source.entry, device=source.device, dtype=torch.float32)
    if settings.strategy == "scratch":
        plugin_calls.randomise(backbone, seed)
    if some := _readable(backbone, train):
        plugin_calls.check_embedding(backbone, some)
    return backbone, source.card


def check_model(model: Any) -> bool:
    """Whether a model is a loaded backbone.

    Raises:
        UsageError: it is nothing that can be trained.
    """
    if isinstance(model, (str, Entry)):
        return False
    if hasattr(model, "module") and isinstance(getattr(model, "entry", None), Entry):
        return True
    kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
    raise UsageError(
        f"model is {kind}; fine-tuning takes the name of a model, an entry, or a backbone that modelgraft.load gave"
    )


def reading_notes(backbone: Any, train: Dataset) -> list[str]:
    """What a user should know of how all texts to train on are read: how many are cut, and where. Of images nothing."""
    if train.modality != "text":
        return []
    texts = [item for item in train.items if reason_against(item) is None]
    return [f"of the texts to train on: {note}" for note in plugin_calls.text_notes(backbone, texts)] if texts else []


def _readable(backbone: Any, train: Dataset) -> list[Any]:
    """The first two training items as the backbone reads them; fewer where few can be read or are of one shape."""
    found: list[Any] = []
    for item in train.items[:_TRIED]:
        if train.modality == "text":
            if reason_against(item) is None:
                found.append(item)
        else:
            try:
                pixels = plugin_calls.preprocess(backbone, read_image(item)[0])
            except UnreadableItemError:
                continue
            if not found or pixels.shape == found[0].shape:
                found.append(pixels)
        if len(found) == 2:
            break
    return found


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
    if settings.recompute and not plugin_calls.recompute(backbone):
        notes.append("the model cannot compute activations again; recompute is left out")
    if settings.channels_last:
        grafted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    grafted.open(plan)
    grafted.train_by(settings.norms_in_eval)
    if settings.accumulate > 1 and grafted.by_batch():
        notes.append(PARTS_DIFFER)
    seal, passing = Seal(grafted), Passing(grafted)
    accelerator = make_accelerator(backbone.device, settings.precision, grafted)
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
    return Ready(way, loop, seal, start, passing)


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
