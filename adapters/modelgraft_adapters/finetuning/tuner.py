"""`FineTuner`: a pretrained backbone trained further on a task."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from modelgraft import load, load_head
from modelgraft.errors import UsageError
from modelgraft.registry import device_of
from modelgraft.training import Trainable
from torch import nn

from modelgraft_adapters.adapter import Adapter, Tuned
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint, training_facts
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.examples import class_weights
from modelgraft_adapters.features.embedding import FeatureExtractor
from modelgraft_adapters.finetuning.accelerating import make_accelerator
from modelgraft_adapters.finetuning.augmentation import training_transform
from modelgraft_adapters.finetuning.batches import Batches, PictureItems, TextItems, seed_of
from modelgraft_adapters.finetuning.checkpoint import FILE as CHECKPOINT_FILE
from modelgraft_adapters.finetuning.grafted import Grafted, Seal
from modelgraft_adapters.finetuning.loop import Loop, Progress
from modelgraft_adapters.finetuning.objective import Objective, Units, mixer
from modelgraft_adapters.finetuning.planning import Plan, make_plan
from modelgraft_adapters.finetuning.range_test import RangeTest, range_test
from modelgraft_adapters.finetuning.robust import move
from modelgraft_adapters.finetuning.running import Course, run
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.frozen import FrozenAdapter


class FineTuner(Adapter):
    """A backbone with a linear head, both trained; every known way, pictures or texts, any provider.

    >>> tuner = FineTuner("timm/resnet50", strategy="lp-ft").fit("flowers/")      # doctest: +SKIP
    >>> print(tuner.evaluate("flowers/"))                                         # doctest: +SKIP

    Args:
        model: a name, an entry, or a loaded backbone, of which a copy is trained.
        strategy: see `settings.STRATEGIES`.
        modality: ``image`` or ``text``: which tower of a dual encoder.
        class_weight: as `FrozenAdapter`'s.
        seed: of order, augmentation, dropout and the head.
        device: as `FrozenAdapter`'s.
        folder: where checkpoints go; None keeps none.
        workers: processes that read training items ahead; None is 0 on the CPU, and up to 8 beside an accelerator.
        tell: told after each step (`loop.Progress`).
        settings: as `settings.Settings`.

    Attributes:
        head_, classes_, notes_, extractor: as `FrozenAdapter`'s; the extractor has the trained backbone once it is fitted.
        report_: what was chosen, losses, the held-out part, time.
        tuned_: how the backbone differs from the pretrained one.
        probe_: lp-ft: the adapter on the frozen backbone that it began as.
        start_, end_: what was trained, as it was before the first step and after the last: full name -> tensor, on the CPU.
        alpha_: where the weights are between the two (`robust.move`).

    Raises:
        UsageError: no such model, strategy or setting.
    """

    def __init__(
        self,
        model: Any,
        strategy: str = "lp-ft",
        *,
        modality: Literal["image", "text"] | None = None,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        seed: int = 0,
        device: Any = None,
        folder: str | Path | None = None,
        workers: int | None = None,
        tell: Callable[[Progress], None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, "linear", modality=modality, class_weight=class_weight, seed=seed, device=device)
        self.tuning = Settings.of({"strategy": strategy, **settings})
        self.settings = self.tuning.record()
        self.folder = None if folder is None else Path(folder)
        self.tell = tell
        self._workers = workers
        self.start_: dict[str, torch.Tensor] = {}
        self.end_: dict[str, torch.Tensor] = {}
        self.alpha_ = 1.0
        self.run_: Loop | None = None
        self._fitting: _Ready | None = None
        self.probe_: FrozenAdapter | None = None
        self.plan_: Plan | None = None
        self.course_: Course | None = None

    def fit(self, X: Any, y: Any = None, *, resume: bool = False) -> Self:
        """Train.

        Args:
            X, y: as `FrozenAdapter.fit`'s; a split ``val`` is what ``patience`` looks at.
            resume: go on from the checkpoint in ``folder``.

        Raises:
            UsageError: data that nothing can be learnt from, a model that cannot be trained, a checkpoint of another run.
            ModelgraftError: training failed: the loss is no number, no memory, a frozen weight moved.
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        ready = self._ready(X, y)
        loop, train, grafted = ready.loop, ready.train, ready.grafted
        course = run(
            loop,
            folder=self.folder,
            about=self._about(ready),
            resume=resume,
            judge=None if ready.val is None else lambda: self._judge(ready),
            patience=self.tuning.patience,
            tell=self.tell,
            say=self.notes_.append,
        )
        ready.seal.check(grafted)
        grafted.eval()
        self.model, self.plan_, self.course_ = ready.backbone, loop.plan, course
        self.run_, self._fitting, self.alpha_ = loop, ready, 1.0
        self.end_ = {name: value.detach().cpu().clone() for name, value in loop.live.items()}
        loop.finish()
        self.settle()
        names = sorted(name.removeprefix("body.") for name in loop.live if name.startswith("body."))
        self.tuned_ = Tuned(ready.identity, tuple(names))
        self._extractor = FeatureExtractor(ready.backbone, modality=train.modality, store=False)
        self._report(ready, course)
        self.trained_on_ = training_facts(train, ready.backbone.embed_dim, 0)
        return self if self.tuning.wise is None else move(self, self.tuning.wise)

    def discard_checkpoint(self) -> None:
        """Delete the checkpoint, of a run that is finished and saved."""
        if self.folder is not None:
            (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def find_rate(self, X: Any, y: Any = None) -> RangeTest:
        """A learning rate for these data, by rising it until the loss no longer falls. Nothing is learnt, `fit` begins anew.

        Arguments and errors as `fit`.
        """
        return range_test(self._ready(X, y).loop)

    def _ready(self, X: Any, y: Any) -> _Ready:
        """Everything up to the first step."""
        train, val = self._parts(X, y)
        self.task, self.classes, self.notes_ = train.task, train.classes, list(train.notes)
        self._trained_on, self._data, self.saved_ = frozenset(train.identities), train, None
        start = self._probe(train) if self.tuning.strategy == "lp-ft" else None
        backbone, identity = self._backbone()
        head = nn.Linear(backbone.embed_dim, len(train.classes), device=backbone.device)
        units = Units.of(train.targets) if train.task == "regression" and train.targets is not None else None
        _begin(head, start, units, self.seed)
        grafted = Grafted(backbone, head)
        loop, seal = self._loop(grafted, backbone, train, units)
        # Its weights change while it is looked at: nothing of it may be stored.
        self._extractor = FeatureExtractor(backbone, modality=train.modality, store=False)
        return _Ready(train, val, backbone, identity, grafted, head, units, loop, seal)

    def _parts(self, X: Any, y: Any) -> tuple[Dataset, Dataset | None]:
        """What is trained on, and what ``patience`` looks at."""
        whole = self._read(X, y, None)
        val = whole.part("val") if "val" in whole.split_names else None
        data = check_for_training(self._read(whole, None, "train"))
        data = data.take(data.labelled)
        if self.tuning.patience is None:
            return data, None
        if val is not None and val.labelled.any():
            return data, val.take(val.labelled)
        parted = stratified_split(replace(data, split=None), self.tuning.held_out, self.seed)
        return check_for_training(parted).train, parted.test

    def _probe(self, train: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
        """lp-ft: the exact head on the frozen features."""
        options = {key: self.extractor_options[key] for key in ("modality", "device")}
        self.probe_ = probe = FrozenAdapter(
            self.model, "linear", class_weight=self.class_weight, seed=self.seed, dtype="float32", **options
        ).fit(train)
        self.notes_ += probe.notes_
        assert probe.head_ is not None
        tensors, _ = probe.head_.state()
        return tensors["weight"], tensors["bias"]

    def _backbone(self) -> tuple[Any, Mapping[str, Any]]:
        """A backbone of one's own in float32, and the identity of the pretrained one."""
        source = FeatureExtractor(
            self.model, modality=self.extractor_options["modality"], device=self._device, store=False
        )
        backbone = source.backbone if isinstance(self.model, str) or not hasattr(self.model, "module") else None
        if backbone is None:
            backbone = copy.deepcopy(self.model)
        elif next(backbone.module.parameters()).dtype != torch.float32:
            backbone = load(source.entry, device=source.device, dtype=torch.float32)
        if not isinstance(backbone, Trainable):
            raise UsageError(f"{source.entry.name} cannot be trained further: its plugin has no blocks() and embed()")
        if self.tuning.strategy == "scratch":
            backbone.randomise(self.seed)
        return backbone, source.card

    @property
    def _device(self) -> torch.device:
        if "LOCAL_RANK" in os.environ and self.extractor_options["device"] is None:
            device = device_of(None)
            return torch.device(device.type, int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device
        return device_of(self.extractor_options["device"])

    def _loop(self, grafted: Grafted, backbone: Any, train: Dataset, units: Units | None) -> tuple[Loop, Seal]:
        settings, picture = self.tuning, train.modality == "image"
        if not picture and (settings.mixup or settings.cutmix):
            raise UsageError("mixup and cutmix mix pictures, and these are texts")
        if train.task != "single-label" and (settings.mixup or settings.cutmix):
            raise UsageError(f"mixup and cutmix mix the classes of single-label data, and these are {train.task}")
        plan = make_plan(grafted.body, backbone.blocks(train.modality), grafted.head, settings)
        if settings.recompute and not backbone.recompute(True):
            self.notes_.append("the model cannot compute activations again; recompute is left out")
        if settings.channels_last:
            grafted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        grafted.open(plan)
        grafted.train_by(settings.norms_in_eval)
        seal = Seal(grafted)
        self.start_ = {name: value.detach().cpu().clone() for name, value in grafted.live().items()}
        accelerator = make_accelerator(backbone.device, settings.precision)
        size = settings.items_of_step(len(train))
        if size % accelerator.num_processes:
            raise UsageError(f"{size} items of a step cannot be shared by {accelerator.num_processes} processes alike")
        read: Any = (
            PictureItems(train.items, training_transform(backbone, settings.augment), self.seed)
            if picture
            else TextItems(train.items, backbone.token_batch)
        )
        workers = self._workers if self._workers is not None else _workers(backbone.device, picture)
        batches = Batches(read, size, self.seed, accelerator.process_index, accelerator.num_processes, workers)
        weights = class_weights(train, self.class_weight)
        objective = Objective(
            train.task,
            None if weights is None else torch.from_numpy(weights).to(backbone.device),
            settings.label_smoothing,
        )
        assert train.targets is not None
        targets = torch.from_numpy(train.targets)
        targets = targets if units is None else units.apply(targets)
        mix = mixer(settings.mixup, settings.cutmix, len(train.classes))
        steps = settings.total_steps(len(train))
        return Loop(grafted, plan, settings, steps, objective, batches, targets, mix, accelerator), seal

    def _judge(self, ready: _Ready) -> tuple[float, float]:
        """(main score, log loss or error) on the held-out part."""
        assert ready.val is not None
        ready.grafted.eval()
        self._settle(ready)
        result = self.evaluate_features(self.extractor.embed(ready.val.items), ready.val, resamples=2)
        ready.grafted.train_by(self.tuning.norms_in_eval)
        named = {score.name: score.value for score in result.scores}
        loss = named.get("log loss", named.get("mean absolute error", -result.score.value))
        return result.score.value, loss

    def settle(self, alpha: float = 1.0) -> None:
        """The weights as they are now are what predicts. ``alpha`` says where they are between start and end."""
        assert self._fitting is not None
        self._fitting.grafted.eval()
        self.alpha_ = alpha
        self._settle(self._fitting)

    def _settle(self, ready: _Ready) -> None:
        """The head as it is now, as the head that predicts."""
        weight, bias = (value.detach().float().cpu() for value in (ready.head.weight, ready.head.bias))
        if ready.units is not None:
            weight, bias = ready.units.undo(weight, bias)
        found = {"chosen": self.tuning.record(), "notes": []}
        state = {"weight": weight.clone(), "bias": bias.clone()}
        self.head_ = load_head("linear").restore(state, {"task": self.task, "found": found}).to(self._head_device)

    def _about(self, ready: _Ready) -> dict[str, Any]:
        """What a checkpoint belongs to."""
        return {
            "model": ready.identity["model"],
            "weights": ready.identity["weights"],
            "data": fingerprint(ready.train),
            "classes": list(self.classes),
            "settings": self.tuning.record(),
            "steps": ready.loop.steps,
            "seed": self.seed,
            "class_weight": self.class_weight
            if not isinstance(self.class_weight, Mapping)
            else dict(self.class_weight),
        }

    def _report(self, ready: _Ready, course: Course) -> None:
        loop, train = ready.loop, ready.train
        trained = sum(p.numel() for p in ready.grafted.parameters() if p.requires_grad)
        broken = [f"{train.identity(n)}: {why}" for n, why in loop.done.broken.items()]
        if broken:
            self.notes_.append(
                f"{len(broken)} of {len(train)} items could not be read and are left out; the first: {broken[0]}"
            )
        self.notes_ += loop.done.notes
        self.report_ = {
            "chosen": {**self.tuning.record(), "lr": self.tuning.highest_rate, "steps": loop.done.step},
            "losses": [round(loss, 6) for loss in loop.done.losses],
            "held_out": [{"step": h.step, "score": h.score, "loss": h.loss} for h in course.held],
            "best_step": course.best.step if course.best else None,
            "stopped_early": course.stopped_early,
            "trained_parameters": trained,
            "frozen_tensors": ready.seal.count,
            "seconds": round(course.seconds, 3),
            "unreadable": len(broken),
            "notes": [],
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A run before its first step."""

    train: Dataset
    val: Dataset | None
    """The held-out part, where ``patience`` asks for one."""
    backbone: Any
    identity: Mapping[str, Any]
    grafted: Grafted
    head: nn.Linear
    units: Units | None
    loop: Loop
    seal: Seal


def _begin(head: nn.Linear, start: tuple[torch.Tensor, torch.Tensor] | None, units: Units | None, seed: int) -> None:
    """The head before the first step: the probe, or small random weights."""
    with torch.no_grad():
        if start is not None:
            weight, bias = start if units is None else units.enter(*start)
            head.weight.copy_(weight)
            head.bias.copy_(bias)
            return
        drawn = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed_of(seed, 7)))
        head.weight.copy_(0.01 * drawn)
        head.bias.zero_()


def _workers(device: torch.device, picture: bool) -> int:
    if device.type == "cpu" or not picture:
        return 0  # the model needs every core, and tokenising is quick
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
