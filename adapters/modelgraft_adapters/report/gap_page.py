"""A gap as one HTML page, as self-contained as the report of a probe."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup

from modelgraft_adapters.report.charts import Chart
from modelgraft_adapters.report.probe_figures import percent
from modelgraft_adapters.report.probe_page import render
from modelgraft_adapters.report.thumbnails import quote, thumbnail
from modelgraft_adapters.runs.gap_result import Gap

BINS: Final = 20
MOST_CLASSES: Final = 200


def build_gap_page(found: Gap, source: str = "source", target: str = "target") -> str:
    """The page: the verdict, the measures, how strange the target's items are, classes, the strangest items. All texts are
    escaped."""
    low, high = found.apart_interval
    tiles = [
        (
            "p-value of the gap",
            f"{found.mmd.p_value:.2g}",
            f"MMD, RBF kernel, {found.mmd.permutations:,} permutations",
        ),
        ("A-distance", f"{found.apart.distance:.2f}", f"95 % interval {low:.2f} to {high:.2f}; 0 the same, 2 apart"),
        (
            "Frechet distance beyond chance",
            f"{found.frechet.beyond_chance:.3g}",
            f"{found.frechet.value:.3g}, of which {found.frechet.by_chance:.3g} by chance with so many items",
        ),
    ]
    if found.strange is not None:
        tiles.append(("strange target items", percent(found.strange), "1 % of the source's are as strange"))
    return render(
        "gap.html.j2",
        title=f"{source} and {target}",
        source=source,
        target=target,
        found=found,
        tiles=tiles,
        verdict=found.verdict(),
        strangeness=_strangeness(found),
        measures=_measures(found),
        classes=found.classes[:MOST_CLASSES],
        shares=() if found.labels is None else sorted(found.labels.shares, key=lambda s: -abs(s.target - s.source)),
        most=MOST_CLASSES,
        percent=percent,
        strangest=[_item(found, one.index, f"distance {one.distance:.2f}") for one in found.strangest],
    )


def _measures(found: Gap) -> list[tuple[str, str, str]]:
    return [
        (
            "MMD, RBF kernel",
            f"{found.mmd.value:.4g}",
            f"p = {found.mmd.p_value:.2g}; bandwidth {found.mmd.bandwidth:.4g}",
        ),
        ("MMD, linear kernel", f"{found.linear.value:.4g}", f"p = {found.linear.p_value:.2g}; of the means alone"),
        ("A-distance", f"{found.apart.distance:.3f}", f"error of a linear classifier {found.apart.error:.3f}"),
        ("Frechet distance", f"{found.frechet.value:.4g}", f"{found.frechet.of_means:.4g} of the means alone"),
    ]


def _strangeness(found: Gap) -> Markup | None:
    """How strange the target's items are for the source: a flat line without a gap."""
    if not found.oods:
        return None
    shares = np.histogram(found.oods, bins=BINS, range=(0.0, 1.0))[0] / len(found.oods)
    highest = max(float(shares.max()) * 1.1, 2 / BINS)
    step = next(step for step in (0.05, 0.1, 0.25) if highest / step < 6)
    chart = Chart(
        f"how strange {len(found.oods)} target items are for the source",
        (0.0, 1.0),
        (0.0, highest),
        "source items at least as strange",
        "target items",
        y_ticks=[(n * step, f"{100 * n * step:.0f} %") for n in range(int(highest / step) + 1)],
        height=260,
        width=900,
    )
    for number, share in enumerate(shares.tolist()):
        title = f"{number / BINS:.2f} to {(number + 1) / BINS:.2f}: {percent(share)} of the target items"
        chart.bar((number + 0.5) / BINS, 0.9 / BINS, share, title)
    chart.level(1 / BINS, "without a gap", "chance")
    return chart.svg()


def _item(found: Gap, index: int, note: str) -> dict[str, Any]:
    item, image = found.target.items[index], found.target.modality == "image"
    label = None
    if found.target.task == "single-label" and found.target.targets is not None and found.target.targets[index] >= 0:
        label = found.target.classes[int(found.target.targets[index])]
    return {
        "identity": found.target.identity(index),
        "picture": thumbnail(item) if image else None,
        "text": None if image else quote(item),
        "label": label,
        "note": note,
    }
