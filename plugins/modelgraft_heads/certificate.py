"""How far a model is from the best there is: objective and bound in float64, on the features as they were given.

A solver works on features that were centred, rotated, scaled and rounded to float32, and its model is rounded to be kept. What it
claims is found here, from what is kept and what was given, whatever was done between.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Exact:
    """Objective and certificate of one problem in float64."""

    classes: int
    x: torch.Tensor
    targets: torch.Tensor

    def certify(
        self, k: int, weight: torch.Tensor, bias: torch.Tensor, penalty: torch.Tensor, s: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(certificate, objective, bias) of weight (C, R), after Newton's method on the bias alone."""
        z = self.x @ weight.T
        single = self.classes == 1
        y = self.targets[k][:, None].double() if single else torch.nn.functional.one_hot(self.targets, self.classes)
        for _ in range(30):
            p = torch.sigmoid(z + bias) if single else torch.softmax(z + bias, dim=1)
            residual = (p - y) * s[:, None]
            slope = residual.sum(dim=0)
            if float(slope.abs().max()) < 1e-14:
                break
            ps = p * s[:, None]
            bend = torch.diag(ps.sum(dim=0)) - ps.T @ p
            if not single:  # a common shift of all biases changes nothing: pin it
                bend = bend + 1.0 / self.classes * float(bend.diagonal().mean())
            change = torch.linalg.lstsq(bend, slope[:, None]).solution[:, 0]
            bias = bias - change.clamp(-3, 3)
        p = torch.sigmoid(z + bias) if single else torch.softmax(z + bias, dim=1)
        gradient = ((p - y) * s[:, None]).T @ self.x + penalty * weight
        if single:
            losses = torch.nn.functional.softplus(z[:, 0] + bias) - (z[:, 0] + bias) * y[:, 0]
        else:
            losses = -torch.log_softmax(z + bias, dim=1).gather(1, self.targets[:, None])[:, 0]
        objective = (losses * s).sum() + penalty / 2 * weight.square().sum()
        return gradient.square().sum() / (2 * penalty), objective, bias


@dataclass(frozen=True, slots=True)
class Kept:
    """A model as it is kept."""

    weight: torch.Tensor
    """(C, D) float64, of numbers that float32 holds."""
    bias: torch.Tensor
    """(C,) float64, for features less the centre they are judged at."""
    gap: float
    """No model whatever has an objective lower by more than this, in nats; infinite where the numbers are not finite."""
    objective: float


def keep(
    exact: Exact, weight: torch.Tensor, bias: torch.Tensor, penalty: torch.Tensor, s: torch.Tensor, k: int = 0
) -> Kept:
    """Round a model to what is kept, find the bias that is best for it, and certify that.

    Args:
        exact: on the given features less a centre near most of them, in float64.
        weight: (C, D) float64.
        bias: (C,) float64, for features less that centre.
        penalty: () float64, on the scale of the features as they were.
        s: (N,) float64, weights of the items, with sum 1.
        k: of the targets' rows, where each label stands alone.
    """
    bound, objective, _ = exact.certify(k, weight, bias, penalty, s)
    rounded = weight.float().double()
    own, there, best = exact.certify(k, rounded, bias, penalty, s)
    # Two bounds for what is kept: its own, and how much worse it is than the model before, of which there is a bound.
    gap = torch.minimum(own, (there - objective).clamp_min(0.0) + bound)
    return Kept(rounded, best, float(gap) if bool(gap.isfinite()) else float("inf"), float(there))
