"""Ridge regression for every penalty at once, with the exact leave-one-out error of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from modelgraft_heads.design import Design


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
