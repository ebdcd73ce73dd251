"""The prototype head: the nearest class mean by cosine (Snell et al. 2017, arXiv 1703.05175, with the cosine in place of the
Euclidean distance, as for features of contrastive models)."""

from __future__ import annotations

from typing import Any, Self

import torch
from modelgraft.learning import Examples

from modelgraft_heads.base import ABSENT, SHARPEST, FittedHead, Given, checked, one_hot, unit
from modelgraft_heads.choosing import choose, log_likelihood, unseen

TEMPERATURES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Values that are tried, the least sure of itself first."""
DEFAULT = 0.1
"""The temperature where there is nothing to choose by."""


class PrototypeHead(FittedHead):
    """Logits are cosines with the class means over a temperature.

    Tensors: ``prototypes`` (C, D) float32 of length 1, zero for a class that had no example; ``present`` (C,) bool.
    """

    prototypes: torch.Tensor
    present: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Features of length 1, their mean per class, of length 1 again.

        Setting: ``temperature``, chosen by the log-likelihood of held-out items. It moves the probabilities, never the
        predicted class. Class weights weigh the held-out items; a class mean does not depend on them.

        Raises:
            UsageError: as `checked`; a setting that cannot be.
        """
        checked(examples, "prototype")
        given = Given("prototype", settings, ("temperature",))
        temperature = given.number("temperature", 1 / SHARPEST)
        features, targets, count = unit(examples.features.float()), examples.targets, len(examples.classes)
        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}

        def scores(train: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            cosines = features[held] @ class_means(features[train], targets[train], count).T
            unknown = unseen(targets[train], targets[held], count)
            return torch.stack(
                [
                    torch.where(unknown, torch.nan, log_likelihood(_masked(cosines / t, targets[train]), targets[held]))
                    for t in TEMPERATURES
                ]
            )

        if temperature is None:
            weights = None if examples.class_weights is None else examples.class_weights[targets]
            choice = choose(examples.folds, len(TEMPERATURES), scores, weights)
            temperature = DEFAULT if choice is None else TEMPERATURES[choice.highest]
            if choice is not None:
                # Calibration wants the likeliest temperature, not the flattest that is as good: no prediction depends on it.
                report["curve"] = choice.curve([{"temperature": t} for t in TEMPERATURES])
        present = torch.bincount(targets, minlength=count) > 0
        report["notes"] += absent_notes(present, examples.classes)
        report["chosen"] = {"temperature": temperature}
        return cls(
            {"prototypes": class_means(features, targets, count), "present": present},
            {"temperature": temperature, "task": examples.task, "report": report},
        )

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: cosine / temperature."""
        cosines = unit(features.float()) @ self.prototypes.T
        return (cosines / self.settings["temperature"]).masked_fill(~self.present, ABSENT)


def class_means(features: torch.Tensor, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """(C, D) of length 1: the mean of each class's features (N, D) of length 1; zero for a class without items."""
    return unit(one_hot(targets, classes).to(features.dtype).T @ features)


def absent_notes(present: torch.Tensor, classes: tuple[str, ...]) -> list[str]:
    """A line for the user on classes that had no example."""
    missing = [name for name, there in zip(classes, present.tolist(), strict=True) if not there]
    if not missing:
        return []
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return [f"no example of {shown}: never predicted"]


def _masked(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits (B, C) with the classes that are not among ``targets`` put out."""
    return logits.masked_fill(torch.bincount(targets, minlength=logits.shape[1]) == 0, ABSENT)
