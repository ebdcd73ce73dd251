"""Tip-Adapter and Tip-Adapter-F: zero-shot plus a cache of the examples (Zhang et al., ECCV 2022, arXiv 2207.09519).

``logits = zero-shot + α · exp(−β(1 − f Kᵀ)) L``: f the feature and K the examples, of length 1; L their classes, one-hot. Zero-shot
is ``scale * similarity + bias`` by the model's own rule (for CLIP the scale is 100). The published script chooses α and β on
the test set; here they are chosen by folds of the examples.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, ClassVar, Self

import torch
from modelgraft.contract import ScoreRule
from modelgraft.learning import Examples
from torch.nn import functional as F

from modelgraft_heads.base import FittedHead, Given, checked, item_weights, one_hot, text_of, tiles, unit
from modelgraft_heads.choosing import choose, log_likelihood

ALPHAS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
BETAS = (1.0, 3.0, 5.5, 10.0, 20.0, 50.0)
"""Values that are tried, the nearest to zero-shot and the smoothest first."""
ALPHA, BETA = 1.0, 5.5
"""The published values for ImageNet: used while keys are trained, and where there is nothing to choose by."""


class TipAdapterHead(FittedHead):
    """Nothing is trained: the keys are the examples.

    Tensors: ``weight`` (C, D), the class embeddings; ``keys`` (N, D), of the examples; ``values`` (N, C), their classes.
    """

    name: ClassVar[str] = "tip-adapter"
    own_settings: ClassVar[tuple[str, ...]] = ()
    weight: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Fill the cache; choose α and β by the log-likelihood of held-out items.

        Settings: ``alpha``, ``beta``. Of all pairs within one standard error of the best the smallest α is taken (0 is
        zero-shot), and of these the smallest β. Class weights multiply the classes in the cache. Without folds 1 and 5.5.

        Raises:
            UsageError: no class embeddings; as `checked`; a setting that cannot be.
        """
        text = text_of(checked(examples, cls.name), cls.name)
        given = Given(cls.name, settings, ("alpha", "beta", *cls.own_settings))
        alpha, beta = given.number("alpha", 0), given.number("beta", 0)
        rule = text.rule
        weight = unit(text.weight.float()) if rule.similarity == "cosine" else text.weight.float()
        zero_shot = _zero_shot(examples.features, weight, rule)
        features = unit(examples.features.float())
        values = one_hot(examples.targets, len(examples.classes))
        if examples.class_weights is not None:
            values = values * examples.class_weights
        everything = torch.arange(len(features), device=features.device)

        def keys_of(rows: torch.Tensor) -> torch.Tensor:
            return cls._keys(examples, features, values, zero_shot, rows, given)

        grid = [
            {"alpha": a, "beta": b}
            for a in (ALPHAS if alpha is None else (alpha,))
            for b in (BETAS if beta is None else (beta,))
            if a or beta is not None or b == BETAS[0]  # at α = 0 every β is the same
        ]

        def scores(train: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            keys = keys_of(train)
            caches = {b: cached(features[held], keys, values[train], b) for b in {s["beta"] for s in grid}}
            return torch.stack(
                [log_likelihood(zero_shot[held] + s["alpha"] * caches[s["beta"]], examples.targets[held]) for s in grid]
            )

        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
        if len(grid) > 1:
            choice = choose(examples.folds, len(grid), scores, item_weights(examples))
            if choice is not None:
                alpha, beta = grid[choice.best]["alpha"], grid[choice.best]["beta"]
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
                if alpha == 0:
                    report["notes"].append(
                        "the cache is not better than zero-shot beyond chance: this head is zero-shot"
                    )
            else:
                report["notes"].append("too few examples to choose by folds: the published alpha and beta")
        report["chosen"] = {"alpha": ALPHA if alpha is None else alpha, "beta": BETA if beta is None else beta}
        return cls(
            {"weight": weight, "keys": keys_of(everything), "values": values},
            {"rule": asdict(rule), "task": examples.task, **report["chosen"], "report": report},
        )

    @classmethod
    def _keys(
        cls,
        examples: Examples,
        features: torch.Tensor,
        values: torch.Tensor,
        zero_shot: torch.Tensor,
        rows: torch.Tensor,
        given: Given,
    ) -> torch.Tensor:
        """The keys (len(rows), D) of a cache of the examples ``rows``."""
        return features[rows]

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D), which need not be normalised."""
        logits = _zero_shot(features, self.weight, ScoreRule(**self.settings["rule"]))
        if self.settings["alpha"] == 0:
            return logits
        return logits + self.settings["alpha"] * cached(
            unit(features.float()), self.keys, self.values, self.settings["beta"]
        )


class TipAdapterFHead(TipAdapterHead):
    """The keys start at the examples and are trained: AdamW 1e-3, 20 epochs, cosine schedule, batch 256, at α = 1 and β = 5.5;
    then α and β are chosen, keys being trained anew on every fold's part."""

    name: ClassVar[str] = "tip-adapter-f"
    own_settings: ClassVar[tuple[str, ...]] = ("epochs", "rate", "batch")

    @classmethod
    def _keys(
        cls,
        examples: Examples,
        features: torch.Tensor,
        values: torch.Tensor,
        zero_shot: torch.Tensor,
        rows: torch.Tensor,
        given: Given,
    ) -> torch.Tensor:
        rate = given.number("rate", 0) if "rate" in given.values else 1e-3
        epochs, batch = given.whole("epochs", 1) or 20, given.whole("batch", 1) or 256
        weights = item_weights(examples)
        keys = features[rows].clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([keys], lr=rate or 0.0, eps=1e-4)
        steps = epochs * math.ceil(len(rows) / batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        generator = torch.Generator().manual_seed(examples.seed)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=generator).to(rows.device)
            for chunk in rows[order].split(batch):
                affinity = torch.exp(-BETA * (1 - features[chunk] @ keys.T))
                logits = zero_shot[chunk] + ALPHA * affinity @ values[rows]
                losses = F.cross_entropy(logits, examples.targets[chunk], reduction="none")
                part = torch.ones_like(losses) if weights is None else weights[chunk]
                optimizer.zero_grad()
                ((losses * part).sum() / part.sum().clamp(min=1e-12)).backward()
                optimizer.step()
                schedule.step()
        return keys.detach()


def cached(features: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, beta: float) -> torch.Tensor:
    """(B, C): ``exp(−β(1 − f Kᵀ)) L`` for features (B, D) and keys (N, D) of length 1, values (N, C); in tiles."""
    parts = [torch.exp(-beta * (1 - features[rows] @ keys.T)) @ values for rows in tiles(len(features), len(keys))]
    return torch.cat(parts) if parts else values.new_zeros(0, values.shape[1])


def _zero_shot(features: torch.Tensor, weight: torch.Tensor, rule: ScoreRule) -> torch.Tensor:
    """(B, C) float32, the model's own logits."""
    measured = unit(features.float()) if rule.similarity == "cosine" else features.float()
    return measured @ weight.T * rule.scale + rule.bias
