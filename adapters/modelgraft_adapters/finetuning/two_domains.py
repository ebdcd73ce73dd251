"""Unlabelled images of another domain beside labelled ones: Deep CORAL (Sun and Saenko 2016, arXiv 1607.01719) and DANN (Ganin
et al. 2016, JMLR 17(59)).

Both train the classifier on the labelled source and draw the embeddings of the two domains together: Deep CORAL by the distance
of their covariances, DANN by a domain classifier behind a layer that reverses its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F

from modelgraft_adapters.finetuning.batches import drawn_from
from modelgraft_adapters.finetuning.losses import Objective
from modelgraft_adapters.finetuning.model import Grafted

HIDDEN: Final = 256
"""Units of the domain classifier's hidden layer."""


def covariance_distance(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return Deep CORAL's loss ``||C_s - C_t||_F^2 / (4 D^2)``, () float32, of features (N, D) and (M, D).

    The covariances divide by N - 1 and M - 1, as in the paper (equations 1 to 3). The paper takes the last layer's outputs for
    features, and here they are the embedding. Other implementations scale otherwise: tllib takes a mean over the D^2 entries
    (no 4) and adds that of the squared difference of the means. A domain of one item has no covariance: the distance is then 0.
    """
    if len(source) < 2 or len(target) < 2:
        return 0.0 * (source.float().sum() + target.float().sum())
    with torch.autocast(source.device.type, enabled=False):  # differences of near numbers
        gap = _covariance(source.float()) - _covariance(target.float())
        return gap.square().sum() / (4 * source.shape[1] ** 2)


def _covariance(features: torch.Tensor) -> torch.Tensor:
    centred = features - features.mean(dim=0)
    return centred.T @ centred / (len(features) - 1)


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(strength)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength * gradients[0], None


def reversed_gradient(features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Return the features as they are; their gradient is ``-strength`` (()) times the one that comes back (gradient reversal)."""
    found: torch.Tensor = _Reversal.apply(features, strength)  # type: ignore[no-untyped-call]
    return found


def ramp(progress: float) -> float:
    """Return how much of its strength the reversal has: ``2 / (1 + exp(-10 p)) - 1``, from 0 at the first step to nearly 1.

    Args:
        progress: the part of the steps that is done, from 0 to 1.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


class TwoDomains(Grafted):
    """Logits of labelled images, and how unlike the domains are, of rows of one labelled image and unlabelled ones.

    All images of a step go through the model together: batch normalisation that is trained then normalises by both domains, and
    what it keeps is of both, which is what it predicts by. At weight 0 the unlabelled images are not looked at: the
    step is that of supervised training.

    Args:
        backbone, head: as `Grafted`'s.
        weight: lambda; of 0 nothing is aligned.
    """

    weight: float

    def __init__(self, backbone: Any, head: nn.Module, weight: float) -> None:
        super().__init__(backbone, head)
        self.weight = weight

    def forward(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1 + ratio, 3, H, W) to (B, C + 1) float32: the labelled images' logits, and the loss of the domains in the last."""
        assert isinstance(batch, torch.Tensor)
        if not self.weight:
            logits = super().forward(batch[:, 0].contiguous())
            return F.pad(logits, (0, 1))
        features = self.embed(batch.flatten(0, 1)).view(*batch.shape[:2], -1)
        logits = self.head(features[:, 0]).float()
        return torch.cat([logits, self.apart(features).float()[:, None]], dim=1)

    def apart(self, features: torch.Tensor) -> torch.Tensor:
        """(B,): the loss of each row, of features (B, 1 + ratio, D); the first of a row is the source's."""
        raise NotImplementedError


class Coral(TwoDomains):
    """Deep CORAL. The covariances are those of a step (of several processes each takes its own), so every row has one loss."""

    whole = True

    def apart(self, features: torch.Tensor) -> torch.Tensor:
        """(B,): the distance of the covariances of the step, in each row."""
        return covariance_distance(features[:, 0], features[:, 1:].flatten(0, 1)).expand(len(features))


class Adversarial(TwoDomains):
    """DANN. The domain classifier (D to `HIDDEN` to 1, ReLU between) is trained beside, and predicts nothing afterwards.

    Args:
        width: D.
        seed: of the domain classifier's first weights.
    """

    strength: torch.Tensor

    def __init__(self, backbone: Any, head: nn.Module, weight: float, width: int, seed: int) -> None:
        super().__init__(backbone, head, weight)
        # On the module and not a number: a compiled graph would be made anew for each.
        self.register_buffer("strength", torch.zeros((), device=backbone.device), persistent=False)
        if weight:
            with drawn_from(seed, 8):
                made = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
            self.beside = made.to(backbone.device)

    def at(self, progress: float) -> None:
        """Set the reversal's strength, lambda times `ramp`."""
        self.strength.fill_(self.weight * ramp(progress))

    def apart(self, features: torch.Tensor) -> torch.Tensor:
        """(B,): the cross-entropy of the domain, the mean of a row's source and of its target images; chance is log 2."""
        assert self.beside is not None
        logits = self.beside(reversed_gradient(features, self.strength)).float().squeeze(-1)
        return (F.softplus(-logits[:, 0]) + F.softplus(logits[:, 1:]).mean(dim=1)) / 2


class DomainObjective:
    """``loss(labelled) + weight * loss of the domains`` of each row.

    Args:
        labelled: the loss of the labelled images.
        weight: of the domains' loss. Deep CORAL's lambda; 1 for DANN, whose lambda is in the reversal and leaves the
            domain classifier's own gradient whole.
        what: for the user: what the domains' loss is.
    """

    def __init__(self, labelled: Objective, weight: float, what: str) -> None:
        self.labelled, self.weight, self.what = labelled, weight, what
        self._last: torch.Tensor | None = None

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32 of outputs (B, C + 1) and classes (B,)."""
        apart = outputs[:, -1]
        self._last = apart.detach().mean()
        losses = self.labelled(outputs[:, :-1], targets)
        return losses + self.weight * apart if self.weight else losses

    def right(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """Of the labelled images."""
        return self.labelled.right(outputs[:, :-1], targets)

    @property
    def notes(self) -> list[str]:
        """For the user."""
        if not self.weight:
            return ["semi_weight is 0: the unlabelled images were not trained on"]
        return [] if self._last is None else [f"at the last step {self.what} was {float(self._last):.4g}"]
