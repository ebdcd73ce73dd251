"""Both towers of a dual encoder trained as they were pretrained: each image with a prompt of its class (FLYP).

Goyal et al. 2023, "Finetune like you pretrain" (arXiv 2212.00638): the contrastive loss of pretraining over the items of a step,
with the class's name in a prompt as the text; at the end the classes are the text tower's embeddings of their names, so that other
names can still be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from modelgraft import load_head
from modelgraft.contract import ScoreRule
from modelgraft.learning import LearnedHead
from torch.nn import functional as F
from torch.utils.data import Dataset as TorchDataset

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.estimators.head_inputs import text_classes
from modelgraft_adapters.estimators.prompt_templates import DEFAULT_BY_MODALITY, fill, templates_for
from modelgraft_adapters.finetuning.batches import Batch, PictureItems, Shuffled, seed_of
from modelgraft_adapters.finetuning.model import Grafted

PIXELS = "pixels"
"""Among a step's inputs the images; the others are tokens."""


@dataclass(frozen=True, slots=True)
class PromptedItems(Shuffled, TorchDataset[Any]):
    """Each image with a prompt of its class, drawn from seed, pass and item alone."""

    pictures: PictureItems
    prompts: Sequence[Sequence[str]]
    """For each item the prompts of its class."""
    tokenise: Callable[[Sequence[str]], Mapping[str, torch.Tensor]]

    @classmethod
    def of(cls, pictures: PictureItems, train: Dataset, backbone: Any) -> PromptedItems:
        """The prompts that the model asks for, or the usual ones, filled with the names of the classes."""
        templates = templates_for(backbone.entry.templates or DEFAULT_BY_MODALITY["image"])
        of_class = [[fill(template, name) for template in templates] for name in train.classes]
        assert train.targets is not None
        return cls(
            pictures, [of_class[int(target)] for target in train.targets], partial(plugin_calls.token_batch, backbone)
        )

    @property
    def items(self) -> Sequence[Any]:
        """The images' sources."""
        return self.pictures.items

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, torch.Tensor | str, str]:
        item, pixels = self.pictures[place]
        own = self.prompts[item]
        return item, pixels, own[seed_of(self.pictures.seed, *place, 1) % len(own)]

    def collate(self, found: list[tuple[int, Any, str]]) -> Batch:
        """A `Batch` of what could be read: ``pixels`` (B, 3, H, W) and the tokens of the prompts (B, L)."""
        pictures = PictureItems.collate([(item, pixels) for item, pixels, _ in found])
        texts = [text for _, pixels, text in found if isinstance(pixels, torch.Tensor)]
        assert isinstance(pictures.inputs, torch.Tensor)
        inputs = {PIXELS: pictures.inputs, **(self.tokenise(texts) if texts else {})}
        return Batch(inputs, pictures.index, pictures.broken)


class TwoTowers(Grafted):
    """Of B images and B prompts: (B, 2, B) cosines, of each image with all prompts and of each prompt with all images."""

    whole = True

    def forward(self, batch: Any) -> torch.Tensor:
        """``batch`` has ``pixels`` and tokens."""
        pixels = self.embed(batch[PIXELS])
        texts = self.embed({name: value for name, value in batch.items() if name != PIXELS})
        cosines = F.normalize(pixels.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
        return torch.stack([cosines, cosines.T], dim=1)


class ImageTextObjective:
    """The loss of pretraining for each row: CLIP's (Radford et al. 2021), or SigLIP's (Zhai et al. 2023) for models with a sigmoid.

    The scale and bias of the scores stay as they were trained.
    """

    def __init__(self, rule: ScoreRule) -> None:
        self.rule = rule

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of cosines (B, 2, B); row i's own partner is i."""
        logits = self.rule.scale * outputs + self.rule.bias
        own = torch.arange(len(outputs), device=outputs.device)
        if self.rule.kind == "sigmoid":
            sign = 2.0 * F.one_hot(own, len(own)) - 1.0
            return -F.logsigmoid(sign * logits[:, 0]).sum(dim=1)
        return (
            F.cross_entropy(logits[:, 0], own, reduction="none") + F.cross_entropy(logits[:, 1], own, reduction="none")
        ) / 2

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Images whose nearest prompt is one of their class: the first of equal ones stands for its class."""
        return (targets[outputs[:, 0].argmax(dim=1)] == targets).sum()


def text_head(backbone: Any, train: Dataset) -> LearnedHead:
    """The classes by their names, as the text tower has them now."""
    text = text_classes(backbone, train.classes, None, backbone.device)
    made = load_head("text").restore({"weight": text.weight}, {"rule": asdict(text.rule), "task": train.task})
    return made  # type: ignore[no-any-return]
