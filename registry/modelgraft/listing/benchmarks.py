"""The one published figure a model is ranked by, and the name of the benchmark it was taken on.

Figures of two benchmarks are not comparable: whoever ranks by them keeps the benchmarks apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

ZERO_SHOT: Final = "ImageNet-1k zero-shot top-1 (%)"
CLASSIFICATION: Final = "ImageNet-1k top-1 (%)"
SENTENCES: Final = "sbert.net sentence embeddings (14 datasets)"

HEADLINES: Final[Mapping[str, tuple[str, ...]]] = {
    "zero-shot": (ZERO_SHOT, SENTENCES),
    "classification": (CLASSIFICATION,),
    "features": (ZERO_SHOT, CLASSIFICATION, SENTENCES),
    "regression": (),
}
"""Task -> benchmarks that say something about it, the first that a model has a figure for being its headline."""


class Headline(NamedTuple):
    """A figure and where it is from."""

    benchmark: str
    """A key of `Entry.metrics`."""
    score: float
    """In the benchmark's own unit; larger is better."""


def ranked_by(task: str | None = None, benchmark: str | None = None) -> tuple[str, ...]:
    """Benchmarks to look for in this order: the one that is named, else those of the task, else all headline ones."""
    return (benchmark,) if benchmark is not None else HEADLINES[task or "features"]


def headline(metrics: Mapping[str, float], benchmarks: Iterable[str]) -> Headline | None:
    """The first of ``benchmarks`` that there is a figure for; None without any."""
    return next((Headline(name, metrics[name]) for name in benchmarks if name in metrics), None)
