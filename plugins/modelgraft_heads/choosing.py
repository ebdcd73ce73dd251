"""Hyper-parameters chosen by folds of the training items, never by a test set.

Ties are the rule with few items. So the choice is by one standard error (Breiman et al. 1984, section 3.4.3): every setting
whose mean score is within one standard error of the best is as good, and the first of them in the grid is taken. Grids are in
the order of preference: the simplest, or most regularised, first. The standard error is that of the *difference* to the
best, item by item, because the settings are scored on the same items; it is the larger of that over items and that over folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

Setting = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and the scores it was chosen by."""

    best: int
    """Place in the grid of the setting that is taken."""
    highest: int
    """Place of the highest mean score."""
    means: list[float]
    """Mean score of each setting over the held-out items."""
    errors: list[float]
    """Standard error of each mean, over the folds."""
    ties: list[int]
    """Places within one standard error of the highest, ``best`` the first of them."""

    def curve(self, grid: Sequence[Setting]) -> list[dict[str, Any]]:
        """A row per setting: the setting, ``score`` and the interval ``low`` ... ``high`` of one standard error each way."""
        return [
            {**setting, "score": mean, "low": mean - error, "high": mean + error}
            for setting, mean, error in zip(grid, self.means, self.errors, strict=True)
        ]

    def notes(self, grid: Sequence[Setting]) -> list[str]:
        """A line for the user where several settings are as good."""
        if len(self.ties) < 2:
            return []
        return [
            f"{len(self.ties)} of {len(grid)} settings are within one standard error of the best; taken, in order of preference: "
            + ", ".join(
                f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in grid[self.best].items()
            )
        ]


def splits(folds: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(train, held-out) indices, int64, of each fold; empty where there is only one fold."""
    numbers = folds.unique().tolist()
    if len(numbers) < 2:
        return []
    return [((folds != fold).nonzero().flatten(), (folds == fold).nonzero().flatten()) for fold in numbers]


def choose(
    folds: torch.Tensor,
    settings: int,
    scores: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    weights: torch.Tensor | None = None,
) -> Choice | None:
    """The setting to take, by what is trained on all folds but one and scored on that one.

    Args:
        folds: (N,) int64, the fold of each item.
        settings: how many settings the grid has, in order of preference.
        scores: of (train, held-out) indices, the scores (settings, len(held-out)), higher is better; NaN for an item that
            cannot be scored (its class is not in the training part), under all settings.
        weights: (N,) float32, a factor for each item's score.

    Returns:
        None where there is nothing to choose by: one fold, or no item that can be scored.
    """
    parts, factors, owners = [], [], []
    for number, (train, held) in enumerate(splits(folds)):
        found = scores(train, held).double().cpu()
        known = ~found.isnan().any(dim=0)
        factor = torch.ones(len(held), dtype=torch.float64) if weights is None else weights[held].double().cpu()
        parts.append(found[:, known])
        factors.append(factor[known])
        owners.append(torch.full((int(known.sum()),), number))
    if not parts or not sum(len(factor) for factor in factors):
        return None
    return chosen(torch.cat(parts, dim=1), torch.cat(owners), torch.cat(factors))


def chosen(scores: torch.Tensor, folds: torch.Tensor, weights: torch.Tensor | None = None) -> Choice:
    """The choice by scores (settings, N) float64 of items held out in ``folds`` (N,), with ``weights`` (N,)."""
    weights = torch.ones(scores.shape[1], dtype=torch.float64) if weights is None else weights
    means = _mean(scores, weights)
    highest = int(means.argmax())
    gaps = scores[highest] - scores
    allowed = torch.maximum(_error_over_items(gaps, weights), _error_over_folds(gaps, folds, weights))
    ties = (means[highest] - means <= allowed + 1e-12 * means[highest].abs()).nonzero().flatten().tolist()
    errors = _error_over_folds(scores, folds, weights)
    return Choice(ties[0], highest, means.tolist(), errors.tolist(), ties)


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (values * weights).sum(dim=1) / weights.sum()


def _error_over_items(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Standard error of the weighted mean of each row, items taken as independent."""
    if values.shape[1] < 2:
        return torch.zeros(len(values), dtype=values.dtype)
    centred = values - _mean(values, weights)[:, None]
    count = weights.sum() ** 2 / (weights**2).sum()
    return (_mean(centred**2, weights) / (count - 1).clamp(min=1.0)).sqrt()


def _error_over_folds(values: torch.Tensor, folds: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Standard error of the mean of each row, from the means of its folds."""
    numbers = folds.unique()
    if len(numbers) < 2:
        return torch.zeros(len(values), dtype=values.dtype)
    means = torch.stack([_mean(values[:, folds == n], weights[folds == n]) for n in numbers], dim=1)
    return means.std(dim=1) / math.sqrt(len(numbers))


def log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of each item the log-probability of its class: logits (..., N, C), targets (N,) int64 -> (..., N)."""
    index = targets.expand(logits.shape[:-1]).unsqueeze(-1)
    return F.log_softmax(logits, dim=-1).gather(-1, index).squeeze(-1)


def hits(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1.0 where the highest score is the item's class, else 0.0: scores (..., N, C), targets (N,) int64 -> (..., N)."""
    return (scores.argmax(dim=-1) == targets).float()


def unseen(train: torch.Tensor, held: torch.Tensor, classes: int) -> torch.Tensor:
    """(len(held),) bool: items whose class number is not among those of ``train``; they cannot be scored."""
    return torch.bincount(train, minlength=classes)[held] == 0
