"""The page of a comparison: which model, trained in which way, how sure that is, what it costs, how many labels it takes."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from typing import Any, Final

from markupsafe import Markup

from modelgraft_adapters.compare.results import Comparison, Row, seconds, short_names
from modelgraft_adapters.metrics.paired import TESTS, per_class
from modelgraft_adapters.metrics.spread import CurvePoint
from modelgraft_adapters.report.charts import Chart, clip_to, log_ticks, mark, score_axis
from modelgraft_adapters.report.collecting import today
from modelgraft_adapters.report.probe_figures import Figure, percent, shown
from modelgraft_adapters.report.probe_page import render
from modelgraft_adapters.report.probe_tables import flat
from modelgraft_adapters.report.verdict import as_good, known, most, sentence, zero

COLOURS: Final = 10
DASHES: Final = 4
_WIDE, _HIGH = 640, 380


def build_comparison(result: Comparison, data_name: str = "data", command: str | None = None) -> str:
    """The page, complete in itself as the report of a probe is. All texts are escaped.

    Args:
        result: what `compare.runner.compare` found.
        data_name: what the title says.
        command: what to type to make it again.
    """
    looks = _Looks(result)
    best = result.done[0] if result.done else None
    return render(
        "compare.html.j2",
        title=f"Comparison on {data_name}",
        data_name=data_name,
        result=result,
        created=today(),
        sentence=sentence(result, looks.name),
        tiles=_tiles(result, looks),
        columns=_columns(result),
        rows=[(looks.key(row), row is best, _cells(row, result, looks)) for row in result.done],
        missing=[
            (looks.models[row.model], row.strategy, row.status, row.reason)
            for row in result.rows
            if row.status != "done"
        ],
        figures=[figure for figure in (curve_figure(result, looks), *cost_figures(result, looks)) if figure],
        how=TESTS.get(result.task, TESTS["other"]),
        looked_at=len(known(result)),
        most=most(result),
        full=[(short, name) for name, short in looks.models.items() if short != name],
        facts=flat({"settings": result.settings, "versions": {"python": platform.python_version(), **result.versions}}),
        energy=f"Energy is that of {result.energy}, of all that ran there"
        if any(row.joules is not None for row in result.done)
        else result.energy[:1].upper() + result.energy[1:],
        command=command,
    )


class _Looks:
    """How rows are told apart in drawings: the colour is the model's, dash and mark are the strategy's."""

    def __init__(self, result: Comparison) -> None:
        self.models = short_names(sorted({row.model for row in result.rows}))
        self._colours = list(dict.fromkeys(row.model for row in result.rows))
        self._dashes = list(dict.fromkeys(row.strategy for row in result.rows if row.strategy != "zero-shot"))
        self.single = len(self._colours) == 1

    def style(self, row: Row) -> str:
        """Class names of its lines and marks."""
        if self.single and row.strategy != "zero-shot":  # then colours are free for the strategies
            return f"c{self._dashes.index(row.strategy) % COLOURS} d0"
        return f"c{self._colours.index(row.model) % COLOURS} d{self.shape(row) % DASHES}"

    def shape(self, row: Row) -> int:
        """Number of its mark."""
        return self._dashes.index(row.strategy) if row.strategy in self._dashes else 3

    def name(self, row: Row) -> str:
        """Model and strategy."""
        return f"{self.models[row.model]} · {row.strategy}"

    def key(self, row: Row, marks: bool = False) -> Markup:
        """A short stretch of its line with its mark; of what is drawn as marks alone just that."""
        style = f"{self.style(row)}{' zero-line' if zero(row) else ''}"
        if marks:
            return Markup(
                '<svg class="dot" viewBox="0 0 12 12" aria-hidden="true"><g class="point {}">{}</g></svg>'
            ).format(style, mark(6, 6, 4, self.shape(row)))
        return Markup(
            '<svg class="key wide" viewBox="0 0 34 12" aria-hidden="true"><line class="line {}" x1="1" x2="33" y1="6" y2="6"/>'
            '<g class="point {}">{}</g></svg>'
        ).format(style, style, "" if zero(row) else mark(17, 6, 4, self.shape(row)))

    def legend(self, rows: Sequence[Row], more: Sequence[tuple[str, str]] = (), marks: bool = False) -> Markup:
        """What the lines stand for."""
        items = [Markup("<li>{}{}</li>").format(self.key(row, marks), self.name(row)) for row in rows]
        items += [
            Markup(
                '<li><svg class="key wide" viewBox="0 0 34 12" aria-hidden="true">'
                '<line class="line {}" x1="1" x2="33" y1="6" y2="6"/></svg>{}</li>'
            ).format(style, text)
            for style, text in more
        ]
        return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def curve_figure(result: Comparison, looks: _Looks) -> Figure | None:
    """The score against labels per class: a line a row, zero-shot and chance across."""
    rows = [row for row in result.rows if any(map(_drawable, row.points)) and not zero(row)]
    if not rows:
        return None
    classes = 1 if result.task == "regression" else result.learnt
    zeros = [row for row in known(result) if zero(row)]
    points = [point for row in rows for point in row.points]
    lows = [p.low for p in points] + [row.points[0].mean for row in zeros]
    highs = [p.high for p in points] + [row.points[0].mean for row in zeros]
    if result.chance is not None:
        lows.append(result.chance)
    span, ticks = score_axis(lows, highs, result.metric)
    places = {p.shots: per_class(p, classes) for p in points}
    xs = sorted(places.values())
    per = "labels" if result.task == "regression" else "labels per class"
    names = {shots: f"all ({x:.3g})" if shots is None else str(shots) for shots, x in places.items()}
    wide = (xs[0] / 1.35, xs[-1] * 1.35) if len(xs) > 1 else (xs[0] / 2, xs[0] * 2)
    chart = Chart(
        f"{result.metric} against {per}, a line for each model and strategy",
        wide,
        span,
        f"{per} (logarithmic)",
        result.metric,
        [(places[shots], names[shots]) for shots in sorted(places, key=lambda s: places[s])],
        ticks,
        log_x=True,
        width=_WIDE,
        height=_HIGH,
    )
    within = clip_to(span)
    if result.chance is not None:
        chart.level(within(result.chance), f"chance {percent(result.chance)}", "chance")
    for row in zeros:
        chart.level(
            within(row.points[0].mean),
            f"{looks.name(row)} {shown(row.points[0].mean, result.metric)}",
            f"{looks.style(row)} zero-line",
        )
    for number, row in enumerate(reversed(rows)):  # the best is drawn last, on top
        # Whiskers of many rows at one place would hide each other: each row stands a little aside.
        aside = 1 + 0.035 * (len(rows) - 1 - number - (len(rows) - 1) / 2)
        along = [places[p.shots] * aside for p in row.points]
        chart.line(along, [within(p.mean) for p in row.points], looks.style(row))
        for x, p in zip(along, row.points, strict=True):
            chart.whisker(x, within(p.low), within(p.high), looks.style(row))
            said = f"{shown(p.mean, result.metric)}, 95 % {_between(p, result.metric)}"
            title = f"{looks.name(row)}, {names[p.shots]} {per}: {said}"
            chart.point(x, within(p.mean), title, looks.style(row), 4, looks.shape(row))
    more = [] if result.chance is None else [("chance", f"chance {percent(result.chance)}")]
    return Figure(
        "Score against labels",
        chart.svg(),
        f"The mean of {len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}, all tested on the same "
        f"{result.test:,} items. Bars: 95 % intervals over seeds and test items; marks stand a little aside of each other. "
        "Lines across: what takes no labels.",
        looks.legend([*rows, *zeros], more),
        ("model and strategy", per, "items", result.metric, "95 % interval"),
        [
            (
                looks.name(row),
                "none" if p.shots == 0 else names[p.shots],
                f"{p.items:.4g}",
                shown(p.mean, result.metric),
                _between(p, result.metric),
            )
            for row in [*rows, *zeros]
            for p in row.points
        ],
    )


def cost_figures(result: Comparison, looks: _Looks) -> list[Figure]:
    """The score against what it takes: seconds to train, and memory."""
    rows = known(result)
    if len(rows) < 2:
        return []
    kinds: list[tuple[str, str, Callable[[Row], float | None], str]] = [
        (
            "Score against time",
            "seconds to train",
            lambda row: row.learning,
            "Encoding the items included.",
        ),
        ("Score against memory", "peak memory, MiB", lambda row: row.peak_mib, "Of a process that did nothing else."),
    ]
    if any(row.gpu_peak_mib is not None for row in rows):
        kinds.append(
            ("Score against GPU memory", "peak GPU memory, MiB", lambda row: row.gpu_peak_mib, "Tensors of torch.")
        )
    if any(row.joules is not None for row in rows):
        kinds.append(
            ("Score against energy", "joules", lambda row: row.joules, f"An estimate: all of {result.energy}.")
        )
    out = []
    for title, name, find, caption in kinds:
        there = [(row, max(value, 1e-3)) for row in rows if (value := find(row)) is not None]
        xs = [x for _, x in there]
        ends = (min(xs) / 1.3, max(xs) * 1.3)
        scores = [row.score for row, _ in there if row.score is not None]
        span, ticks = score_axis([s.low for s in scores], [s.high for s in scores], result.metric)
        within = clip_to(span)
        chart = Chart(
            f"{result.metric} against {name}",
            ends,
            span,
            f"{name} (logarithmic)",
            result.metric,
            log_ticks(*ends),
            ticks,
            log_x=True,
        )
        for row, x in reversed(there):
            assert row.score is not None
            chart.whisker(x, within(row.score.low), within(row.score.high), looks.style(row))
            said = f"{looks.name(row)}: {shown(row.score.value, result.metric)}, {x:.4g} {name}"
            chart.point(x, within(row.score.value), said, looks.style(row), 5, looks.shape(row))
        table = [
            (looks.name(row), f"{x:,.4g}", shown(row.score.value, result.metric))
            for row, x in there
            if row.score is not None
        ]
        out.append(
            Figure(
                title,
                chart.svg(),
                f"With {most(result)}. {caption}",
                looks.legend([row for row, _ in there], marks=True),
                ("model and strategy", name, result.metric),
                table,
            )
        )
    return out


def _columns(result: Comparison) -> list[str]:
    names = ["model", "strategy", result.metric, "95 % interval", "against the best", "95 % interval"]
    names += [f"labels to {shown(result.wanted, result.metric)}"] if result.wanted is not None else []
    names += ["training", "testing", "memory"]
    names += ["GPU memory"] if any(row.gpu_peak_mib is not None for row in result.done) else []
    return names + (["energy"] if any(row.joules is not None for row in result.done) else [])


def _cells(row: Row, result: Comparison, looks: _Looks) -> list[str]:
    assert row.score is not None
    cells = [
        looks.models[row.model],
        row.strategy,
        shown(row.score.value, result.metric),
        _between(row.score, result.metric),
    ]
    if row.difference is None:
        cells += ["best", ""]
    else:
        together = row.difference.corrected
        ends = row.difference if together is None else together
        cells.append(_change(row.difference.value, result.metric))
        cells.append(
            "" if math.isnan(ends.low) else _joined(*(_change(v, result.metric) for v in (ends.low, ends.high)))
        )
        if row.difference.p is not None:
            cells[-1] += f", p = {row.difference.p if together is None else together.p:.2g}"
    cells += [str(row.reach)] if result.wanted is not None else []
    cells += [seconds(row.learning or 0.0), seconds(row.testing or 0.0), f"{row.peak_mib or 0:,.0f} MiB"]
    if any(other.gpu_peak_mib is not None for other in result.done):
        cells.append("–" if row.gpu_peak_mib is None else f"{row.gpu_peak_mib:,.0f} MiB")
    if any(other.joules is not None for other in result.done):
        cells.append("–" if row.joules is None else f"{row.joules:,.0f} J")
    return cells


def _tiles(result: Comparison, looks: _Looks) -> list[tuple[str, str, str]]:
    """The best row, the best that takes no labels, and the quickest that is as good as the best as far as is known."""
    if not known(result):
        return []
    best = result.done[0]
    assert best.score is not None
    tiles = [
        (
            looks.name(best),
            shown(best.score.value, result.metric),
            f"best; 95 % interval {_between(best.score, result.metric)}".replace(" %", "\u00a0%"),
        )
    ]
    quick = min(as_good(result), key=lambda row: row.learning or math.inf)
    if quick is not best and quick.score is not None:
        tiles.append(
            (
                looks.name(quick),
                seconds(quick.learning or 0.0),
                f"quickest of those that may be as good: {shown(quick.score.value, result.metric)}",
            )
        )
    free = next((row for row in known(result) if zero(row)), None)
    if free is not None and free.score is not None and free not in (best, quick):
        tiles.append((looks.name(free), shown(free.score.value, result.metric), "best that takes no labels"))
    if result.chance is not None:
        tiles.append(("chance", percent(result.chance), "always the most frequent class"))
    return tiles


def _drawable(point: CurvePoint) -> bool:
    return math.isfinite(point.mean)


def _change(value: float, metric: str) -> str:
    """A difference as the score is read, with its sign."""
    if math.isnan(value):
        return "–"
    text = shown(abs(value), metric)
    return f"{'−' if value < 0 else '+'}{text}"


def _between(score: Any, metric: str) -> str:
    return "" if math.isnan(score.low) else _joined(shown(score.low, metric), shown(score.high, metric))


def _joined(low: str, high: str) -> str:
    """Two ends, the sign of per cent said once."""
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} to {high}"
