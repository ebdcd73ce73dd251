"""What all methods ask of the two sets before they compute anything."""

from __future__ import annotations

from typing import Final

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.calls.score_inputs import check_finite_rows

LEAST: Final = 4
"""Items of a domain: of fewer a covariance, folds or a subspace say nothing."""


def checked_domains(source: np.ndarray, target: np.ndarray, least: int = LEAST) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets as float64.

    Args:
        source: (N, D), the features of the labelled domain.
        target: (M, D), those of the other.
        least: items that a domain must have.

    Raises:
        UsageError: no matrices of one width, too few items, numbers that are not finite.
    """
    found = []
    for name, given in (("source", source), ("target", target)):
        features = np.asarray(given, np.float64)
        if features.ndim != 2:
            raise UsageError(f"the features of the {name} have the shape {features.shape}, not (items, numbers)")
        if len(features) < least:
            there = "1 readable item" if len(features) == 1 else f"{len(features)} readable items"
            raise UsageError(f"the {name} has {there}; adapting takes {least} or more")
        check_finite_rows(features, f"the {name}")
        found.append(features)
    if found[0].shape[1] != found[1].shape[1]:
        raise UsageError(
            f"the source has features of {found[0].shape[1]} numbers and the target of {found[1].shape[1]}; "
            "take both from one model"
        )
    return found[0], found[1]
