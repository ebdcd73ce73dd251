"""open_clip's own zero-shot results, as figures of entries. ``zero_shot.csv`` is the data, its head the source and the licence."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).with_name("zero_shot.csv")
IMAGENET = "ImageNet-1k zero-shot top-1 (%)"
AVERAGE = "open_clip mean of 38 datasets (%)"
_QUICK = "-quickgelu"


def metrics(model: str, tag: str, quick_gelu: bool = False) -> dict[str, float]:
    """What open_clip has published for a model as it is loaded here; nothing where it has published nothing.

    Args:
        quick_gelu: the weights are loaded with QuickGELU although the architecture's name does not say so. open_clip's row of
            that name was taken with the other activation; the row of its ``-quickgelu`` twin is of the very same model.
    """
    names = [model]
    if quick_gelu:
        names.insert(0, model + _QUICK)
    elif model.endswith(_QUICK) and tag == "openai":  # OpenAI's weights were always built with it, whatever the name
        names.append(model.removesuffix(_QUICK))
    for name in names:
        if (name, tag) in _results():
            top_1, average = _results()[name, tag]
            return {IMAGENET: top_1, AVERAGE: average}
    return {}


@cache
def _results() -> dict[tuple[str, str], tuple[float, float]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {(r["model"], r["tag"]): (_percent(r["imagenet_1k"]), _percent(r["average_38"])) for r in rows}


def _percent(fraction: str) -> float:
    return round(100 * float(fraction), 2)
