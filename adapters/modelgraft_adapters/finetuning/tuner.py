"""`FineTuner`: a pretrained backbone trained further on a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.guard import prints_aside

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint, training_facts
from modelgraft_adapters.data.labels import check_for_training
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.estimators.base import Adapter, Tuned
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.estimators.habits import anew
from modelgraft_adapters.estimators.head_inputs import ClassWeight, aligned_targets, checked_seed, head_spec
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.finetuning.loop import Progress
from modelgraft_adapters.finetuning.lr_finder import RangeTest, range_test
from modelgraft_adapters.finetuning.methods import Given, Way, make_way
from modelgraft_adapters.finetuning.parameter_groups import Plan
from modelgraft_adapters.finetuning.run import Course
from modelgraft_adapters.finetuning.savable import OF_THE_RUN, check_savable, mean_loss, moved_report
from modelgraft_adapters.finetuning.settings import check_workers, keep_settings, with_settings
from modelgraft_adapters.finetuning.setup import Ready, check_model
from modelgraft_adapters.finetuning.trunk import Begun, Trunk


class FineTuner(Trunk, Adapter):
    """A backbone with a linear head, both trained; every known way, images or texts, any provider.

    >>> photos, kinds = ["docs/photos/cat.jpg", "docs/photos/rocket.jpg"], ["animal", "machine"]
    >>> tuner = FineTuner("embedded/sprig", strategy="lp-ft", steps=2).fit(photos, kinds)
    >>> tuner.predict(photos).tolist()
    ['animal', 'machine']

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
        alpha_: where the weights are between the two (`weight_averaging.move`).

    Raises:
        UsageError: no such model, strategy or setting.
    """

    probe_: FrozenAdapter | None = None
    plan_: Plan | None = None
    course_: Course | None = None
    _way: Way | None = None
    _transient = OF_THE_RUN

    load = staticmethod(FrozenAdapter.load)
    """What training made, read back, predicts as a `FrozenAdapter`."""

    @with_settings
    def __init__(
        self,
        model: Any,
        strategy: str = "lp-ft",
        *,
        modality: Literal["image", "text"] | None = None,
        class_weight: ClassWeight = None,
        seed: int | None = 0,
        device: Any = None,
        folder: str | Path | None = None,
        workers: int | None = None,
        tell: Callable[[Progress], None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, "linear", modality=modality, class_weight=class_weight, seed=seed, device=device)
        self.strategy = strategy
        self.folder = folder
        self.workers = workers
        self.tell = tell
        keep_settings(self, settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of training, as a card has them."""
        return self.tuning.record()

    @property
    def extractor_options(self) -> dict[str, Any]:
        """What a feature extractor of the backbone as it was given is made with: ``batch_size`` and ``workers`` are of training."""
        return {**super().extractor_options, "batch_size": None, "workers": None}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "tell": None}  # which may hold anything, and watches no run there

    @prints_aside()
    @anew
    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None, groups: Any = None, resume: bool = False) -> None:
        """Train.

        Args:
            X, y: as `FrozenAdapter.fit`'s; a split ``val`` is what ``patience`` looks at.
            groups: as `FrozenAdapter.fit`'s; kept on one side of the part held out for ``patience``.
            unlabelled: images, or data of which the labels are not looked at, to train on too (settings ``semi...``).
            resume: go on from the checkpoint in ``folder``.

        Raises:
            UsageError: data that nothing can be trained on, a model that cannot be trained, a checkpoint of another run.
            ModelgraftError: training failed: the loss is no number, no memory, a frozen weight moved.
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        self._check()
        train, val = self._parts(X, y, groups)
        more = None if unlabelled is None else self._read(unlabelled, None, "unlabelled")
        begun = self._begin(train, more)
        loop, way = begun.ready.loop, begun.ready.way
        course = self._trained(
            begun,
            train,
            lambda: self._about(begun, train, val, more),
            resume=resume,
            judge=None if val is None else lambda: self._judge(way, val),
        )
        self.plan_, self.course_, self._way = loop.plan, course, way
        self.tuned_ = Tuned(begun.identity, begun.ready.trained_names())
        self._extractor = FeatureExtractor(begun.backbone, modality=train.modality, store=False)
        self.trained_on_ = training_facts(train, begun.backbone.embed_dim, 0 if more is None else len(more))
        self._finish()

    def find_rate(self, X: Any, y: Any = None, *, unlabelled: Any = None) -> RangeTest:
        """A learning rate for these data, by rising it until the loss no longer falls. The tuner stays as it is.

        Arguments and errors as `fit`.
        """
        twin = self._twin()
        twin._check()
        train, _ = twin._parts(X, y)
        more = None if unlabelled is None else twin._read(unlabelled, None, "unlabelled")
        return range_test(twin._begin(train, more).ready.loop)

    def settle(self, alpha: float = 1.0) -> None:
        """Take the weights as they are now for what predicts. What was measured on those before is dropped.

        Args:
            alpha: where they are between start and end.
        """
        assert self._way is not None
        assert self.tuned_ is not None
        self.alpha_, self.evaluation_ = alpha, None
        self.report_ = moved_report(self.report_, alpha)
        self.tuned_ = replace(self.tuned_, changes=self._changes if alpha == 1 else {})
        self._settle(self._way)

    def _check(self) -> None:
        check_model(self.model)
        checked_seed(self.seed)
        check_workers(self.workers)

    def _begin(self, train: Dataset, unlabelled: Dataset | None) -> Begun:
        """Make everything up to the first step."""
        self.task, self.classes, self.values_, self.notes_ = train.task, train.classes, train.values, list(train.notes)
        self._trained_on, self._data = train.places, train

        def make(backbone: Any) -> Way:
            start = self._probe(train) if self.tuning.strategy == "lp-ft" else None
            seed = checked_seed(self.seed)
            return make_way(Given(backbone, train, self.tuning, seed, self.class_weight, start, unlabelled))

        begun = self._begun(train, self.extractor_options["device"], make)
        self.spec = head_spec(begun.ready.way.head)
        # Its weights change while it is looked at: nothing of it may be stored.
        self._extractor = FeatureExtractor(begun.backbone, modality=train.modality, store=False)
        self.record_ = self._recorded()
        self.notes_ += check_savable(self, begun.backbone, self.tuning, self.folder is not None)
        return begun

    def _parts(self, X: Any, y: Any, groups: Any = None) -> tuple[Dataset, Dataset | None]:
        """What is trained on, and what ``patience`` looks at."""
        whole = self._read(X, y, None, groups)
        val = whole.part("val") if "val" in whole.split_names else None
        data = check_for_training(self._read(whole, None, "train"))
        data = data.take(data.labelled)
        if self.tuning.patience is None:
            return data, None
        if val is not None and val.labelled.any():
            val = val.take(val.labelled)
            if data.task == "single-label" and (aligned_targets(val, data.classes, data.task) < 0).all():
                raise UsageError(
                    "no item of the split val is of a class that is trained; patience has nothing to go by"
                )
            return data, val
        try:
            parted = stratified_split(replace(data, split=None), self.tuning.held_out, checked_seed(self.seed))
        except UsageError as error:
            raise UsageError(
                f"patience holds {self.tuning.held_out:g} of the {len(data)} items to train on out of training (held_out), which "
                "leaves none to look at or none to train on; change held_out, or leave patience out"
            ) from error
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

    def _judge(self, way: Way, val: Dataset) -> tuple[float | None, float]:
        """(main score, None where it is not defined; log loss or error) on the held-out part."""
        self._settle(way)
        result = self.evaluate_features(self.extractor.embed(val.items), val, resamples=2)
        way.grafted.train_by(self.tuning.norms_in_eval)
        if not len(result.targets):
            first = next(iter(result.unreadable.items()))
            raise ModelgraftError(f"none of the {len(val)} held-out items could be read; the first: {': '.join(first)}")
        score = result.score.value
        defined = isinstance(score, (int, float)) and math.isfinite(score)
        return (float(score) if defined else None), mean_loss(result)

    def _settle(self, way: Way) -> None:
        way.grafted.eval()
        self.head_ = way.predicts().to(self._head_device)

    def _about(self, begun: Begun, train: Dataset, val: Dataset | None, more: Dataset | None) -> dict[str, Any]:
        """Say what a checkpoint belongs to."""
        weight = self.class_weight
        return {
            "model": begun.identity["model"],
            "weights": begun.identity["weights"],
            "data": fingerprint(train),
            "classes": list(self.classes),
            "settings": self.tuning.record(),
            "steps": begun.ready.loop.steps,
            "unlabelled": 0 if more is None else fingerprint(more),
            "val": None if val is None else fingerprint(val),
            "seed": self.seed,
            "class_weight": dict(weight) if isinstance(weight, Mapping) else weight,
        }

    def _reported(self, ready: Ready, course: Course, train: Dataset) -> dict[str, Any]:
        held = [{"step": h.step, "score": h.score, "loss": h.loss} for h in course.held]
        best = course.best.step if course.best else None
        more = {"held_out": held, "best_step": best, "stopped_early": course.stopped_early}
        return {**super()._reported(ready, course, train), **more}
