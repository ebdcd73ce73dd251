"""The k-NN head: the k nearest examples by cosine vote with softmax weights.

As DINO and DINOv2 evaluate features (Wu et al. 2018, arXiv 1805.01978, section 3.4; facebookresearch/dinov2 ``eval/knn.py``): the
weight of a neighbour of cosine s is softmax(s / temperature) over the k, temperature 0.07.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from modelgraft.learning import Examples
from torch.nn import functional as F

from modelgraft_heads.base import FittedHead, Given, checked, one_hot, tiles, unit
from modelgraft_heads.choosing import choose, hits, splits, unseen

NEIGHBOURS = (20, 10, 50, 5, 100, 3, 200, 1)
"""Values of k that are tried. Among equals the nearest to 20 is taken, DINO's best (Caron et al. 2021, arXiv 2104.14294)."""
TEMPERATURE = 0.07
DEFAULT = 10
"""k where there is nothing to choose by."""


class KNNHead(FittedHead):
    """Tensors: ``keys`` (N, D) float32 of length 1, ``values`` (N, C) float32, what each example votes for."""

    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Remember the examples; choose k by the folds.

        Settings: ``k`` (chosen from 1, 3, 5, 10, 20, 50, 100, 200 as far as there are examples; of ties the nearest to 20),
        ``temperature`` (0.07). Chosen by the hits of held-out items, multi-label by minus the mean squared error of the
        memberships, regression by minus the squared error in units of each column's variance. Class weights multiply the votes.

        Raises:
            UsageError: as `checked`; a setting that cannot be.
        """
        checked(examples, "knn", ("single-label", "multi-label", "regression"))
        given = Given("knn", settings, ("k", "temperature"))
        temperature = given.number("temperature", 0, above=True) or TEMPERATURE
        k = given.whole("k", 1)
        keys = unit(examples.features.float())
        values = _votes(examples)
        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
        smallest = min((len(train) for train, _ in splits(examples.folds)), default=len(keys))
        if k is None:
            grid = [{"k": n} for n in NEIGHBOURS if n <= smallest] or [{"k": 1}]
            choice = choose(examples.folds, len(grid), _scores(examples, keys, values, grid, temperature))
            k = min(DEFAULT, len(keys)) if choice is None else grid[choice.best]["k"]
            if choice is not None:
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
        elif k > len(keys):
            report["notes"].append(f"k={k} with {len(keys)} examples: all of them vote")
            k = len(keys)
        report["chosen"] = {"k": k, "temperature": temperature}
        return cls(
            {"keys": keys, "values": values},
            {"k": k, "temperature": temperature, "task": examples.task, "report": report},
        )

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: the share of the votes; multi-label the weighted mean of the neighbours' memberships."""
        k, temperature = self.settings["k"], self.settings["temperature"]
        means = [found[0] for found in _neighbours(unit(features.float()), self.keys, self.values, [k], temperature)]
        mean = torch.cat(means) if means else self.values.new_zeros(0, self.values.shape[1])
        return _shares(mean) if self.settings["task"] == "single-label" else mean

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: logarithms of the votes (log-odds for multi-label), at least that of the smallest normal float32; of a
        regression the weighted mean of the neighbours' values."""
        mean = self.probabilities(features)
        if self.settings["task"] == "regression":
            return mean
        floor = torch.finfo(torch.float32).tiny
        if self.settings["task"] == "multi-label":
            return mean.clamp(min=floor).log() - (1 - mean).clamp(min=floor).log()
        return mean.clamp(min=floor).log()


def _votes(examples: Examples) -> torch.Tensor:
    """(N, C) float32: what each example votes for; of a regression its values, float64."""
    if examples.task != "single-label":
        return examples.targets.double() if examples.task == "regression" else examples.targets.float()
    votes = one_hot(examples.targets, len(examples.classes))
    if examples.class_weights is None:
        return votes
    # Only shares of votes are read: weights beside the largest of them neither over- nor underflow.
    return votes * (examples.class_weights / examples.class_weights[examples.targets].max())


def _shares(votes: torch.Tensor) -> torch.Tensor:
    """Votes (..., C) as shares; where nobody votes (class weights of 0) all classes alike."""
    total = votes.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, votes / total.clamp(min=torch.finfo(votes.dtype).tiny), 1 / votes.shape[-1])


def _neighbours(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, ks: list[int], temperature: float
) -> list[torch.Tensor]:
    """The weighted means (len(ks), tile, C) of the values of the k nearest keys, tile by tile: memory stays bounded."""
    found = []
    for rows in tiles(len(queries), max(len(keys), max(ks) * values.shape[1])):
        similarity, index = (queries[rows] @ keys.T).topk(max(ks), dim=1)
        nearest = values[index]
        # In float64, less the nearest's: a temperature near 0 leaves the nearest alone, and divides nothing beyond all numbers.
        closeness = (similarity - similarity[:, :1]).double() / temperature
        found.append(
            torch.stack(
                [torch.einsum("bk,bkc->bc", F.softmax(closeness[:, :k], dim=1).to(nearest), nearest[:, :k]) for k in ks]
            )
        )
    return found


def _scores(
    examples: Examples, keys: torch.Tensor, values: torch.Tensor, grid: list[dict[str, int]], temperature: float
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Scores of held-out items for every k, one search for all."""
    ks = [setting["k"] for setting in grid]

    def scores(train: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        means = torch.cat(_neighbours(keys[held], keys[train], values[train], ks, temperature), dim=1)
        if examples.task == "single-label":
            correct = hits(means, examples.targets[held])
            unknown = unseen(examples.targets[train], examples.targets[held], len(examples.classes))
            return torch.where(unknown, torch.nan, correct)
        spread = values.var(dim=0, correction=0) if examples.task == "regression" else torch.ones_like(values[0])
        spread = torch.where(spread > 0, spread, 1.0)
        return -((means - values[held]) ** 2 / spread).mean(dim=-1)

    return scores
