"""timm's own ImageNet-1k results, as figures of entries. ``imagenet.csv`` is the data, its head the source and the licence."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).with_name("imagenet.csv")
TOP_1 = "ImageNet-1k top-1 (%)"
TOP_5 = "ImageNet-1k top-5 (%)"


def metrics(name: str, size: int) -> dict[str, float]:
    """What timm has published for one of its models: nothing where it has published nothing.

    Args:
        name: timm's own, ``ARCH.TAG``.
        size: width of an image as the entry preprocesses it. The figures at this size bear the benchmark's plain name; those
            at another size (timm tests some models at larger images too) say so in theirs, and do not rank the entry.
    """
    found: dict[str, float] = {}
    for tested, top_1, top_5 in _results().get(name, ()):
        at = "" if tested == size else f" at {tested} px"
        found[TOP_1.replace(" (", f"{at} (")] = top_1
        found[TOP_5.replace(" (", f"{at} (")] = top_5
    return found


@cache
def _results() -> dict[str, list[tuple[int, float, float]]]:
    table: dict[str, list[tuple[int, float, float]]] = {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            table.setdefault(row["model"], []).append((int(row["img_size"]), float(row["top1"]), float(row["top5"])))
    return table
