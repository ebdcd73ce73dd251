"""The page of a ranking: which model suits the data, how sure that is, what it costs, what more labels may bring."""

from __future__ import annotations

import math
import platform
from typing import Any

from modelgraft.cli.render import count

from modelgraft_adapters.compare.results import short_names
from modelgraft_adapters.ranking.results import Ranking, Row
from modelgraft_adapters.ranking.scoring import COUNTED, NAMES
from modelgraft_adapters.report.charts import Chart, clip_to, legend, log_ticks, score_axis
from modelgraft_adapters.report.collecting import today
from modelgraft_adapters.report.probe_figures import Figure, shown
from modelgraft_adapters.report.probe_page import render
from modelgraft_adapters.report.probe_tables import flat

_WIDE, _HIGH = 640, 380


def build_ranking(result: Ranking, data_name: str = "data", command: str | None = None) -> str:
    """Return the page, complete in itself as the report of a probe is. All texts are escaped.

    Args:
        result: what `ranking.runner.rank_models` found.
        data_name: what the title says.
        command: what to type to make it again.
    """
    names = short_names([row.name for row in result.rows])
    scored = [row for row in result.rows if row.score is not None]
    others = [name for name in dict.fromkeys(n for row in scored for n in row.values) if name != result.by]
    figures = [front_figure(result, names), score_figure(result, names), gain_figure(result)]
    return render(
        "rank.html.j2",
        title=f"Ranking on {data_name}",
        data_name=data_name,
        result=result,
        created=today(),
        sentence=_sentence(result, names),
        tiles=_tiles(result, names),
        columns=_columns(result, others),
        rows=[(row is result.best, row.hurts, _cells(row, result, others, names)) for row in scored],
        missing=[(names[row.name], row.status, row.reason) for row in result.rows if row.score is None],
        figures=[figure for figure in figures if figure is not None],
        full=[(short, name) for name, short in names.items() if short != name],
        facts=flat({"seed": result.seed, "versions": {"python": platform.python_version(), **result.versions}}),
        command=command,
    )


def front_figure(result: Ranking, names: dict[str, str]) -> Figure | None:
    """The score on the sample that all were scored on, against the time of an item, with the Pareto front."""
    rows = [(row, row.first, row.seconds_per_item) for row in result.rows if row.first and row.seconds_per_item]
    known = [(row, first, 1000 * each) for row, first, each in rows if first is not None and each is not None]
    if len(known) < 2:
        return None
    xs = [x for _, _, x in known]
    ends = (min(xs) / 1.3, max(xs) * 1.3)
    span, ticks = score_axis(
        [s.low if math.isfinite(s.low) else s.value for _, s, _ in known],
        [s.high if math.isfinite(s.high) else s.value for _, s, _ in known],
        _kind(result),
    )
    within = clip_to(span)
    title = f"{result.metric} against milliseconds an item"
    chart = Chart(
        title,
        ends,
        span,
        "milliseconds an item (logarithmic)",
        result.metric,
        log_ticks(*ends),
        ticks,
        log_x=True,
        width=_WIDE,
        height=_HIGH,
    )
    front = sorted((x, s.value) for row, s, x in known if row.pareto)
    chart.line([x for x, _ in front], [within(y) for _, y in front], "one")
    for row, score, x in known:
        style = "one" if row.pareto else "zero"
        if math.isfinite(score.low):
            chart.whisker(x, within(score.low), within(score.high), style)
        said = f"{names[row.name]}: {shown(score.value, _kind(result))}, {x:.3g} ms"
        chart.point(x, within(score.value), said, style, 5, 0 if row.pareto else 1)
    return Figure(
        "Score against time",
        chart.svg(),
        f"On the {result.rungs[0].items} items that all candidates were scored on. The line is the Pareto front: of the models "
        "on it none is better and no slower than another. Bars: 95 % intervals.",
        legend([("one", "on the front"), ("zero", "others")]),
        ("model", "ms/item", result.metric, "on the front"),
        [
            (names[row.name], f"{x:.3g}", shown(s.value, _kind(result)), "yes" if row.pareto else "no")
            for row, s, x in sorted(known, key=lambda one: one[2])
        ],
    )


def score_figure(result: Ranking, names: dict[str, str]) -> Figure | None:
    """The last score of every candidate with its interval, and that of random weights."""
    rows = [row for row in result.rows if row.score is not None]
    if not rows:
        return None
    scores = [row.score for row in rows if row.score is not None]
    controls = [row.control for row in rows if row.control is not None]
    lows = [s.low if math.isfinite(s.low) else s.value for s in scores] + controls
    highs = [s.high if math.isfinite(s.high) else s.value for s in scores] + controls
    span, ticks = score_axis(lows, highs, _kind(result))
    within = clip_to(span)
    chart = Chart(
        f"{result.metric} of each candidate",
        (0.5, len(rows) + 0.5),
        span,
        "rank",
        result.metric,
        [(n, str(n)) for n in range(1, len(rows) + 1)],
        ticks,
        width=_WIDE,
        height=_HIGH,
    )
    for n, row in enumerate(rows, 1):
        assert row.score is not None
        style = "one" if row.status == "ranked" else "zero"
        if math.isfinite(row.score.low):
            chart.whisker(n, within(row.score.low), within(row.score.high), style)
        said = f"{names[row.name]}: {shown(row.score.value, _kind(result))} on {row.items} items"
        chart.point(n, within(row.score.value), said, style, 5)
        if row.control is not None:
            chart.point(n, within(row.control), f"random weights: {shown(row.control, _kind(result))}", "chance", 4, 3)
    return Figure(
        "Score by rank",
        chart.svg(),
        "On the last sample that each was scored on: those that were dropped were scored on fewer items. Diamonds: the same "
        "architecture with random weights.",
        legend([("one", "on all items of the sample"), ("zero", "dropped before")]),
        ("model", "items", result.metric),
        [
            (names[row.name], str(row.items), shown(row.score.value, _kind(result)))
            for row in rows
            if row.score is not None
        ],
    )


def gain_figure(result: Ranking) -> Figure | None:
    """The probe's learning curve of the best candidate and where the power law through it leads."""
    if not result.curve or not result.gain or result.best is None:
        return None
    seen, told = result.curve, result.gain
    xs = [float(n) for n, _ in seen] + [float(one.labels) for one in told]
    values = [value for _, value in seen]
    span, ticks = score_axis([*values, *(one.low for one in told)], [*values, *(one.high for one in told)], "accuracy")
    within = clip_to(span)
    ends = (min(xs) / 1.3, max(xs) * 1.3)
    chart = Chart(
        "accuracy against labels, and beyond those there are",
        ends,
        span,
        "labels (logarithmic)",
        "accuracy",
        log_ticks(*ends),
        ticks,
        log_x=True,
    )
    chart.line([float(n) for n, _ in seen], [within(value) for value in values], "one")
    along = [float(one.labels) for one in told]
    chart.band(along, [within(one.low) for one in told], [within(one.high) for one in told], "zero")
    chart.line(along, [within(one.value) for one in told], "zero")
    for n, value in seen:
        chart.point(float(n), within(value), f"{n} labels: {shown(value, 'accuracy')}", "one")
    for one in told:
        chart.point(
            float(one.labels), within(one.value), f"{one.labels} labels: {shown(one.value, 'accuracy')}", "zero", 4, 1
        )
    return Figure(
        "What more labels may bring",
        chart.svg(),
        f"The linear probe on {result.best.name}. Squares follow a power law through the curve, with 95 % intervals; that accuracy "
        "goes on as it went is taken for granted.",
        legend([("one", "found"), ("zero", "foretold")]),
        ("labels", "accuracy", "95 % interval"),
        [
            *((str(n), shown(value, "accuracy"), "") for n, value in seen),
            *((str(o.labels), shown(o.value, "accuracy"), _between(o.low, o.high, "accuracy")) for o in told),
        ],
    )


def _kind(result: Ranking) -> str:
    return "accuracy" if result.by in COUNTED else result.by


def _between(low: float, high: float, kind: str) -> str:
    return "" if math.isnan(low) else f"{shown(low, kind).removesuffix(' %')} to {shown(high, kind)}"


def _sentence(result: Ranking, names: dict[str, str]) -> str:
    best = result.best
    if best is None:
        return "No candidate could be scored: the reasons are below."
    alike = [names[row.name] for row in result.ranked[1:] if row.difference is None or not row.difference.worse]
    text = f"{names[best.name]} does best by {result.metric}."
    if best.hurts:
        text += " Yet random weights of its architecture do better: what it was trained on hurts here."
    return text + (f" Not told apart from it by these items: {', '.join(alike)}." if alike else "")


def _tiles(result: Ranking, names: dict[str, str]) -> list[tuple[str, str, str]]:
    best = result.best
    if best is None or best.score is None:
        return []
    kind = _kind(result)
    between = _between(best.score.low, best.score.high, kind)
    tiles = [
        (names[best.name], shown(best.score.value, kind), f"best{f'; 95 % interval {between}' if between else ''}")
    ]
    front = [row for row in result.rows if row.pareto and row.first and row.seconds_per_item]
    quick = min(front, key=lambda row: row.seconds_per_item or math.inf, default=None)
    if quick is not None and quick is not best and quick.seconds_per_item is not None:
        tiles.append(
            (names[quick.name], f"{1000 * quick.seconds_per_item:.3g} ms", "quickest an item, on the Pareto front")
        )
    if best.control is not None:
        tiles.append(("random weights", shown(best.control, kind), "the best one's architecture, on a small sample"))
    return tiles


def _columns(result: Ranking, others: list[str]) -> list[str]:
    names = ["model", "items", result.metric, "95 % interval", "below the best", "ranks", "best in"]
    return [
        *names,
        *(NAMES[name] for name in others),
        "random weights",
        "ms/item",
        "memory",
        "parameters",
        "files",
        "licence",
    ]


def _cells(row: Row, result: Ranking, others: list[str], names: dict[str, str]) -> list[str]:
    assert row.score is not None
    kind = _kind(result)
    values: list[Any] = [row.values.get(name) for name in others]
    return [
        names[row.name],
        f"{row.items:,}",
        shown(row.score.value, kind),
        _between(row.score.low, row.score.high, kind),
        "" if row.difference is None else _between(row.difference.low, row.difference.high, kind),
        "" if row.rank_low is None else f"{row.rank_low} to {row.rank_high}",
        "" if row.best_of is None else f"{100 * row.best_of:.0f} %",
        *(
            "" if v is None else shown(v, "accuracy" if n in COUNTED else n)
            for n, v in zip(others, values, strict=True)
        ),
        "" if row.control is None else shown(row.control, kind),
        "" if row.seconds_per_item is None else f"{1000 * row.seconds_per_item:.3g}",
        "" if row.peak_mib is None else f"{row.peak_mib:,.0f} MiB",
        count(row.params),
        "–" if row.size is None else f"{count(row.size)}B",
        row.licence or "–",
    ]
