"""Unlabelled images beside labelled ones: FixMatch (Sohn et al. 2020, arXiv 2001.07685), and pseudo-labels (Lee 2013).

The model's own class of an image, where it is confident of it in a weak view, is the label of a strong view of the same image.
Pseudo-labelling is the same with a second weak view in the strong one's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from modelgraft.errors import UnreadableItemError
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset

from modelgraft_adapters.finetuning.batches import Batch, PictureItems, Shuffled, drawn_from
from modelgraft_adapters.finetuning.losses import Objective
from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.media.images import read_image

View = Callable[[Image.Image], torch.Tensor]
_TRIES = 20
"""Unlabelled images that are tried, one after another, for one that can be read."""


@dataclass(frozen=True, slots=True)
class MixedItems(Shuffled, Dataset[Any]):
    """Each labelled image with ``ratio`` unlabelled ones, these in a weak and a strong view each, or with ``strong`` None in one.

    A row is (1 + 2 * ratio, 3, H, W): the labelled image, the weak views, the strong views (or 1 + ratio, without these).
    Which unlabelled images come with an item, and every random part of a view, is drawn from seed, pass and item alone; each
    comes once before any comes again.
    """

    items: Sequence[Any]
    unlabelled: Sequence[Any]
    weak: View
    strong: View | None
    seed: int
    ratio: int = 1

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, torch.Tensor | str]:
        item, own = PictureItems(self.items, self.weak, self.seed)[place]
        if isinstance(own, str):
            return item, own
        number, _ = place
        views = (self.weak,) if self.strong is None else (self.weak, self.strong)
        pairs = []
        for k in range(self.ratio):
            image = self._image((number * len(self.items) + item) * self.ratio + k)
            if image is None:
                return item, f"none of {_TRIES} unlabelled images beside it could be read"
            pairs.append([self._view(view, image, number, item, k, n) for n, view in enumerate(views)])
        return item, torch.stack([own, *chain.from_iterable(zip(*pairs, strict=True))])

    @staticmethod
    def collate(found: list[tuple[int, Any]]) -> Batch:
        """A `Batch` of rows (B, 1 + 2 * ratio, 3, H, W), or (B, 1 + ratio, 3, H, W)."""
        return PictureItems.collate(found)

    def _image(self, number: int) -> Image.Image | None:
        """The unlabelled image of a running number, or the next that can be read."""
        for further in range(_TRIES):
            turn, place = divmod(number + further, len(self.unlabelled))
            try:
                return read_image(self.unlabelled[int(_order(turn, len(self.unlabelled), self.seed)[place])])[0]
            except UnreadableItemError:
                continue
        return None

    def _view(self, view: View, image: Image.Image, *numbers: int) -> torch.Tensor:
        with drawn_from(self.seed, *numbers):
            return view(image)


@lru_cache(maxsize=4)
def _order(turn: int, items: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, turn, 1]).permutation(items)


class WithUnlabelled(Grafted):
    """Logits (B, G, C) of rows of G images."""

    def forward(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, G, 3, H, W) to (B, G, C) float32; all images go through the model together, as in the paper."""
        assert isinstance(batch, torch.Tensor)
        logits = super().forward(batch.flatten(0, 1))
        return logits.view(*batch.shape[:2], -1)


class FixMatchObjective:
    """``loss(labelled) + weight * mean over the unlabelled of 1[max p(weak) >= threshold] * CE(strong, argmax p(weak))``.

    Args:
        labelled: the loss of the labelled images.
        threshold: tau.
        weight: lambda.

    Attributes:
        confident, seen: unlabelled images that had a label so far, and all.
    """

    def __init__(self, labelled: Objective, threshold: float, weight: float) -> None:
        self.labelled, self.threshold, self.weight = labelled, threshold, weight
        self.confident = torch.zeros((), dtype=torch.int64)
        self.seen = 0

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of logits (B, 1 + 2 * ratio, C) and classes (B,)."""
        ratio = (outputs.shape[1] - 1) // 2
        weak, strong = outputs[:, 1 : 1 + ratio].detach(), outputs[:, 1 + ratio :]
        best, label = weak.softmax(dim=-1).max(dim=-1)
        sure = best >= self.threshold
        self.confident = self.confident.to(sure.device) + sure.sum()
        self.seen += sure.numel()
        losses = F.cross_entropy(strong.flatten(0, 1), label.flatten(), reduction="none").view_as(best)
        # Not a product with 0: where no image is sure the gradient is that of the labelled ones, to the last bit.
        return self.labelled(outputs[:, 0], targets) + self.weight * losses.masked_fill(~sure, 0.0).mean(dim=1)

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """Of the labelled images."""
        return self.labelled.right(outputs[:, 0], targets)

    @property
    def note(self) -> str:
        """For the user."""
        return f"{int(self.confident)} of {self.seen} views of unlabelled images were sure enough to be trained on"
