"""Scores as text, for tables of the command line and of reports."""

from __future__ import annotations

import math
from typing import Any


def interval(score: Any) -> str:
    """A score with its interval, where there is one."""
    known = math.isfinite(score.low) and math.isfinite(score.high)
    between = f"  (95 %: {score.low:.3f} to {score.high:.3f})" if known else ""
    note = f"  ({score.note})" if score.note else ""
    return f"{figure(score.value)}{between}{note}"


def figure(value: float) -> str:
    """A score without its interval."""
    return f"{value:.3f}" if math.isfinite(value) else "undefined"
