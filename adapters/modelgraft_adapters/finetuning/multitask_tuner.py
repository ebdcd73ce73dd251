"""`MultiTaskTuner`: one backbone trained further on several tasks at once, and an adapter for each of them afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from modelgraft import Entry
from modelgraft.errors import UsageError
from modelgraft.guard import prints_aside

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data import overlap
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint, training_facts
from modelgraft_adapters.data.tasks import read_tasks, training_parts
from modelgraft_adapters.estimators.base import Adapter, Tuned
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.estimators.habits import Estimator, anew
from modelgraft_adapters.estimators.head_inputs import checked_seed
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.finetuning.loop import Loop, Progress
from modelgraft_adapters.finetuning.methods import Given, Way, begin_head, linear_head, low_rank, plain_items
from modelgraft_adapters.finetuning.multitask import (
    MultiTaskHead,
    MultiTaskObjective,
    Sampling,
    SharedBackbone,
    TaskItems,
    Tasks,
    Weights,
    checked_weights,
    drowned,
)
from modelgraft_adapters.finetuning.parameter_groups import HEAD
from modelgraft_adapters.finetuning.savable import OF_THE_RUN, check_savable, moved_report
from modelgraft_adapters.finetuning.settings import ALIGNING, check_workers, keep_settings, with_settings
from modelgraft_adapters.finetuning.setup import check_model
from modelgraft_adapters.finetuning.trunk import Trunk
from modelgraft_adapters.metrics.scores import Evaluation

VARIANCE_RATE = 1e-2
"""Learning rate of the logarithms of variances, which have a way of order 1 to go: the backbone's rates would leave them at 0."""


class MultiTaskTuner(Trunk, Estimator):
    """A backbone with a linear head for each of several tasks, trained together.

    >>> photos = ["docs/photos/cat.jpg", "docs/photos/rocket.jpg"]
    >>> labels = {"kind": ["animal", "machine"], "colour": ["brown", "white"]}
    >>> tuner = MultiTaskTuner("embedded/sprig", steps=2).fit(photos, labels)
    >>> tuner.adapters_["colour"].predict(photos).tolist()
    ['brown', 'white']

    Args:
        model, modality, seed, device, folder, workers, tell: as `FineTuner`'s.
        strategy: as `FineTuner`'s, but for contrastive and flyp.
        weights: of the tasks' losses: ``uncertainty`` learns them (Kendall et al. 2018); task -> weight, 1 where it is not named;
            None sums the losses up.
        sampling: which items a step has: ``proportional``, each as often as another; ``equal``, of each task as many as of another,
            so that one with few labels is not drowned by one with many (and comes more often: it is overfitted sooner).
        class_weight: ``balanced`` or None, for every task.
        settings: as `settings.Settings`, without patience, mixup and cutmix.

    Attributes:
        adapters_: task -> a fitted `Adapter`; all are on one tuned backbone, and each predicts, is evaluated and is saved alone.
        weights_: task -> the weight that its loss had at the end: ``exp(-s)`` where it was trained.
        report_: losses, weights, time.
        notes_: lines a user should see once.

    Raises:
        UsageError: a strategy or setting that does not go with several tasks.
    """

    adapters_: Mapping[str, Adapter] = MappingProxyType({})
    weights_: Mapping[str, float] = MappingProxyType({})
    evaluation_: None = None
    """Each task's adapter has its own."""
    classes: tuple[str, ...] = ()
    _tasks: Tasks | None = None
    _head: MultiTaskHead | None = None

    @with_settings
    def __init__(
        self,
        model: Any,
        strategy: str = "lp-ft",
        *,
        weights: Weights = "uncertainty",
        sampling: Sampling = "proportional",
        modality: Literal["image", "text"] | None = None,
        class_weight: Literal["balanced"] | None = None,
        seed: int | None = 0,
        device: Any = None,
        folder: str | Path | None = None,
        workers: int | None = None,
        tell: Callable[[Progress], None] | None = None,
        **settings: Any,
    ) -> None:
        self.model = model
        self.strategy = strategy
        self.weights = weights
        self.sampling = sampling
        self.modality = modality
        self.class_weight = class_weight
        self.seed = seed
        self.device = device
        self.folder = folder
        self.workers = workers
        self.tell = tell
        keep_settings(self, settings)
        self._check()

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.adapters_)

    def _check(self) -> None:
        if self.strategy in ("contrastive", "flyp"):
            raise UsageError(f"the strategy {self.strategy} trains one task; take lp-ft or full for several")
        for name in ("patience", "mixup", "cutmix"):
            if getattr(self.tuning, name):
                raise UsageError(f"{name} is not there for several tasks at once; leave it out")
        if self.class_weight not in (None, "balanced"):
            raise UsageError(f"class_weight={self.class_weight!r}; for several tasks it is 'balanced' or None")
        if self.sampling not in ("proportional", "equal"):
            raise UsageError(f"sampling={self.sampling!r}; it is 'proportional' or 'equal'")

    def _begin_anew(self) -> None:
        self._check()
        self.report_, self.notes_ = {}, []
        self.seed = checked_seed(self.seed)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name not in OF_THE_RUN}
        return {**state, "tell": None}  # which may hold anything, and watches no run there

    @prints_aside()
    @anew
    def fit(self, X: Any, ys: Any = None, *, groups: Any = None, resume: bool = False) -> None:
        """Train.

        Args:
            X, ys: see `data.tasks.read_tasks`. Of data that are split the split ``train`` is trained on.
            groups: as `FrozenAdapter.fit`'s.
            resume: go on from the checkpoint in ``folder``.

        Raises:
            UsageError: data that nothing can be trained on, a model that cannot be trained, a checkpoint of another run.
            ModelgraftError: training failed: the loss is no number, no memory, a frozen weight moved.
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        check_model(self.model)
        check_workers(self.workers)
        parts = training_parts(read_tasks(X, ys, self.modality, groups))
        names, first = tuple(parts), next(iter(parts.values()))
        fixed = checked_weights(self.weights, names)
        self.notes_ = list(dict.fromkeys(f"{name}: {note}" for name, data in parts.items() for note in data.notes))
        begun = self._begun(first, self.device, lambda backbone: self._way(backbone, parts, fixed))
        loop = begun.ready.loop
        extractor = FeatureExtractor(begun.backbone, modality=first.modality, store=False)
        for data in parts.values():
            one = self._adapter(data, extractor, None)
            self.notes_ += check_savable(one, begun.backbone, self.tuning, self.folder is not None)
        if self.sampling == "proportional":
            self.notes_ += drowned(parts, loop.batches.size)
        assert self._head is not None
        if self._head.log_variances is not None:
            _own_rate(loop, self._head.log_variances)
        self._trained(begun, first, lambda: self._about(parts, begun.identity, loop.steps), resume=resume)
        self._weigh(names, fixed)
        extractor = FeatureExtractor(begun.backbone, modality=first.modality, store=False)
        tuned = Tuned(begun.identity, begun.ready.trained_names())
        self.adapters_ = {name: self._adapter(data, extractor, tuned) for name, data in parts.items()}
        self._finish()

    @property
    def entry(self) -> Entry:
        """Of the backbone; once something was trained."""
        return next(iter(self.adapters_.values())).entry

    def evaluate(self, X: Any, ys: Any = None) -> dict[str, Evaluation]:
        """The scores of each task that there are labels of. Of data that are split, on the split ``test``; every item goes through
        the model once.

        Args:
            X, ys: see `data.tasks.read_tasks`.

        Raises:
            UsageError: nothing was trained yet, a task that was not trained, or one without any label.
        """
        if not self.adapters_:
            raise UsageError("this MultiTaskTuner is not fitted yet; call fit first")
        some = next(iter(self.adapters_.values()))  # all are on one backbone
        data = read_tasks(X, ys, some.extractor.modality)
        data = {name: one.part("test") if "test" in one.split_names else one for name, one in data.items()}
        for name, one in data.items():
            if name not in self.adapters_:
                raise UsageError(f"the task {name!r} was not trained; there are: {', '.join(self.adapters_)}")
            if not one.labelled.any():
                raise UsageError(f"no item has a label of the task {name!r} to test on")
        first = next(iter(data.values()))
        if seen := some._trained_on.shared(first.places):
            warnings.warn(overlap.warning(seen, len(first)), stacklevel=2)
        found = some.extractor.embed(first.items)
        results = {}
        for name, one in data.items():
            results[name] = self.adapters_[name].evaluate_features(found, one)
            self.adapters_[name].evaluation_ = results[name]
        return results

    def settle(self, alpha: float = 1.0) -> None:
        """Take the weights as they are now for what predicts. What was measured on those before is dropped.

        Args:
            alpha: where they are between start and end.
        """
        assert self._tasks is not None and self._head is not None and self.run_ is not None
        self.alpha_, self.report_ = alpha, moved_report(self.report_, alpha)
        self.run_.grafted.eval()
        for number, task in enumerate(self._tasks.tasks):
            weight, bias = self._head.of(number)
            if task.units is not None:
                weight, bias = task.units.undo(weight, bias)
            adapter = self.adapters_[task.name]
            assert adapter.tuned_ is not None
            adapter.evaluation_, adapter.report_ = None, self.report_
            adapter.tuned_ = replace(adapter.tuned_, changes=self._changes if alpha == 1 else {})
            adapter.head_ = linear_head(weight, bias, task.objective.task, self.tuning).to(adapter._head_device)

    def _way(self, backbone: Any, parts: Mapping[str, Dataset], fixed: tuple[float, ...]) -> Way:
        if self.tuning.semi in ALIGNING:
            raise UsageError(f"semi is {self.tuning.semi}; several tasks are trained on labelled items only")
        first = next(iter(parts.values()))
        probes = self._probes(parts) if self.tuning.strategy == "lp-ft" else None
        given = Given(backbone, first, self.tuning, checked_seed(self.seed))
        tasks = Tasks.of(parts, self.class_weight, self.tuning.label_smoothing, backbone.device)
        head = MultiTaskHead(backbone.embed_dim, tasks.columns, self.weights == "uncertainty", backbone.device)
        start = None
        if probes is not None:
            entered = [
                one if task.units is None else task.units.enter(*one)
                for one, task in zip(probes, tasks.tasks, strict=True)
            ]
            start = torch.cat([weight for weight, _ in entered]), torch.cat([bias for _, bias in entered])
        begin_head(head, start, None, checked_seed(self.seed))
        blocks, low = low_rank(given, plugin_calls.blocks(backbone, first.modality))
        self._tasks, self._head = tasks, head
        source = plain_items(given)
        return Way(
            SharedBackbone(backbone, head),
            blocks,
            TaskItems(source, tasks.labelled, self.sampling),
            MultiTaskObjective(tasks.tasks, fixed),
            tasks.targets,
            lambda: linear_head(*head.of(0), first.task, self.tuning),
            low=low,
        )

    def _probes(self, parts: Mapping[str, Dataset]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """lp-ft: the exact head of each task on the frozen features."""
        found = []
        for name, data in parts.items():
            probe = FrozenAdapter(
                self.model,
                "linear",
                dtype="float32",
                **self._options(data),
            ).fit(data.take(data.labelled))
            self.notes_ += [f"{name}: {note}" for note in probe.notes_ if f"{name}: {note}" not in self.notes_]
            assert probe.head_ is not None
            tensors, _ = probe.head_.state()
            found.append((tensors["weight"].cpu(), tensors["bias"].cpu()))
        return found

    def _options(self, data: Dataset) -> dict[str, Any]:
        """What the probe and the adapter of a task are made with."""
        return {
            "modality": data.modality,
            "class_weight": self.class_weight,
            "seed": self.seed,
            "device": self.device,
        }

    def _adapter(self, data: Dataset, extractor: FeatureExtractor, tuned: Tuned | None) -> Adapter:
        """Of one task, without its head yet."""
        adapter = Adapter(extractor.backbone, "linear", **self._options(data))
        known = data.take(data.labelled)
        adapter.task, adapter.classes, adapter.values_ = data.task, data.classes, data.values
        adapter.record_ = {"seed": self.seed, "class_weight": self.class_weight, "settings": self.tuning.record()}
        adapter.report_, adapter.notes_ = self.report_, list(self.notes_)
        adapter._trained_on, adapter._data, adapter.tuned_ = known.places, known, tuned
        adapter._extractor = extractor
        adapter.trained_on_ = training_facts(known, extractor.backbone.embed_dim, 0)
        return adapter

    def _about(self, parts: Mapping[str, Dataset], identity: Mapping[str, Any], steps: int) -> dict[str, Any]:
        """What a checkpoint belongs to."""
        return {
            "model": identity["model"],
            "weights": identity["weights"],
            "data": {name: fingerprint(data) for name, data in parts.items()},
            "settings": self.tuning.record(),
            "steps": steps,
            "seed": self.seed,
            "tasks": {name: list(data.classes) for name, data in parts.items()},
            "task weights": dict(self.weights) if isinstance(self.weights, Mapping) else self.weights,
            "sampling": self.sampling,
            "class_weight": self.class_weight,
        }

    def _weigh(self, names: tuple[str, ...], fixed: tuple[float, ...]) -> None:
        """Report the weights that the tasks' losses had at the end."""
        assert self._head is not None
        logs = self._head.log_variances
        trained = fixed if logs is None else logs.detach().neg().exp().tolist()
        self.weights_ = dict(zip(names, trained, strict=True))
        rounded = {name: round(value, 6) for name, value in self.weights_.items()}
        self.report_ = {**self.report_, "tasks": list(names), "task_weights": rounded}


def _own_rate(loop: Loop, log_variances: torch.nn.Parameter) -> None:
    """The tasks' weights out of the head's group of parameters into one of their own, before it: the last is the head's."""
    optimizer = loop.optimizer.optimizer
    for group in optimizer.param_groups:
        group["params"] = [one for one in group["params"] if one is not log_variances]
    own = {"lr": VARIANCE_RATE, "rate": VARIANCE_RATE, "weight_decay": 0.0, "block": HEAD}
    optimizer.add_param_group({"params": [log_variances], **own})
    optimizer.param_groups.insert(-1, optimizer.param_groups.pop())
