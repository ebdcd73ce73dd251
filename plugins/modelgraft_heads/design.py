"""Features made ready for solvers: centred, rotated onto their principal axes, scaled by one number. One object for all of them.

All three are exact changes of variables for a linear model with an unpenalised intercept: the optimum is the same model. What
they buy is a diagonal second-moment matrix, which is a preconditioner for logistic losses and the solution of ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from modelgraft.errors import UsageError

NEGLIGIBLE: Final = 1e-28
"""Directions whose variance is below this part of all of it are rounding of the rotation itself, which is done in float64."""
TRUSTED: Final = 1e-8
"""The part of a decomposition's largest variance down to which it tells directions apart; what is below is decomposed anew: one
giant row hides all else from the first."""


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
        # Any orthonormal axes that span the rows serve: the rotated features are computed from them row by row, so that a giant row
        # spoils no other. More columns than rows: the span of the rows first.
        axes = torch.linalg.qr(centred.T).Q if centred.shape[1] > len(centred) else None
        rotated = centred if axes is None else centred @ axes
        turn = _principal(rotated)
        rotated, axes = rotated @ turn, turn if axes is None else axes @ turn
        variances = rotated.square().mean(dim=0)
        order = variances.argsort(descending=True)
        order = order[variances[order] > NEGLIGIBLE * variances.sum().clamp_min(1e-300)]
        variances, axes = variances[order], axes[:, order]
        scale = float(variances[0].sqrt()) if len(order) else 1.0
        rotated = (rotated[:, order] / scale).to(dtype).contiguous()
        return cls(rotated, variances / scale**2, mean, axes.contiguous(), scale)

    def to(self, dtype: torch.dtype) -> Self:
        """The same design with its features in another dtype; float64 from float32 does not bring back what rounding took."""
        return replace(self, rotated=self.rotated.to(dtype))

    def apply(self, features: torch.Tensor) -> torch.Tensor:
        """(B, R) of ``rotated``'s dtype for other features (B, D)."""
        return ((features.double() - self.mean) @ self.axes / self.scale).to(self.rotated.dtype)

    def unrotate(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(C, D) and (C,) float64 on the features as they were, from (C, R) and (C,) on ``rotated``."""
        plain = weight.double() @ self.axes.T / self.scale
        return plain, bias.double() - plain @ self.mean


def _principal(centred: torch.Tensor) -> torch.Tensor:
    """(R, R) float64, orthonormal: the principal axes of columns (N, R), with small variances found as well as large ones."""
    count, width = centred.shape
    axes = torch.eye(width, dtype=torch.float64, device=centred.device)
    begin, columns = 0, centred
    while begin < width:
        variances, turn = torch.linalg.eigh(columns.T @ columns / max(count, 1))
        turn = turn.flip(1)
        axes[:, begin:] = axes[:, begin:] @ turn
        good = int((variances.flip(0) > TRUSTED * variances[-1]).sum())
        if good == 0 or begin + good >= width or not float(variances[-1]) > 0:
            break
        begin += good
        columns = centred @ axes[:, begin:]
    return axes
