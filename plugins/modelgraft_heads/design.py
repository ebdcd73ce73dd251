"""Features made ready for solvers: centred, rotated onto their principal axes, scaled by one number. One object for all of them.

All three are exact changes of variables for a linear model with an unpenalised intercept: the optimum is the same model. What
they buy is a diagonal second-moment matrix, which is a preconditioner for logistic losses and the solution of ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import torch
from modelgraft.errors import UsageError

NEGLIGIBLE: Final = 1e-13
"""Directions whose variance is below this part of the largest are rounding of float32 features, not features."""


@dataclass(frozen=True, slots=True)
class Design:
    """``rotated = (features - mean) @ axes / scale``: N items in R <= min(N - 1, D) uncorrelated directions."""

    rotated: torch.Tensor
    """(N, R), float32 or float64."""
    variances: torch.Tensor
    """(R,) float64, of the columns of ``rotated``, largest first; the first is 1."""
    mean: torch.Tensor
    """(D,) float64."""
    axes: torch.Tensor
    """(D, R) float64, orthonormal columns."""
    scale: float
    """Square root of the largest variance of the features."""

    @classmethod
    def of(cls, features: torch.Tensor, dtype: torch.dtype = torch.float32) -> Self:
        """The design of features (N, D), N >= 1, on their device; the decomposition itself is done in float64.

        Constant and duplicated columns, and D > N, leave R smaller: in directions without variance the optimum is 0.

        Raises:
            UsageError: a feature that is NaN or infinite.
        """
        if not bool(torch.isfinite(features).all()):
            bad = int((~torch.isfinite(features).all(dim=1)).sum())
            raise UsageError(
                f"{bad} of {len(features)} feature rows hold NaN or infinite values; leave those items out"
            )
        exact = features.double()
        mean = exact.mean(dim=0)
        centred = exact - mean
        count, width = centred.shape
        if width <= count:
            variances, axes = torch.linalg.eigh(centred.T @ centred / count)
        else:  # the same directions from the smaller matrix
            variances, left = torch.linalg.eigh(centred @ centred.T / count)
            axes = centred.T @ left / (variances.clamp_min(1e-300) * count).sqrt()
        variances, axes = variances.flip(0), axes.flip(1)
        rank = int((variances > NEGLIGIBLE * variances[0].clamp_min(1e-300)).sum()) if len(variances) else 0
        variances, axes = variances[:rank], axes[:, :rank]
        scale = float(variances[0].sqrt()) if rank else 1.0
        rotated = (centred @ axes / scale).to(dtype).contiguous()
        return cls(rotated, variances / scale**2, mean, axes.contiguous(), scale)

    def apply(self, features: torch.Tensor) -> torch.Tensor:
        """(B, R) of ``rotated``'s dtype for other features (B, D)."""
        return ((features.double() - self.mean) @ self.axes / self.scale).to(self.rotated.dtype)

    def unrotate(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(C, D) and (C,) float64 on the features as they were, from (C, R) and (C,) on ``rotated``."""
        plain = weight.double() @ self.axes.T / self.scale
        return plain, bias.double() - plain @ self.mean
