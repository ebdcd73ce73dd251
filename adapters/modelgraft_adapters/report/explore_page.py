"""An exploration as one HTML page, as self-contained as the report of a probe."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from modelgraft_adapters.explore.explorer import Exploration
from modelgraft_adapters.report.charts import Chart, mark
from modelgraft_adapters.report.probe_figures import percent
from modelgraft_adapters.report.probe_page import render
from modelgraft_adapters.report.thumbnails import quote, thumbnail

MOST_POINTS: Final = 3000
MOST_NAMES: Final = 40
COLOURS: Final = 10
"""Of the style sheet; further groups are told by the shape of their marks."""


def build_page(found: Exploration, data_name: str = "data") -> str:
    """The page: map, clusters with their most central items, outliers, neighbours. All texts are escaped."""
    tiles = [
        (
            "items",
            f"{len(found.data):,}",
            f"{found.features.shape[1]} {'whitened components' if found.whitened else 'numbers'} each",
        ),
        ("clusters", str(len(found.clustering.centres)), _how(found)),
    ]
    if not math.isnan(found.silhouette):
        tiles.append(("mean silhouette", f"{found.silhouette:.3f}", "-1 to 1: how far apart the clusters are"))
    if found.agreement is not None:
        tiles.append(
            ("clustering accuracy", percent(found.agreement.accuracy), "clusters matched to classes one to one")
        )
        tiles.append(("NMI", f"{found.agreement.nmi:.3f}", f"adjusted Rand index {found.agreement.ari:.3f}"))
    by_label = found.agreement is not None
    return render(
        "explore.html.j2",
        title=f"{found.model}: {data_name}",
        name=data_name,
        found=found,
        tiles=tiles,
        map=_map(found, by_label),
        key=_key(found, by_label),
        by="class" if by_label else "cluster",
        what=_about(found),
        clusters=[
            {**record, "items_shown": [_item(found, int(n)) for n in found.central[record["cluster"]]]}
            for record in found.clusters()
        ],
        outliers=[{**_item(found, n), "note": f"distance {score:.3f}"} for n, score in found.outliers],
        neighbours=[
            (
                one.item,
                [
                    {**_item(found, int(n)), "note": f"cosine {c:.3f}"}
                    for n, c in zip(one.indices, one.cosines, strict=True)
                ],
            )
            for one in found.neighbours
        ],
    )


def _how(found: Exploration) -> str:
    name = "spherical k-means" if found.clustering.method == "spherical" else "k-means"
    how = {"given": "k given", "classes": "k of the classes", "silhouette": "k by silhouette"}
    return f"{name}, {how[found.chosen_by]}"


def _about(found: Exploration) -> str:
    shown = f" {MOST_POINTS:,} of {len(found.data):,} items are drawn." if len(found.data) > MOST_POINTS else ""
    if found.map["kind"] == "umap":
        return "UMAP by cosine: what is near is alike; distances between groups and axes mean nothing." + shown
    first, second = found.map["explained"]
    return (
        f"The first two principal components of the normalised features: {percent(first)} and {percent(second)} of the variance."
        + shown
    )


def _groups(found: Exploration, by_label: bool) -> tuple[np.ndarray, list[str]]:
    """(N,) group of each item, -1 for none, and the groups' names."""
    if by_label and found.data.targets is not None:
        return found.data.targets, list(found.data.classes)
    return found.clustering.labels, [f"cluster {n}" for n in range(len(found.clustering.centres))]


def _style(group: int) -> tuple[str, int]:
    return ("none", 0) if group < 0 else (f"g{group % COLOURS}", group // COLOURS)


def _map(found: Exploration, by_label: bool) -> Markup:
    groups, names = _groups(found, by_label)
    spans = []
    for column in range(2):
        values = found.place[:, column]
        pad = 0.04 * float(np.ptp(values)) or 1.0
        spans.append((float(values.min()) - pad, float(values.max()) + pad))
    kind = found.map["kind"]
    axes = ("first component", "second component") if kind == "pca" else ("", "")
    chart = Chart(
        f"map of {len(found.data)} items by {'class' if by_label else 'cluster'}",
        spans[0],
        spans[1],
        *axes,
        height=560,
        width=820,
        grid=False,
    )
    index = np.arange(len(found.place))
    if len(index) > MOST_POINTS:
        index = np.sort(np.random.default_rng(found.seed).choice(index, MOST_POINTS, replace=False))
    radius = 4.0 if len(index) < 300 else 3.0 if len(index) < 1200 else 2.2
    for n in index.tolist():
        style, shape = _style(int(groups[n]))
        group = names[int(groups[n])] if groups[n] >= 0 else "no label"
        title = f"{found.data.identity(n)}: {group}, cluster {int(found.clustering.labels[n])}"
        x, y = found.place[n].tolist()
        chart.point(x, y, title, f"{style} see-through", radius, shape)
    return chart.svg()


def _key(found: Exploration, by_label: bool) -> list[tuple[Markup, str]]:
    groups, names = _groups(found, by_label)
    counts = np.bincount(groups[groups >= 0], minlength=len(names))
    out = []
    for group in np.flatnonzero(counts)[:MOST_NAMES].tolist():
        style, shape = _style(group)
        symbol = Markup('<svg class="dot" viewBox="0 0 12 12" aria-hidden="true"><g class="point {}">{}</g></svg>')
        out.append((symbol.format(style, mark(6, 6, 4.2, shape)), f"{names[group]} ({counts[group]})"))
    if (more := int((counts > 0).sum()) - MOST_NAMES) > 0:
        out.append((Markup(""), f"and {more} more"))
    return out


def _item(found: Exploration, index: int) -> dict[str, Any]:
    item = found.data.items[index]
    picture = found.data.modality == "image"
    return {
        "identity": found.data.identity(index),
        "picture": thumbnail(item) if picture else None,
        "text": None if picture else quote(item),
        "label": found.label(index),
        "note": "",
    }
