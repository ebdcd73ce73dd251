"""What a way of training brings to the loop: the rows of a step, what is computed of them, their losses, and what predicts after.

A row of a step is an item, or a group of them (a pair of texts; a labelled image beside unlabelled ones): so one loop serves
all ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from modelgraft import load_head
from modelgraft.errors import UsageError
from modelgraft.learning import LearnedHead
from modelgraft.training import Block
from torch import nn

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.head_inputs import class_weights
from modelgraft_adapters.finetuning.augmentation import training_transform
from modelgraft_adapters.finetuning.batches import Items, PictureItems, TextItems, seed_of
from modelgraft_adapters.finetuning.loop import Goal
from modelgraft_adapters.finetuning.losses import Objective, Units, mixer
from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.finetuning.settings import ALIGNING, LOW_RANK, Settings

if TYPE_CHECKING:
    from modelgraft_adapters.finetuning.lora import LowRank


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a run is made from."""

    backbone: Any
    """A `modelgraft.training.Trainable` of one's own, in float32."""
    train: Dataset
    """Labelled items only."""
    settings: Settings
    seed: int
    class_weight: Literal["balanced"] | Mapping[str, float] | None = None
    start: tuple[torch.Tensor, torch.Tensor] | None = None
    """lp-ft: weight (C, D) and bias (C,) of the exact head."""
    unlabelled: Dataset | None = None
    """Further images, to train on without a label."""


@dataclass(slots=True, eq=False)
class Way:
    """How a run trains."""

    grafted: Grafted
    blocks: tuple[Block, ...]
    items: Items
    goal: Goal
    targets: torch.Tensor
    """What ``Batch.index`` points into."""
    predicts: Callable[[], LearnedHead]
    """The head that predicts with the weights as they are now, on the CPU or beside the backbone."""
    head: str = "linear"
    """Its name."""
    mix: Any = None
    low: LowRank | None = None
    notes: Callable[[], list[str]] = list
    """What the user should know after the run."""


def make_way(given: Given) -> Way:
    """The way that the settings ask for.

    Raises:
        UsageError: it cannot be done with these data or this model.
    """
    strategy, semi = given.settings.strategy, given.settings.semi
    if given.unlabelled is None and semi in ALIGNING:
        raise UsageError(f"{semi} draws two domains together, and there are no items of the other: give unlabelled")
    if given.unlabelled is not None and strategy in ("contrastive", "flyp"):
        raise UsageError(f"the strategy {strategy} trains on no unlabelled items; take another, or leave them out")
    if strategy == "contrastive":
        return _contrastive(given)
    if strategy == "flyp":
        return _image_text(given)
    return _supervised(given)


def _supervised(given: Given) -> Way:
    """A linear head on the embedding."""
    backbone, train, settings = given.backbone, given.train, given.settings
    if (settings.mixup or settings.cutmix) and (train.modality != "image" or train.task != "single-label"):
        raise UsageError("mixup and cutmix mix images and their classes; these are not images with one class each")
    assert train.targets is not None
    head = nn.Linear(backbone.embed_dim, len(train.classes), device=backbone.device)
    units = Units.of(train.targets) if train.task == "regression" else None
    begin_head(head, given.start, units, given.seed)
    blocks, low = low_rank(given, plugin_calls.blocks(backbone, train.modality))
    weights = class_weights(train, given.class_weight)
    on_device = None if weights is None else torch.from_numpy(weights).to(backbone.device)
    objective = Objective(
        train.task, on_device, settings.label_smoothing, mixed=bool(settings.mixup or settings.cutmix)
    )
    targets = torch.from_numpy(train.targets)
    way = Way(
        Grafted(backbone, head),
        blocks,
        plain_items(given),
        objective,
        targets if units is None else units.apply(targets),
        lambda: _linear(head, units, train, settings),
        mix=mixer(settings.mixup, settings.cutmix, len(train.classes)),
        low=low,
    )
    return way if given.unlabelled is None else _with_unlabelled(given, way)


def plain_items(given: Given) -> PictureItems | TextItems:
    """The training items, an item a row."""
    train = given.train
    if train.modality != "image":
        return TextItems(train.items, partial(plugin_calls.token_batch, given.backbone))
    return PictureItems(train.items, training_transform(given.backbone, given.settings.augment), given.seed)


def _with_unlabelled(given: Given, way: Way) -> Way:
    """Beside each labelled image unlabelled ones."""
    train, settings, unlabelled = given.train, given.settings, given.unlabelled
    assert unlabelled is not None
    if train.modality != "image" or train.task != "single-label":
        raise UsageError("unlabelled items are trained on with images that have one class each; these are not")
    if not len(unlabelled):
        raise UsageError("there are no unlabelled items to train on; give some, or leave unlabelled out")
    if settings.mixup or settings.cutmix:
        raise UsageError("mixup and cutmix do not go with unlabelled items; leave the one or the other out")
    if settings.semi == "fixmatch" and settings.augment == "none":
        raise UsageError("fixmatch compares two views of an image, and augment none makes them one; take flip or crop")
    return (_aligning if settings.semi in ALIGNING else _self_labelling)(given, way)


def _self_labelling(given: Given, way: Way) -> Way:
    """The unlabelled images are trained on with the model's own labels."""
    from modelgraft_adapters.finetuning.fixmatch import FixMatchObjective, MixedItems, WithUnlabelled

    train, settings, unlabelled = given.train, given.settings, given.unlabelled
    assert unlabelled is not None and isinstance(way.goal, Objective)
    weak = training_transform(given.backbone, settings.augment)
    strong = training_transform(given.backbone, "randaugment") if settings.semi == "fixmatch" else weak
    way.grafted = WithUnlabelled(given.backbone, way.grafted.head)
    way.items = MixedItems(train.items, unlabelled.items, weak, strong, given.seed, settings.semi_ratio)
    way.goal = goal = FixMatchObjective(way.goal, settings.semi_threshold, settings.semi_weight)
    way.notes = lambda: [goal.note]
    return way


def _aligning(given: Given, way: Way) -> Way:
    """The unlabelled images are of another domain, and the embeddings of both are drawn together."""
    from modelgraft_adapters.finetuning.fixmatch import MixedItems
    from modelgraft_adapters.finetuning.two_domains import Adversarial, Coral, DomainObjective, TwoDomains

    backbone, settings, unlabelled, head = given.backbone, given.settings, given.unlabelled, way.grafted.head
    assert unlabelled is not None and isinstance(way.goal, Objective)
    weight = settings.semi_weight
    grafted: TwoDomains
    if settings.semi == "deep-coral":
        grafted, own = Coral(backbone, head, weight), weight
        what = "the distance of the domains' covariances (before its weight)"
    else:
        grafted, own = Adversarial(backbone, head, weight, backbone.embed_dim, given.seed), float(weight > 0)
        what = "the domain classifier's loss (0.69 where it cannot tell them apart)"
    view = training_transform(backbone, settings.augment)
    way.grafted = grafted
    way.items = MixedItems(given.train.items, unlabelled.items, view, None, given.seed, settings.semi_ratio)
    way.goal = goal = DomainObjective(way.goal, own, what)
    way.notes = lambda: goal.notes
    return way


def _contrastive(given: Given) -> Way:
    """Pairs of texts."""
    from modelgraft_adapters.finetuning.contrastive import CosineObjective, PairItems, PairSampler, Siamese

    backbone, train = given.backbone, given.train
    if train.modality != "text" or train.task == "regression":
        raise UsageError("the strategy contrastive draws texts of a class together; it takes texts with classes")
    assert train.targets is not None
    items = PairItems(plain_items(given), PairSampler(train.targets, train.task, given.seed))
    return Way(
        Siamese(backbone, nn.Identity()),
        plugin_calls.blocks(backbone, "text"),
        items,
        CosineObjective(),
        torch.tensor([0.0, 1.0]),
        lambda: _solved(given),
    )


def _image_text(given: Given) -> Way:
    """Images and the prompts of their classes."""
    from modelgraft_adapters.finetuning.image_text import ImageTextObjective, PromptedItems, TwoTowers, text_head

    backbone, train = given.backbone, given.train
    if "zero-shot" not in backbone.entry.tasks or not hasattr(backbone, "encode_image"):
        raise UsageError(f"the strategy flyp trains both towers of a dual encoder, and {backbone.entry.name} is none")
    if train.modality != "image" or train.task != "single-label" or given.class_weight is not None:
        raise UsageError("the strategy flyp takes images with one class each, and weighs all classes alike")
    assert train.targets is not None
    pictures = plain_items(given)
    assert isinstance(pictures, PictureItems)
    towers = [
        Block(f"{modality}: {block.name}", block.parameters)
        for modality in ("text", "image")
        for block in plugin_calls.blocks(backbone, modality)
    ]
    return Way(
        TwoTowers(backbone, nn.Identity()),
        tuple(towers),
        PromptedItems.of(pictures, train, backbone),
        ImageTextObjective(plugin_calls.score_rule(backbone)),
        torch.from_numpy(train.targets),
        lambda: text_head(backbone, train),
        head="text",
    )


def low_rank(given: Given, blocks: tuple[Block, ...]) -> tuple[tuple[Block, ...], LowRank | None]:
    """lora and dora: the blocks hold low-rank matrices in place of the weights."""
    settings = given.settings
    if settings.strategy not in LOW_RANK:
        return blocks, None
    from modelgraft_adapters.finetuning.lora import inject

    low = inject(
        given.backbone.module,
        blocks,
        kind="lora" if settings.strategy == "lora" else "dora",
        rank=settings.rank,
        alpha=settings.rank if settings.lora_alpha is None else settings.lora_alpha,
        dropout=settings.lora_dropout,
        seed=given.seed,
    )
    return tuple(low.blocks), low


def begin_head(
    head: nn.Linear, start: tuple[torch.Tensor, torch.Tensor] | None, units: Units | None, seed: int
) -> None:
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


def _linear(head: nn.Linear, units: Units | None, train: Dataset, settings: Settings) -> LearnedHead:
    """The trained layer as the head that predicts."""
    weight, bias = (value.detach().float().cpu() for value in (head.weight, head.bias))
    if units is not None:
        weight, bias = units.undo(weight, bias)
    return linear_head(weight, bias, train.task, settings)


def linear_head(weight: torch.Tensor, bias: torch.Tensor, task: str, settings: Settings) -> LearnedHead:
    """Weight (C, D) and bias (C,) as a head ``linear``."""
    found = {"chosen": settings.record(), "notes": []}
    made = load_head("linear").restore({"weight": weight.clone(), "bias": bias.clone()}, {"task": task, "found": found})
    return made  # type: ignore[no-any-return]


def _solved(given: Given) -> LearnedHead:
    """The exact probe on the backbone as it is now."""
    from modelgraft_adapters.estimators.frozen import FrozenAdapter

    probe = FrozenAdapter(
        given.backbone,
        "linear",
        modality=given.train.modality,
        class_weight=given.class_weight,
        seed=given.seed,
        store=False,
    ).fit(given.train)
    assert probe.head_ is not None
    return probe.head_
