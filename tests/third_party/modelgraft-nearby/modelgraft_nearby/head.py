"""Classes by their medians, compared by the mean absolute difference."""

import torch
from modelgraft.errors import UsageError


class NearestMedian:
    """Has the members of `modelgraft.LearnedHead`; there is no class to inherit."""

    def __init__(self, medians: torch.Tensor, spread: float):
        self.medians = medians  # (C, D); NaN for a class without an example
        self.spread = spread

    @classmethod
    def fit(cls, examples, *, spread=None):
        """``spread`` is the distance that counts as one unit of doubt; not given, it is chosen by the folds."""
        if spread is not None and not (isinstance(spread, (int, float)) and spread > 0):
            raise UsageError(f"spread={spread!r} for the head 'nearest-median': give a number above 0")
        x, y, count = examples.features, examples.targets, len(examples.classes)
        if spread is None:
            tried = [float(x.std()) * factor for factor in (0.03, 0.1, 0.3, 1.0)]
            losses = torch.zeros(len(tried))
            for fold in examples.folds.unique():
                held = examples.folds == fold
                if held.all():  # too few items to choose by
                    continue
                medians = _medians(x[~held], y[~held], count)
                for n, value in enumerate(tried):
                    chances = cls(medians, value).probabilities(x[held])
                    losses[n] -= chances[torch.arange(len(chances)), y[held]].clamp_min(1e-6).log().sum().cpu()
            spread = tried[int(losses.argmin())]
        return cls(_medians(x, y, count), float(spread))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        distances = (features[:, None, :] - self.medians).abs().mean(dim=-1)
        return (-distances / self.spread).nan_to_num(nan=-1e4)

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        return self.logits(features).softmax(dim=-1)

    def to(self, device):
        return NearestMedian(self.medians.to(device), self.spread)

    def state(self):
        """Tensors apart, all else as plain JSON types: together they are what is saved."""
        return {"medians": self.medians}, {"spread": self.spread}

    @classmethod
    def restore(cls, tensors, settings):
        return cls(tensors["medians"], settings["spread"])

    def report(self):
        return {"chosen": {"spread": self.spread}}


def _medians(x, y, count):
    nothing = x.new_full((x.shape[1],), float("nan"))
    return torch.stack([x[y == c].median(dim=0).values if (y == c).any() else nothing for c in range(count)])
