"""The figures of the report of a probe: each a drawing, what its lines stand for, and the same as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from modelgraft_adapters.metrics.scores import wilson
from modelgraft_adapters.report.charts import HEIGHT, Chart, legend, power_ticks
from modelgraft_adapters.report.contents import ProbeReport

BINS: Final = 15
_MOST_DOTS: Final = 12
_MOST_POINTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its words."""

    title: str
    drawing: Markup
    caption: str
    key: Markup | None
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def percent(value: float, digits: int = 1) -> str:
    """A share for people; a dash for what is not known."""
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def shown(value: float, name: str) -> str:
    """A score as its kind is read: accuracies in per cent, losses and R2 as numbers; a dash for what is undefined or unknown."""
    if math.isnan(value):
        return "–"
    if name in ("accuracy", "balanced accuracy", "mean average precision", "micro F1", "exact match"):
        return percent(value)
    return f"{value:.3g}" if abs(value) >= 100 else f"{value:.3f}"


def learning_figure(report: ProbeReport) -> Figure | None:
    """The score against labels per class, with its interval, zero-shot and chance."""
    points = [point for point in report.curve if math.isfinite(point.mean)]
    if not points:
        return None
    name = report.evaluation.score.name
    classes = 1 if report.task == "regression" else max(len(report.classes), 1)
    xs = [point.items / classes if point.shots is None else float(point.shots) for point in points]
    lines = (
        []
        if report.zero_shot is None or not report.zero_shot.defined
        else [("zero", f"zero-shot {shown(report.zero_shot.value, name)}", report.zero_shot.value)]
    )
    if report.task == "single-label":
        lines.append(("chance", f"chance {percent(1 / classes)}", 1 / classes))
    means = [p.mean for p in points] + [v for *_, v in lines]
    low, high = _range([*means, *(p.low for p in points)], [*means, *(p.high for p in points)], name)
    ticks = [(x, f"all ({x:.3g})" if p.shots is None else str(p.shots)) for x, p in zip(xs, points, strict=True)]
    per = "labels" if report.task == "regression" else "labels per class"
    chart = Chart(
        f"{name} against {per}: "
        + "; ".join(f"{t} {shown(p.mean, name)}" for (_, t), p in zip(ticks, points, strict=True)),
        (min(xs) * 0.9, max(xs) * 1.12) if len(xs) > 1 else (xs[0] / 2, xs[0] * 2),
        (low, high),
        f"{per} (logarithmic)",
        name,
        ticks,
        _ticks(low, high, name),
        log_x=True,
    )
    for style, text, value in lines:
        chart.level(value, text, style)
    order = np.argsort(xs)
    ordered = [points[n] for n in order]
    along = [xs[n] for n in order]
    ends = [(p.low, p.high) if math.isfinite(p.low) else (p.mean, p.mean) for p in ordered]
    chart.band(along, [_within(e, low, high) for e, _ in ends], [_within(e, low, high) for _, e in ends])
    chart.line(along, [p.mean for p in ordered])
    for x, point, (_, text) in zip(xs, points, ticks, strict=True):
        for score in point.scores if len(point.scores) > 1 else ():
            chart.point(x, _within(score, low, high), f"{text}: one seed, {shown(score, name)}", "faint", 2)
        chart.point(
            x,
            _within(point.mean, low, high),
            f"{text}: {shown(point.mean, name)}, 95 % interval {shown(point.low, name)} to {shown(point.high, name)}",
        )
    draws = max(len(p.scores) for p in points)
    return Figure(
        "Learning curve",
        chart.svg(),
        f"The head trained again from few labels, {draws} seed{'s' if draws != 1 else ''} a step, scored on the same test items. "
        "Band: 95 % interval over seeds and test items.",
        legend([("one", f"{report.head} head"), *((style, text) for style, text, _ in lines)]),
        (per, "items", name, "95 % interval", "seeds"),
        [
            (
                text,
                f"{p.items:.4g}",
                shown(p.mean, name),
                f"{shown(p.low, name)} to {shown(p.high, name)}",
                str(len(p.scores)),
            )
            for (_, text), p in zip(ticks, points, strict=True)
        ],
    )


def setting_figure(report: ProbeReport) -> Figure | None:
    """The curve that the head's setting was chosen by, with the value that was taken and those as good."""
    curve: Sequence[Mapping[str, Any]] = report.found.get("curve") or ()
    curve = [row for row in curve if isinstance(row.get("score"), (int, float)) and math.isfinite(row["score"])]
    known = ("score", "low", "high", "standard_error", "log_loss")
    settings = [
        key for key in (curve[0] if curve else ()) if key not in known and len({str(row.get(key)) for row in curve}) > 1
    ]
    if len(curve) < 2 or not settings:
        return None
    chosen: Mapping[str, Any] = report.found.get("chosen") or {}
    numbers = len(settings) == 1 and all(isinstance(row[settings[0]], (int, float)) for row in curve)
    name = ", ".join(settings)
    if numbers:
        curve = sorted(curve, key=lambda row: row[settings[0]])
    elif len(curve) > _MOST_DOTS:
        curve = sorted(curve, key=lambda row: -row["score"])[:_MOST_DOTS]
    texts = [", ".join(_value(row[key]) for key in settings) for row in curve]
    taken = [all(key in chosen and _same(row[key], chosen[key]) for key in settings) for row in curve]
    ties = report.found.get("ties") or ()
    tied = [numbers and any(_same(row[settings[0]], tie) for tie in ties) for row in curve]
    lows = [float(row.get("low", row["score"])) for row in curve]
    highs = [float(row.get("high", row["score"])) for row in curve]
    xs = [float(row[settings[0]]) for row in curve] if numbers else [float(n) for n in range(len(curve))]
    log = numbers and min(xs) > 0 and max(xs) / min(xs) >= 20
    score = "score"
    if report.task == "regression":
        score = "R2, leave-one-out" if "alpha" in settings else "score"
    elif report.task == "single-label":
        score = "accuracy on held-out folds"
    # A penalty far too strong can be arbitrarily bad: the axis shows the part where the choice is made.
    low, high = _range([max(v, -1.0) for v in lows], highs, "accuracy" if report.task == "single-label" else "score")
    margin = (1.0 if not log else 1.15) if numbers else 0.5
    chart = Chart(
        f"{score} against {name}; taken: {', '.join(f'{k} {_value(v)}' for k, v in chosen.items())}",
        (xs[0] / margin, xs[-1] * margin)
        if log
        else (xs[0] - 0.04 * (xs[-1] - xs[0]), xs[-1] + 0.04 * (xs[-1] - xs[0])),
        (low, high),
        f"{name}{' (logarithmic)' if log else ''}",
        score,
        power_ticks(xs[0], xs[-1]) if log else (None if numbers else [(x, t) for x, t in zip(xs, texts, strict=True)]),
        _ticks(low, high, "accuracy" if report.task == "single-label" else "score"),
        log_x=log,
    )
    if numbers:
        chart.band(xs, [_within(v, low, high) for v in lows], [_within(v, low, high) for v in highs])
        chart.line(xs, [_within(row["score"], low, high) for row in curve])
    for n, row in enumerate(curve):
        if not numbers:
            chart.whisker(xs[n], _within(lows[n], low, high), _within(highs[n], low, high))
        if taken[n]:
            chart.upright(xs[n], f"taken: {name} {texts[n]}", "taken")
        what = "taken" if taken[n] else "as good, within one standard error" if tied[n] else ""
        chart.point(
            xs[n],
            _within(row["score"], low, high),
            f"{name} {texts[n]}: {row['score']:.3f} ({lows[n]:.3f} to {highs[n]:.3f}) {what}".rstrip(),
            "taken" if taken[n] else "tie" if tied[n] else "one",
            5.5 if taken[n] else 3.5,
        )
    entries = [("taken", f"taken: {', '.join(f'{k} {_value(v)}' for k, v in chosen.items() if k in settings)}")]
    if sum(tied) > 1:
        entries.append(("tie", f"{sum(tied)} values within one standard error of the best"))
    return Figure(
        f"Choice of {name}",
        chart.svg(),
        "Chosen on folds of the training items alone; the test items were not looked at."
        if "alpha" not in settings
        else "Exact leave-one-out score on the training items; the test items were not looked at.",
        legend(entries),
        (name, score, "interval", ""),
        [
            (
                texts[n],
                f"{row['score']:.4f}",
                f"{lows[n]:.4f} to {highs[n]:.4f}",
                "taken" if taken[n] else "tie" if tied[n] else "",
            )
            for n, row in enumerate(curve)
        ],
    )


def reliability_figure(report: ProbeReport) -> Figure | None:
    """How often what is said with a probability is right (classification)."""
    if report.task == "regression" or not len(report.evaluation.targets):
        return None
    outputs, targets = report.evaluation.outputs, report.evaluation.targets
    if report.task == "single-label":
        said, right, what = outputs.max(axis=1), report.evaluation.predicted == targets, "predictions"
    else:
        said, right, what = outputs.reshape(-1), targets.reshape(-1) > 0.5, "class scores"
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    rows = []
    chart = Chart(
        "how often predictions of a probability are right, by probability",
        (0, 1),
        (0, 1),
        "probability of the predicted class" if report.task == "single-label" else "probability",
        "share that is right" if report.task == "single-label" else "share that has the class",
        [(n / 5, f"{20 * n} %") for n in range(6)],
        [(n / 5, f"{20 * n} %") for n in range(6)],
    )
    most = np.bincount(bins, minlength=BINS).max()
    for b in np.unique(bins):  # how many there are: a faint column each, the fullest as high as a quarter
        count = int((bins == b).sum())
        chart.bar((b + 0.5) / BINS, 0.9 / BINS, 0.25 * count / most, f"{count} {what}", "faint")
    chart.line((0, 1), (0, 1), "chance")
    for b in np.unique(bins):
        inside = bins == b
        count, hits = int(inside.sum()), float(right[inside].sum())
        low, high = wilson(hits, count)
        mean = float(said[inside].mean())
        chart.whisker(mean, low, high)
        chart.point(mean, hits / count, f"said {percent(mean)}, right {percent(hits / count)} of {count}")
        rows.append(
            (
                f"{percent(b / BINS, 0)} to {percent((b + 1) / BINS, 0)}",
                str(count),
                percent(mean),
                percent(hits / count),
                f"{percent(low)} to {percent(high)}",
            )
        )
    error = next((s.value for s in report.evaluation.scores if s.name == "calibration error"), math.nan)
    return Figure(
        "Reliability",
        chart.svg(),
        "On the dashed line a probability means what it says; below it the head is too sure. Bars: 95 % intervals; columns: how "
        "many items." + ("" if math.isnan(error) else f" Expected calibration error {error:.3f}."),
        None,
        ("probability", "items", "mean said", "right", "95 % interval"),
        rows,
    )


def scatter_figures(report: ProbeReport) -> list[Figure]:
    """Predicted against true values of a regression, a figure a column (at most six)."""
    if report.task != "regression":
        return []
    out = []
    for column, name in enumerate(report.classes[:6]):
        true = report.evaluation.targets[:, column].astype(float)
        said = report.evaluation.outputs[:, column].astype(float)
        low, high = float(min(true.min(), said.min())), float(max(true.max(), said.max()))
        pad = 0.04 * (high - low) or 1.0
        span = (low - pad, high + pad)
        chart = Chart(f"predicted against true {name}", span, span, "true", "predicted", height=HEIGHT + 60)
        chart.line(span, span, "chance")
        step = max(1, math.ceil(len(true) / _MOST_POINTS))
        for n in range(0, len(true), step):
            who = report.evaluation.identities[n]
            chart.point(true[n], said[n], f"{who}: true {true[n]:.4g}, predicted {said[n]:.4g}", "see-through", 3.5)
        error = said - true
        spread = float(((true - true.mean()) ** 2).sum())
        rows = [
            ("R2", f"{1 - float((error**2).sum()) / spread:.3f}" if spread > 0 else "–"),
            ("mean absolute error", f"{float(np.abs(error).mean()):.4g}"),
            ("root mean squared error", f"{float(np.sqrt((error**2).mean())):.4g}"),
            ("mean error", f"{float(error.mean()):.4g}"),
        ]
        drawn = "" if step == 1 else f" Every {step}th item is drawn."
        out.append(
            Figure(
                f"Predicted and true: {name}",
                chart.svg(),
                f"On the dashed line they are equal.{drawn}",
                None,
                ("", name),
                rows,
            )
        )
    return out


def _range(lows: Sequence[float], highs: Sequence[float], name: str) -> tuple[float, float]:
    low, high = (find(v for v in ends if math.isfinite(v)) for find, ends in ((min, lows), (max, highs)))
    if name in ("accuracy", "mean average precision"):
        return (0.0 if low < 0.5 else math.floor(low * 10) / 10), 1.0
    pad = 0.06 * (high - low) or 0.1
    return low - pad, high + pad


def _ticks(low: float, high: float, name: str) -> list[tuple[float, str]] | None:
    if name not in ("accuracy", "mean average precision"):
        return None
    step = 20 if high - low > 0.55 else 10 if high - low > 0.25 else 5
    return [(n / 100, f"{n} %") for n in range(0, 101, step) if low - 1e-9 <= n / 100 <= high + 1e-9]


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _same(a: Any, b: Any) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return math.isclose(a, b, rel_tol=1e-9) if numbers else a == b


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
