"""The text head: each class is the embedding of its name, as in CLIP (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import torch
from modelgraft.contract import ScoreRule
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, Task
from torch import nn
from torch.nn import functional as F

from modelgraft_heads.base import Given, checked, text_of


class TextHead(nn.Module):
    """Scores of features against class embeddings: ``scale * similarity + bias``, then softmax or sigmoid, as trained.

    Args:
        weight: class embeddings (C, D), any float dtype; under the cosine rule they are normalised to length 1 in float32.
        rule: how similarities become scores.
        task: of a single-label task the probabilities of an item sum to 1 under either rule (softmax of the logits); None
            leaves them as the model was trained.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, rule: ScoreRule, task: Task | None = None) -> None:
        super().__init__()
        self.rule = rule
        self.task = task
        self.register_buffer("weight", self._measured(weight))

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """The zero-shot head of ``examples.text``; of the examples nothing is trained, they only have to be sound.

        Raises:
            UsageError: no class embeddings; a setting (there is none); a multi-label task with a model that scores the classes
                against each other (softmax).
        """
        Given("text", settings, ())
        text = text_of(checked(examples, "text", ("single-label", "multi-label")), "text")
        if examples.task == "multi-label" and text.rule.kind == "softmax":
            raise UsageError(
                "zero-shot with several labels per item needs a model trained with a sigmoid (SigLIP); this one scores the "
                "classes against each other: take another model, or a head that is trained"
            )
        return cls(text.weight, text.rule, examples.task)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D), which need not be normalised."""
        return self._measured(features) @ self.weight.T * self.rule.scale + self.rule.bias

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: rows sum to 1 under softmax and in single-label tasks; else every class stands alone."""
        logits = self.logits(features)
        alone = self.rule.kind == "sigmoid" and self.task != "single-label"
        return logits.sigmoid() if alone else logits.softmax(dim=-1)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(tensors, settings): all it takes to make the head again."""
        return {"weight": self.weight}, {"rule": asdict(self.rule), "task": self.task}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Self:
        """The head that gave this `state`, to the bit."""
        head = cls(tensors["weight"], ScoreRule(**settings["rule"]), settings["task"])
        head.weight = tensors["weight"]  # normalising once more would change the last bit
        return head

    def report(self) -> dict[str, Any]:
        """Nothing was chosen."""
        return {"chosen": {}, "curve": [], "notes": ["zero-shot: nothing was trained on the examples"]}

    def _measured(self, embeddings: torch.Tensor) -> torch.Tensor:
        """As the similarity takes them: float32, of length 1 for the cosine."""
        return F.normalize(embeddings.float(), dim=-1) if self.rule.similarity == "cosine" else embeddings.float()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As `logits`."""
        return self.logits(features)
