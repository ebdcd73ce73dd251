"""Ridge regression for every penalty at once, with the exact leave-one-out error of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from modelgraft_heads.design import Design

REFINEMENTS: Final = 50
EXACT: Final = 1e-14
"""The part of the targets' squares at which there is nothing to refine."""


@dataclass(frozen=True, slots=True)
class RidgePath:
    """What every penalty gives: ``|y - xW - b|^2 + alpha |W|^2``, the intercept not penalised."""

    alphas: torch.Tensor
    """(A,) float64, on the scale of the features as they were (scikit-learn's ``Ridge(alpha)``)."""
    errors: torch.Tensor
    """(A, K) float64: mean squared leave-one-out error of each column of targets."""
    weights: torch.Tensor
    """(A, K, R) float64, of the rotated features."""
    bias: torch.Tensor
    """(K,) float64: the rotated features are centred, so it is the mean of the targets for every penalty."""


def solve_ridge(design: Design, targets: torch.Tensor, alphas: torch.Tensor) -> RidgePath:
    """The path over ``alphas`` (A,) > 0 for targets (N, K), N >= 2, in float64.

    The residual of item i left out is ``r_i / (1 - h_ii)`` with h the diagonal of the hat matrix (Allen 1974; Golub, Heath and
    Wahba 1979); the intercept adds 1/N to it. The design's rotation makes it a weighted sum of squares for every alpha.
    """
    x, y = design.rotated.double(), targets.double()
    count = len(x)
    mean = y.mean(dim=0)
    centred = y - mean
    energy = design.variances * count
    directions = x / energy.sqrt()
    projected = directions.T @ centred
    shrink = energy / (energy + alphas[:, None] / design.scale**2)
    leverage = 1.0 / count + directions.square() @ shrink.T
    errors, weights = [], []
    for n in range(len(alphas)):
        fitted = shrink[n][:, None] * projected
        residual = centred - directions @ fitted
        left_out = residual / (1 - leverage[:, n : n + 1]).clamp_min(1e-12)
        errors.append(left_out.square().mean(dim=0))
        weights.append((fitted / energy.sqrt()[:, None]).T)
    return RidgePath(alphas, torch.stack(errors), torch.stack(weights), mean)


def refine(
    features: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, alpha: float, design: Design
) -> tuple[torch.Tensor, float]:
    """Go on from a solution by preconditioned conjugate gradients on the features as given, and bound what is left.

    Args:
        features: (N, D) float64, less their mean.
        targets: (N, K) float64, less theirs.
        weight: (K, D) float64.

    Returns:
        (K, D), and the part of the targets' squares that the objective is at most above its optimum: it is ``2 alpha``-strongly
        convex, so that the distance is at most ``|gradient|^2 / (4 alpha)``. The largest over the columns.
    """
    total = targets.square().sum(dim=0).clamp_min(1e-300)
    scale = design.variances * len(features) * design.scale**2 + alpha

    def residual(w: torch.Tensor) -> torch.Tensor:
        return (targets - features @ w.T).T @ features - alpha * w

    def bound(r: torch.Tensor) -> float:
        return float((r.square().sum(dim=1) / alpha / total).max())

    best, left = weight, residual(weight)
    lowest = bound(left)
    direction = torch.zeros_like(weight)
    before = torch.ones(len(weight), 1, dtype=weight.dtype, device=weight.device)
    now = weight
    for step in range(REFINEMENTS):
        if lowest <= EXACT:
            break
        turned = (left @ design.axes / scale) @ design.axes.T
        squared = (left * turned).sum(dim=1, keepdim=True)
        direction = turned + (direction * squared / before.clamp_min(1e-300) if step else 0.0)
        image = (features @ direction.T).T @ features + alpha * direction
        curvature = (direction * image).sum(dim=1, keepdim=True)
        now = now + direction * torch.where(curvature > 0, squared / curvature.clamp_min(1e-300), 0.0)
        left, before = residual(now), squared
        if bound(left) < lowest:
            best, lowest = now, bound(left)
    return best, lowest
