"""`FineTuner`: a pretrained backbone trained further on a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from modelgraft.guard import prints_aside

from modelgraft_adapters.adapter import Adapter, Tuned
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint, training_facts
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.examples import head_spec
from modelgraft_adapters.features.embedding import FeatureExtractor
from modelgraft_adapters.finetuning.loop import Loop, Progress
from modelgraft_adapters.finetuning.planning import Plan
from modelgraft_adapters.finetuning.preparing import Ready, merge, own_backbone, prepare
from modelgraft_adapters.finetuning.range_test import RangeTest, range_test
from modelgraft_adapters.finetuning.robust import move
from modelgraft_adapters.finetuning.running import Course, run
from modelgraft_adapters.finetuning.settings import Settings
from modelgraft_adapters.finetuning.ways import Given, Way, make_way
from modelgraft_adapters.frozen import FrozenAdapter
from modelgraft_adapters.low_rank import LowRankChange


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A run before its first step, and what it is of."""

    train: Dataset
    val: Dataset | None
    """The held-out part, where ``patience`` asks for one."""
    unlabelled: int
    backbone: Any
    identity: Mapping[str, Any]
    """Of the pretrained backbone."""
    ready: Ready


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
        self._way: Way | None = None
        self._changes: dict[str, LowRankChange] = {}
        self.probe_: FrozenAdapter | None = None
        self.plan_: Plan | None = None
        self.course_: Course | None = None

    @prints_aside()
    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None, groups: Any = None, resume: bool = False) -> Self:
        """Train.

        Args:
            X, y: as `FrozenAdapter.fit`'s; a split ``val`` is what ``patience`` looks at.
            groups: as `FrozenAdapter.fit`'s; kept on one side of the part held out for ``patience``.
            unlabelled: pictures, or data of which the labels are not looked at, to learn from too (settings ``semi...``).
            resume: go on from the checkpoint in ``folder``.

        Raises:
            UsageError: data that nothing can be learnt from, a model that cannot be trained, a checkpoint of another run.
            ModelgraftError: training failed: the loss is no number, no memory, a frozen weight moved.
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        begun = self._begin(X, y, unlabelled, groups)
        ready, train, val, backbone = begun.ready, begun.train, begun.val, begun.backbone
        loop, way = ready.loop, ready.way
        course = run(
            loop,
            folder=self.folder,
            about=self._about(begun),
            resume=resume,
            judge=None if val is None else lambda: self._judge(way, val),
            patience=self.tuning.patience,
            tell=self.tell,
            say=self.notes_.append,
        )
        ready.seal.check(way.grafted)
        self._report(ready, course, train)
        self._changes = merge(ready)
        self.model, self.plan_, self.course_ = backbone, loop.plan, course
        self.run_, self._way = loop, way
        self.start_ = ready.start
        self.end_ = {name: value.detach().cpu().clone() for name, value in loop.live.items()}
        loop.finish()
        names = sorted(name.removeprefix("body.") for name in loop.live if name.startswith("body."))
        self.tuned_ = Tuned(begun.identity, tuple(names))
        self.settle()
        self._extractor = FeatureExtractor(backbone, modality=train.modality, store=False)
        self.trained_on_ = training_facts(train, backbone.embed_dim, begun.unlabelled)
        if self.tuning.wise is not None:
            move(self, self.tuning.wise)
        return self

    def find_rate(self, X: Any, y: Any = None, *, unlabelled: Any = None) -> RangeTest:
        """A learning rate for these data, by rising it until the loss no longer falls. Nothing is learnt, `fit` begins anew.

        Arguments and errors as `fit`.
        """
        return range_test(self._begin(X, y, unlabelled).ready.loop)

    def settle(self, alpha: float = 1.0) -> None:
        """The weights as they are now are what predicts. ``alpha`` says where they are between start and end."""
        assert self._way is not None
        assert self.tuned_ is not None
        self.alpha_ = alpha
        self.tuned_ = replace(self.tuned_, changes=self._changes if alpha == 1 else {})
        self._settle(self._way)

    def _begin(self, X: Any, y: Any, unlabelled: Any, groups: Any = None) -> _Begun:
        """Everything up to the first step."""
        train, val = self._parts(X, y, groups)
        self.task, self.classes, self.notes_ = train.task, train.classes, list(train.notes)
        self._trained_on, self._data, self.saved_ = train.places, train, None
        more = None if unlabelled is None else self._read(unlabelled, None, "unlabelled")
        start = self._probe(train) if self.tuning.strategy == "lp-ft" else None
        modality, device = self.extractor_options["modality"], self.extractor_options["device"]
        backbone, identity = own_backbone(self.model, modality, device, self.tuning, self.seed)
        before = dict(backbone.module.named_parameters())
        way = make_way(Given(backbone, train, self.tuning, self.seed, self.class_weight, start, more))
        ready = prepare(backbone, way, before, self.tuning, self.seed, train.modality, self._workers, self.notes_)
        self.spec = head_spec(way.head)
        # Its weights change while it is looked at: nothing of it may be stored.
        self._extractor = FeatureExtractor(backbone, modality=train.modality, store=False)
        return _Begun(train, val, 0 if more is None else len(more), backbone, identity, ready)

    def _parts(self, X: Any, y: Any, groups: Any = None) -> tuple[Dataset, Dataset | None]:
        """What is trained on, and what ``patience`` looks at."""
        whole = self._read(X, y, None, groups)
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

    def _judge(self, way: Way, val: Dataset) -> tuple[float, float]:
        """(main score, log loss or error) on the held-out part."""
        self._settle(way)
        result = self.evaluate_features(self.extractor.embed(val.items), val, resamples=2)
        way.grafted.train_by(self.tuning.norms_in_eval)
        named = {score.name: score.value for score in result.scores}
        loss = named.get("log loss", named.get("mean absolute error", -result.score.value))
        return result.score.value, loss

    def _settle(self, way: Way) -> None:
        way.grafted.eval()
        self.head_ = way.predicts().to(self._head_device)

    def _about(self, begun: _Begun) -> dict[str, Any]:
        """What a checkpoint belongs to."""
        weight = self.class_weight
        return {
            "model": begun.identity["model"],
            "weights": begun.identity["weights"],
            "data": fingerprint(begun.train),
            "classes": list(self.classes),
            "settings": self.tuning.record(),
            "steps": begun.ready.loop.steps,
            "unlabelled": begun.unlabelled,
            "seed": self.seed,
            "class_weight": dict(weight) if isinstance(weight, Mapping) else weight,
        }

    def _report(self, ready: Ready, course: Course, train: Dataset) -> None:
        loop = ready.loop
        trained = sum(p.numel() for p in ready.way.grafted.parameters() if p.requires_grad)
        broken = [f"{train.identity(n)}: {why}" for n, why in loop.done.broken.items()]
        if broken:
            self.notes_.append(
                f"{len(broken)} of {len(train)} items could not be read and are left out; the first: {broken[0]}"
            )
        self.notes_ += [*loop.done.notes, *ready.way.notes()]
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
