"""A fitted adapter whose batch normalisation is made the target's: AdaBN, and TENT. No label of the target is looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.guard import plugin_code
from torch import nn

from modelgraft_adapters.alignment.checks import LEAST
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import counted
from modelgraft_adapters.defaults import checked_count
from modelgraft_adapters.estimators.base import Adapter, Tuned
from modelgraft_adapters.estimators.frozen import FrozenAdapter
from modelgraft_adapters.estimators.head_inputs import checked_seed
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.finetuning.batches import Batch, PictureItems, shuffled
from modelgraft_adapters.finetuning.weight_line import recalibrate

BATCH: Final = 64
RATE: Final = 1e-3
_STATISTICS: Final = ("running_mean", "running_var", "num_batches_tracked")
_AFFINE: Final = ("weight", "bias")


def adabn(
    adapter: Adapter, X_target: Any, *, X_source: Any = None, y_source: Any = None, batch_size: int = BATCH
) -> FrozenAdapter:
    """Return the adapter with running statistics of the target in every batch normalisation that its images pass.

    Li, Wang, Shi, Liu and Hou 2016 (arXiv 1603.04779). The statistics are those of one pass over the target in batches of about
    ``batch_size``, each layer reading what the layers before it give when they normalise by the batch: the plain mean over
    batches. Weights and head stay; the adapter that is given stays as it is.

    Args:
        adapter: fitted on images, a `FineTuner` or a `FrozenAdapter` on the model's embedding.
        X_target: items of the target, or data (of those that are split the split ``train``); labels are not looked at.
        X_source, y_source: the labelled source. With it the head is first trained anew on features under the source's own
            statistics, as the paper has it: a backbone that was frozen has those of its pretraining. None keeps the head, which
            is right after a `FineTuner` that trained the statistics on the source.
        batch_size: items of a batch.

    Raises:
        UsageError: nothing was trained, a model without batch normalisation, texts, a layer, too few items.
        ModelgraftError: too few items could be read.
    """
    if X_source is not None:
        adapter = _on_own_statistics(adapter, X_source, y_source, batch_size)
    return _adapted(adapter, X_target, "adabn", batch_size, 0, None)


def tent(
    adapter: Adapter,
    X_target: Any,
    *,
    X_source: Any = None,
    y_source: Any = None,
    lr: float = RATE,
    epochs: int = 1,
    batch_size: int = BATCH,
    seed: int = 0,
) -> FrozenAdapter:
    """Return the adapter with scales and shifts of its batch normalisation trained to be sure of the target, and its statistics.

    Wang, Shelhamer, Liu, Olshausen and Darrell 2021 (TENT, arXiv 2006.10726): Adam at ``lr`` on the mean entropy of the
    predictions, each layer normalising by the batch; nothing but scales and shifts moves. The paper predicts by each batch's
    own statistics; an adapter predicts items one by one, so a pass as `adabn` makes follows at the end. At ``lr`` 0 it is
    `adabn`.

    Entropy is a wish and no truth: where many predictions are wrong, it makes them surer.

    Args:
        adapter: as `adabn`'s, one class an item, with the head ``linear``.
        X_target, X_source, y_source, batch_size: as `adabn`'s.
        lr: learning rate, 0 or more.
        epochs: passes over the target.
        seed: of the order of the items.

    Raises:
        UsageError: as `adabn`; another task or head.
        ModelgraftError: as `adabn`; the entropy is no number.
    """
    if isinstance(lr, bool) or not isinstance(lr, Real) or not 0 <= lr < 1:
        raise UsageError(f"lr={lr!r}: a number from 0 to below 1, such as {RATE}")
    passes = checked_count("epochs", epochs) or 1

    if X_source is not None:
        adapter = _on_own_statistics(adapter, X_source, y_source, batch_size)

    def train(backbone: Any, head: nn.Module, batches: Batched) -> list[float]:
        return _sharpened(backbone, head, batches, float(lr), passes)

    return _adapted(adapter, X_target, "tent", batch_size, seed, train, lr=float(lr), epochs=passes)


def _on_own_statistics(adapter: Adapter, X: Any, y: Any, batch_size: int) -> FrozenAdapter:
    """The head of an adapter trained anew on the source, the statistics of which are the source's."""
    _check(adapter, "adabn")
    data = adapter._read(X, y, "train")
    inner = _adapted(adapter, replace(data, split=None), "adabn", batch_size, 0, None)
    settings = adapter.settings if isinstance(adapter, FrozenAdapter) else {}
    own: dict[str, Any] = {
        "modality": "image",
        "class_weight": adapter.class_weight,
        "seed": adapter.seed,
        "store": False,
    }
    fitted = FrozenAdapter(inner.model, adapter.head_name, **own, **settings).fit(data)
    fitted.tuned_ = inner.tuned_
    return fitted


class Batched:
    """The target's images in batches of about one size, every item once in a pass."""

    def __init__(self, data: Dataset, backbone: Any, size: int, seed: int) -> None:
        self._items = PictureItems(data.items, lambda image: plugin_calls.preprocess(backbone, image), seed)
        self._parts = max(1, len(data) // size)
        self._device = backbone.device
        self._seed = seed
        self.broken: dict[int, str] = {}

    def in_order(self) -> Iterator[torch.Tensor]:
        """(B, C, H, W) each, in the order of the items."""
        yield from self._read([(0, item) for item in range(len(self._items.items))])

    def of_pass(self, number: int) -> Iterator[torch.Tensor]:
        """The same, in an order that the seed and the number of the pass say."""
        count = len(self._items.items)
        yield from self._read(shuffled(number * count, (number + 1) * count, count, self._seed))

    def _read(self, places: Sequence[tuple[int, int]]) -> Iterator[torch.Tensor]:
        for rows in np.array_split(np.arange(len(places)), self._parts):
            batch: Batch = self._items.collate([self._items[places[row]] for row in rows])
            self.broken.update(batch.broken)
            if len(batch) > 1:  # the statistics of one item are none
                assert isinstance(batch.inputs, torch.Tensor)
                yield batch.inputs.to(self._device)


def _adapted(
    adapter: Adapter,
    X_target: Any,
    method: Literal["adabn", "tent"],
    batch_size: int,
    seed: int,
    train: Callable[[Any, nn.Module, Batched], list[float]] | None,
    **settings: Any,
) -> FrozenAdapter:
    head = adapter._fitted()
    _check(adapter, method)
    data = adapter._read(X_target, None, None)
    data = data.part("train") if "train" in data.split_names else data
    data = replace(data, targets=None, split=None)
    if len(data) < LEAST:
        raise UsageError(f"the target has {counted(len(data), 'item')}; adapting takes {LEAST} or more")
    with plugin_code(plugin_calls.owner(adapter.extractor.backbone), f"copying {adapter.entry.name}"):
        backbone = copy.deepcopy(adapter.extractor.backbone)
        backbone.module.float()
    layers = _norms(backbone.module)
    if not layers:
        raise UsageError(
            f"{adapter.entry.name} has no batch normalisation, so there are no statistics to adapt; "
            "coral moves the features instead"
        )
    batches = Batched(data, backbone, checked_count("batch_size", batch_size, 2) or BATCH, checked_seed(seed))
    before = {name: [tensor.clone() for tensor in layer.buffers()] for name, layer in layers.items()}
    losses = [] if train is None else train(backbone, head, batches)  # type: ignore[arg-type]
    images = (lambda b=batch: plugin_calls.embedding(backbone, b, False) for batch in batches.in_order())  # type: ignore[misc]
    recalibrate(backbone.module, images)
    if len(data) - len(batches.broken) < LEAST:
        why = next(iter(batches.broken.values()), "")
        raise ModelgraftError(
            f"only {len(data) - len(batches.broken)} items of the target could be read; the first reason: {why}"
        )
    used = _put_back_unused(layers, before)
    parts = (*_STATISTICS, *(_AFFINE if train is not None else ()))
    names = [f"{name}.{part}" for name in used for part in parts if getattr(layers[name], part, None) is not None]
    done = {"method": method, "target_items": len(data) - len(batches.broken), **settings}
    if losses:
        done["entropy"] = [round(loss, 6) for loss in losses]
    return _made(adapter, backbone, names, done, data, batches.broken)


def _check(adapter: Adapter, method: str) -> None:
    if adapter._on_features:
        raise UsageError("an adapter on features has no network to adapt; train one with a model")
    if adapter.extractor.modality != "image":
        raise UsageError("batch normalisation is adapted for images; the models of texts have none")
    if adapter.extractor.layer is not None:
        raise UsageError(
            f"the adapter reads the layer {adapter.extractor.layer!r}; {method} takes one on the model's embedding"
        )
    if method == "tent" and (adapter.task != "single-label" or adapter.head_name != "linear"):
        raise UsageError(
            f"tent takes one class an item and the head linear; this adapter is {adapter.task} with the head {adapter.head_name}"
        )
    plugin_calls.check_trainable(adapter.extractor.backbone, "image")


def _norms(module: nn.Module) -> dict[str, nn.modules.batchnorm._NormBase]:
    """The layers that keep running statistics, by name: those that `recalibrate` takes."""
    kind = nn.modules.batchnorm._NormBase
    return {name: one for name, one in module.named_modules() if isinstance(one, kind) and one.track_running_stats}


def _put_back_unused(layers: dict[str, Any], before: dict[str, list[torch.Tensor]]) -> list[str]:
    """Names of the layers that images passed; the others (of another tower) have their statistics again."""
    used = []
    for name, layer in layers.items():
        if int(layer.num_batches_tracked):
            used.append(name)
            continue
        for tensor, value in zip(layer.buffers(), before[name], strict=True):
            tensor.copy_(value)
    return used


def _sharpened(backbone: Any, head: Any, batches: Batched, lr: float, passes: int) -> list[float]:
    """Train scales and shifts on the entropy; the loss of each step. Afterwards gradients are asked for as before."""
    norms = list(_norms(backbone.module).values())
    trained = [p for layer in norms for p in (layer.weight, layer.bias) if p is not None]
    if not trained:
        raise UsageError("the model's batch normalisation has no scales and shifts for tent to train; adabn needs none")
    optimizer = torch.optim.Adam(trained, lr=lr)
    losses: list[float] = []
    with _open(backbone.module, trained, norms):
        for number in range(passes):
            for batch in batches.of_pass(number):
                logits = head.logits(plugin_calls.embedding(backbone, batch, True).to(head.weight.device))
                loss = -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
                if not bool(torch.isfinite(loss)):
                    raise ModelgraftError(f"the entropy is no number at step {len(losses)}; take a lower lr")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
    return losses


@contextmanager
def _open(module: nn.Module, trained: Sequence[nn.Parameter], norms: Sequence[nn.Module]) -> Iterator[None]:
    """Gradients for these parameters alone, and these layers alone normalising by the batch."""
    asked = {name: p.requires_grad for name, p in module.named_parameters()}
    module.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    module.eval()
    for layer in norms:
        layer.train()
    try:
        with torch.enable_grad():
            yield
    finally:
        module.eval()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(asked[name])
            parameter.grad = None


def _made(
    adapter: Adapter, backbone: Any, names: Sequence[str], done: dict[str, Any], data: Dataset, broken: dict[int, str]
) -> FrozenAdapter:
    """A `FrozenAdapter` of the same head on the adapted backbone."""
    modality: Any = adapter.extractor.modality
    options = {name: adapter.extractor_options[name] for name in ("batch_size", "workers")}
    made = FrozenAdapter(
        backbone,
        adapter.head_name,
        modality=modality,
        class_weight=adapter.class_weight,
        seed=adapter.seed,
        store=False,
        **options,
    )
    made.head_, made.spec = copy.deepcopy(adapter.head_), adapter.spec
    made.task_, made.names_, made.values_ = adapter.task_, adapter.names_, adapter.values_
    made._trained_on, made._data, made._settled = adapter._trained_on, adapter._data, modality
    made._extractor = FeatureExtractor(backbone, modality=modality, store=False, **options)
    known = adapter.tuned_
    made.tuned_ = (
        Tuned(adapter.extractor.card, tuple(sorted(names)))
        if known is None
        else replace(known, names=tuple(sorted({*known.names, *names})))
    )
    before = adapter.report_.get("adaptation")
    made.report_ = {**adapter.report_, "adaptation": done if before is None else {**done, "after": before}}
    made.record_ = dict(adapter.record_)
    made.trained_on_ = {**adapter.trained_on_, "unlabelled": done["target_items"]}
    made.saved_ = adapter.saved_
    line = f"adapted to {done['target_items']:,} items of the target without labels by {done['method']}"
    made.notes_ = [line, *adapter.notes_]
    if broken:
        item, why = next(iter(broken.items()))
        first = f"{data.identity(item)}: {why}"
        made.notes_.append(f"{len(broken)} of {len(data)} items could not be read and are left out; the first: {first}")
    return made
