"""Tables and the drawing of docs/quality.md, from benchmarks/results/quality.json; benchmarks/report.py puts them into the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from page_parts import prose

RESULTS = Path(__file__).parent / "results" / "quality.json"
PICTURES = ("cifar10", "fashion_mnist", "flowers5", "ants_bees", "pneumonia")
TEXTS = ("ag_news", "sst2", "trec", "banking77", "sms_spam")
SIZES = (1, 2, 4, 8, 16, None)
TITLES = {
    "cifar10": "CIFAR-10",
    "fashion_mnist": "Fashion-MNIST",
    "flowers5": "Flowers",
    "ants_bees": "Ants and bees",
    "pneumonia": "PneumoniaMNIST",
    "ag_news": "AG News",
    "sst2": "SST-2",
    "trec": "TREC",
    "banking77": "Banking77",
    "sms_spam": "SMS spam",
}
METHODS = {
    "linear": "linear probe",
    "knn": "k-NN",
    "prototype": "class means",
    "cosine": "text-initialised",
    "tip-adapter": "Tip-Adapter",
    "tf-idf": "TF-IDF",
    "from scratch": "from scratch",
}
_COLOURS = {
    "linear": "#0072B2",
    "cosine": "#D55E00",
    "tf-idf": "#009E73",
    "from scratch": "#666666",
    "text": "#AA4499",
}  # told apart by the colour-blind: Okabe and Ito, and Tol
Point = dict[str, Any]


def points(name: str, method: str) -> list[Point]:
    """The points of one method on one set, in the order of `SIZES` (zero-shot has one)."""
    found: list[Point] = json.loads(RESULTS.read_text())["sets"][name][method]
    return found


def size(shots: int | None) -> str:
    return "all" if shots is None else str(shots)


def apart(one: Point, other: Point) -> bool:
    """Whether the two intervals have nothing in common."""
    return bool(one["low"] > other["high"] or other["low"] > one["high"])


def against_scratch() -> Iterator[tuple[str, int | None, Point, Point]]:
    """(set, labels per class, the probe, from scratch) of every size of every set."""
    for name in (*PICTURES, *TEXTS):
        for probe, scratch in zip(points(name, "linear"), points(name, "from scratch"), strict=True):
            assert probe["shots"] == scratch["shots"]
            yield name, probe["shots"], probe, scratch


def against_zero_shot(method: str = "cosine") -> Iterator[tuple[str, int | None, Point, Point]]:
    """(set, labels per class, the few-shot head, zero-shot) of every size of every set."""
    for name in (*PICTURES, *TEXTS):
        for point in points(name, method):
            yield name, point["shots"], point, points(name, "text")[0]


def _differences(pairs: Iterator[tuple[str, int | None, Point, Point]]) -> str:
    """A row a set, a column a size: points of accuracy by which the first is ahead; bold where the intervals lie apart."""
    rows: dict[str, list[str]] = {}
    for name, _, one, other in pairs:
        difference = f"{100 * (one['mean'] - other['mean']):+.1f}".replace("-", "−")
        mark = "**" if apart(one, other) else ""
        fallen = " ▼" if one["mean"] < other["mean"] else ""
        rows.setdefault(name, []).append(f"{mark}{difference}{mark}{fallen}")
    lines = ["| set | " + " | ".join(size(n) for n in SIZES) + " |", "|---" + "|---:" * len(SIZES) + "|"]
    return "\n".join([*lines, *(f"| {TITLES[name]} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def _places(pairs: list[tuple[str, int | None, Point, Point]]) -> str:
    return ", ".join(f"{TITLES[name]} ({size(shots)})" for name, shots, _, _ in pairs) or "nowhere"


def quality_scratch() -> str:
    """The probe against training from scratch."""
    pairs = list(against_scratch())
    ahead = [pair for pair in pairs if pair[2]["mean"] > pair[3]["mean"]]
    clear = [pair for pair in ahead if apart(*pair[2:])]
    behind = [pair for pair in pairs if pair[2]["mean"] <= pair[3]["mean"]]
    worse = [pair for pair in behind if apart(*pair[2:])]
    falls = [TITLES[n] for n in (*PICTURES, *TEXTS) if (f := points(n, "from scratch"))[4]["mean"] < f[3]["mean"]]
    ahead_text = prose(
        f"The probe is ahead in {len(ahead)} of {len(pairs)} places, in {len(clear)} of them beyond the intervals. "
        f"It is behind (▼) on: {_places(behind)}; beyond the intervals: {_places(worse)}. "
        f"Training from scratch falls from 8 to 16 labels on: {', '.join(falls)}."
    )
    single = [pair for pair in pairs if pair[1] is not None and len(pair[3]["scores"]) == 1]
    if single:
        ahead_text += "\n\n" + prose(
            f"From one seed so far, and so with an interval that covers the test items alone, from scratch on: {_places(single)}."
        )
    return f"{_differences(iter(pairs))}\n\n{ahead_text}\n"


def quality_one_number() -> str:
    """What a single number of an item decides, in the sets of two classes."""
    data = json.loads(RESULTS.read_text())["data"]
    rows = ["| set | the number | accuracy with a threshold on it, % | largest class, % |", "|---|---|---:|---:|"]
    for name in (*PICTURES, *TEXTS):
        if "one_number" in data[name]:
            number = "spread of the grey values" if name in PICTURES else "digits in the text"
            found, largest = 100 * data[name]["one_number"], 100 * data[name]["largest_class"]
            rows.append(f"| {TITLES[name]} | {number} | {found:.1f} | {largest:.1f} |")
    return "\n".join(rows) + "\n"


def quality_zero_shot() -> str:
    """The text-initialised head against zero-shot, and what the probe does there."""
    pairs = list(against_zero_shot())
    below = [pair for pair in pairs if pair[2]["mean"] < pair[3]["mean"]]
    outside = [pair for pair in pairs if pair[2]["mean"] < pair[3]["low"]]
    draws = [pair for pair in pairs if min(pair[2]["scores"]) < pair[3]["low"]]
    deepest = max(pairs, key=lambda pair: pair[3]["mean"] - pair[2]["mean"])
    probe = [p for p in against_zero_shot("linear") if p[0] in TEXTS and p[2]["mean"] < p[3]["low"]]
    text = prose(
        f"Below zero-shot (▼): {_places(below)}; the furthest is {_places([deepest])}, by "
        f"{100 * (deepest[3]['mean'] - deepest[2]['mean']):.1f} points. Below the interval of zero-shot: {_places(outside)}; "
        f"single seeds below it: {_places(draws)}. The probe on the same features, which does not know the names, lies "
        f"below that interval (texts) on: {_places(probe)}."
    )
    return f"{_differences(iter(pairs))}\n\n{text}\n"


def _cell(point: Point, best: float) -> str:
    mark = "**" if point["mean"] == best else ""
    return f"{mark}{100 * point['mean']:.1f}{mark} <sub>{100 * point['low']:.0f}–{100 * point['high']:.0f}</sub>"


def _set(name: str) -> str:
    data = json.loads(RESULTS.read_text())
    facts, found = data["data"][name], data["sets"][name]
    zero = found["text"][0]
    lines = [
        f"### {TITLES[name]}",
        "",
        f"{facts['classes']} classes, {facts['train']:,} items to train on, {facts['test']:,} to test on; the largest class is "
        f"{100 * facts['largest_class']:.1f} % of these.",
        f"Zero-shot, no labels: **{100 * zero['mean']:.1f}** <sub>{100 * zero['low']:.0f}–{100 * zero['high']:.0f}</sub>.",
        "",
        "| labels per class | " + " | ".join(size(n) for n in SIZES) + " |",
        "|---" + "|---:" * len(SIZES) + "|",
    ]
    best = [max(found[method][n]["mean"] for method in METHODS if method in found) for n in range(len(SIZES))]
    for method, title in METHODS.items():
        if method in found:
            cells = [_cell(point, best[n]) for n, point in enumerate(found[method])]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def quality_pictures() -> str:
    """A table a set of images."""
    return "\n\n".join(_set(name) for name in PICTURES) + "\n"


def quality_texts() -> str:
    """A table a set of texts."""
    return "\n\n".join(_set(name) for name in TEXTS) + "\n"


# The drawing: a panel a set, images above, texts below.
_WIDTH, _HEIGHT, _LEFT, _TOP, _STEP_X, _STEP_Y = 158, 190, 44, 72, 206, 262


def curves() -> str:
    """docs/quality.svg: accuracy against labels per class, a panel a set."""
    drawn = []
    for number, name in enumerate((*PICTURES, *TEXTS)):
        left, top = _LEFT + number % 5 * _STEP_X, _TOP + number // 5 * _STEP_Y
        drawn.append(f'<g transform="translate({left},{top})">{_panel(name)}</g>')
    names = {**METHODS, "text": "zero-shot (no labels)"}
    key, x = [], _LEFT
    for method in ("linear", "cosine", "text", "from scratch", "tf-idf"):
        title = names[method] + (" (texts)" if method == "tf-idf" else "")
        key.append(f'<path d="M{x},22h26" stroke="{_COLOURS[method]}" stroke-width="3"{_dash(method)}/>')
        key.append(f'<text x="{x + 32}" y="27">{escape(title)}</text>')
        x += 60 + 8 * len(title)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1040 570" font-family="sans-serif" font-size="14" fill="#222">\n'
        '<rect width="1040" height="570" fill="#fff"/>\n' + "\n".join([*key, *drawn]) + "\n"
        '<text x="520" y="562" text-anchor="middle">labels per class (accuracy in %, bands are 95 % intervals)</text>\n</svg>\n'
    )


def _dash(method: str) -> str:
    return {"text": ' stroke-dasharray="2 4"', "tf-idf": ' stroke-dasharray="7 4"'}.get(method, "")


def _panel(name: str) -> str:
    found = json.loads(RESULTS.read_text())["sets"][name]
    parts = [f'<text x="0" y="-10" font-weight="bold">{escape(TITLES[name])}</text>']
    for value in (0, 25, 50, 75, 100):
        y = _y(value / 100)
        parts.append(f'<path d="M0,{y}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="-6" y="{y + 4}" text-anchor="end" font-size="11" fill="#555">{value}</text>')
    for n, shots in enumerate(SIZES):
        parts.append(
            f'<text x="{_x(n)}" y="{_HEIGHT + 16}" text-anchor="middle" font-size="11" fill="#555">{size(shots)}</text>'
        )
    methods = [method for method in ("tf-idf", "from scratch", "cosine", "linear") if method in found]
    for method in ("from scratch", "linear"):
        upper = [f"{_x(n)},{_y(point['high'])}" for n, point in enumerate(found[method])]
        lower = [f"{_x(n)},{_y(point['low'])}" for n, point in enumerate(found[method])]
        parts.append(
            f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{_COLOURS[method]}" fill-opacity="0.15"/>'
        )
    parts.append(
        f'<path d="M0,{_y(found["text"][0]["mean"])}h{_WIDTH}" stroke="{_COLOURS["text"]}" stroke-width="2.5"{_dash("text")}/>'
    )
    for method in methods:
        line = " ".join(f"{_x(n)},{_y(point['mean'])}" for n, point in enumerate(found[method]))
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{_COLOURS[method]}" stroke-width="2.5"{_dash(method)}/>'
        )
    return "".join(parts)


def _x(n: int) -> float:
    return round(10 + n * (_WIDTH - 20) / (len(SIZES) - 1), 1)


def _y(value: float) -> float:
    return round(_HEIGHT * (1 - value), 1)
