"""What training is for both tuners: from a model and a way to weights that are trained, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.head_inputs import checked_seed
from modelgraft_adapters.finetuning.loop import Loop, Progress
from modelgraft_adapters.finetuning.methods import Way
from modelgraft_adapters.finetuning.run import Course, run
from modelgraft_adapters.finetuning.settings import Settings, settings_of
from modelgraft_adapters.finetuning.setup import Ready, merge, own_backbone, prepare, reading_notes
from modelgraft_adapters.finetuning.weight_averaging import move
from modelgraft_adapters.saved.low_rank import LowRankChange


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A run before its first step."""

    backbone: Any
    """The tuner's own."""
    identity: Mapping[str, Any]
    """Of the pretrained backbone."""
    ready: Ready


class Trunk:
    """What `FineTuner` and `MultiTaskTuner` have in common; a mixin of both.

    A tuner's ``fit`` calls `_begun`, `_trained` and, once its adapters are made, `_finish`.
    """

    model: Any
    seed: int | None
    folder: str | Path | None
    workers: int | None
    tell: Callable[[Progress], None] | None
    report_: dict[str, Any]
    notes_: list[str]
    start_: Mapping[str, torch.Tensor] = MappingProxyType({})
    end_: Mapping[str, torch.Tensor] = MappingProxyType({})
    alpha_: float = 1.0
    run_: Loop | None = None
    _changes: Mapping[str, LowRankChange] = MappingProxyType({})

    @property
    def tuning(self) -> Settings:
        """The settings of training, checked."""
        return settings_of(self)

    def settle(self, alpha: float = 1.0) -> None:
        """Take the weights as they are now for what predicts. What was measured on those before is dropped.

        Args:
            alpha: where they are between start and end.
        """
        raise NotImplementedError

    def _begun(self, train: Dataset, device: Any, make_way: Callable[[Any], Way]) -> Begun:
        """Make everything up to the first step.

        Args:
            train: what is trained on; of several tasks the first.
            device: see `setup.own_backbone`.
            make_way: given the backbone, how it is trained. torch's random numbers are afterwards as they were.

        Raises:
            UsageError: a model that cannot be trained, nothing to train, or settings that cannot be on this device.
        """
        seed = checked_seed(self.seed)
        backbone, identity = own_backbone(self.model, train, device, self.tuning, seed)
        self.notes_ += reading_notes(backbone, train)
        before = dict(backbone.module.named_parameters())
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made, which are then replaced
            way = make_way(backbone)
        ready = prepare(backbone, way, before, self.tuning, seed, train.modality, self.workers, self.notes_)
        return Begun(backbone, identity, ready)

    def _trained(
        self,
        begun: Begun,
        train: Dataset,
        about: Callable[[], dict[str, Any]],
        *,
        resume: bool,
        judge: Callable[[], tuple[float | None, float]] | None = None,
    ) -> Course:
        """Take the steps; afterwards the weights are whole and trained, and the report is there.

        Args:
            train: what unreadable items are named by.
            about: what a checkpoint belongs to; asked where one is kept.
            judge: see `run.run`.

        Raises:
            ModelgraftError: training failed, or a frozen weight moved.
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        ready = begun.ready
        loop = ready.loop
        course = run(
            loop,
            folder=None if self.folder is None else Path(self.folder),
            about={} if self.folder is None else about(),
            resume=resume,
            judge=judge,
            patience=self.tuning.patience,
            tell=self.tell,
            say=self.notes_.append,
        )
        ready.seal.check(ready.way.grafted)
        self.report_ = self._reported(ready, course, train)
        self._changes = merge(ready)
        self.run_, self.start_ = loop, ready.start
        self.end_ = {name: value.detach().cpu().clone() for name, value in loop.live.items()}
        loop.finish()
        return course

    def _finish(self) -> None:
        """Take the weights over for what predicts; with the setting ``wise`` those between start and end."""
        self.settle()
        if self.tuning.wise is not None:
            move(self, self.tuning.wise)

    def _reported(self, ready: Ready, course: Course, train: Dataset) -> dict[str, Any]:
        """Return what became of a run; lines for the user go to ``notes_``."""
        done = ready.loop.done
        broken = [f"{train.identity(n)}: {why}" for n, why in done.broken.items()]
        if broken:
            self.notes_.append(
                f"{len(broken)} of {len(train)} items could not be read and are left out; the first: {broken[0]}"
            )
        self.notes_ = list(dict.fromkeys([*self.notes_, *done.notes, *ready.way.notes()]))
        mixed = ready.loop.accelerator.mixed_precision
        return {
            "chosen": {**self.tuning.record(), "lr": self.tuning.highest_rate, "steps": done.step},
            "losses": [round(loss, 6) for loss in done.losses],
            "precision": "fp32" if mixed == "no" else mixed,
            "trained_parameters": sum(p.numel() for p in ready.way.grafted.parameters() if p.requires_grad),
            "frozen_tensors": ready.seal.count,
            "seconds": round(course.seconds, 3),
            "unreadable": len(broken),
            "notes": [],
        }
