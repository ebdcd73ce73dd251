"""Charts as inline SVG: axes, lines with intervals, points with hover titles. Colours are the page's, for light and dark.

Every text that comes from outside goes through `markupsafe`, so a class called ``<script>`` is shown and not run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup

WIDTH: Final = 400
HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 12, 46


@dataclass
class Chart:
    """A pair of axes and what is drawn on them, from data to pixels.

    Args:
        label: what a reader who does not see it is told.
        x: (least, greatest) of the data; of a logarithmic axis above 0.
        y: the same.
        x_name, y_name: below and beside the axes.
        x_ticks: (value, text); None takes round numbers.
        y_ticks: the same.
        log_x: whether the axis is logarithmic.
        height, width: in pixels of the drawing, which is scaled to the column.
        grid: draw ticks and lines; of a map they mean nothing.
    """

    label: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_name: str = ""
    y_name: str = ""
    x_ticks: Sequence[tuple[float, str]] | None = None
    y_ticks: Sequence[tuple[float, str]] | None = None
    log_x: bool = False
    height: int = HEIGHT
    width: int = WIDTH
    grid: bool = True
    _parts: list[Markup] = field(default_factory=list)

    def across(self, value: float) -> float:
        """Data to pixels."""
        low, high = (math.log(v) for v in self.x) if self.log_x else self.x
        at = math.log(value) if self.log_x else value
        share = 0.5 if high == low else (at - low) / (high - low)
        return round(_LEFT + share * (self.width - _LEFT - _RIGHT), 1)

    def up(self, value: float) -> float:
        """Data to pixels."""
        low, high = self.y
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str = "one") -> None:
        """A line through points."""
        points = " ".join(f"{self.across(x)},{self.up(y)}" for x, y in zip(xs, ys, strict=True))
        self._parts.append(Markup('<polyline class="line {}" points="{}"/>').format(style, points))

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: str = "one") -> None:
        """The area between two lines."""
        there = [(self.across(x), self.up(v)) for x, v in zip(xs, highs, strict=True)]
        back = [(self.across(x), self.up(v)) for x, v in zip(xs, lows, strict=True)][::-1]
        points = " ".join(f"{x},{y}" for x, y in there + back)
        self._parts.append(Markup('<polygon class="band {}" points="{}"/>').format(style, points))

    def whisker(self, x: float, low: float, high: float, style: str = "one") -> None:
        """An interval, upright."""
        at = self.across(x)
        self._parts.append(
            Markup('<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                style, at, at, self.up(low), self.up(high)
            )
        )

    def point(self, x: float, y: float, title: str, style: str = "one", radius: float = 4, shape: int = 0) -> None:
        """A mark with what it says when a pointer rests on it. ``shape``: disc, square, triangle, diamond."""
        self._parts.append(
            Markup('<g class="point {}">{}<title>{}</title></g>').format(
                style, mark(self.across(x), self.up(y), radius, shape), title
            )
        )

    def bar(self, x: float, wide: float, y: float, title: str, style: str = "one") -> None:
        """A column from the axis up to y."""
        left, right = self.across(x - wide / 2), self.across(x + wide / 2)
        self._parts.append(
            Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                style,
                left,
                self.up(y),
                round(max(right - left, 0.5), 1),
                round(max(self.up(self.y[0]) - self.up(y), 0), 1),
                title,
            )
        )

    def level(self, y: float, title: str, style: str) -> None:
        """A line across at y."""
        at = self.up(y)
        self._parts.append(
            Markup('<line class="level {}" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}</title></line>').format(
                style, _LEFT, self.width - _RIGHT, at, at, title
            )
        )

    def upright(self, x: float, title: str, style: str) -> None:
        """A line up at x."""
        at = self.across(x)
        self._parts.append(
            Markup('<line class="level {}" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}</title></line>').format(
                style, at, at, _TOP, self.height - _BOTTOM, title
            )
        )

    def svg(self) -> Markup:
        """The drawing."""
        y_ticks = self.y_ticks if self.y_ticks is not None else round_ticks(*self.y)
        x_ticks = self.x_ticks if self.x_ticks is not None else round_ticks(*self.x)
        parts = [
            Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
                self.width, self.height, self.label
            )
        ]
        bottom = self.height - _BOTTOM
        if self.grid:
            for value, text in y_ticks:
                at = self.up(value)
                parts.append(
                    Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                        _LEFT, self.width - _RIGHT, at, at
                    )
                )
                parts.append(
                    Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
                        _LEFT - 7, at + 4, text
                    )
                )
            for value, text in spaced(x_ticks, self.across):
                at = self.across(value)
                parts.append(
                    Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(at, at, bottom, bottom + 4)
                )
                parts.append(
                    Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                        at, bottom + 18, text
                    )
                )
            base = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>')
            parts.append(base.format(_LEFT, self.width - _RIGHT, bottom, bottom))
        middle = (_LEFT + self.width - _RIGHT) / 2
        parts.append(
            Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                middle, self.height - 8, self.x_name
            )
        )
        parts.append(
            Markup('<text class="name" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
                (_TOP + bottom) / 2, self.y_name
            )
        )
        return Markup("").join([*parts, *self._parts, Markup("</svg>")])


def mark(x: float, y: float, radius: float, shape: int = 0) -> Markup:
    """A disc, square, triangle or diamond of about one area."""
    if shape % 4 == 0:
        return Markup('<circle cx="{}" cy="{}" r="{}"/>').format(x, y, radius)
    if shape % 4 == 1:
        side = round(radius * 1.77, 2)
        return Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            round(x - side / 2, 1), round(y - side / 2, 1), side, side
        )
    if shape % 4 == 2:
        r = radius * 1.35
        corners = [(x, y - r), (x - 0.87 * r, y + r / 2), (x + 0.87 * r, y + r / 2)]
    else:
        r = radius * 1.3
        corners = [(x, y - r), (x - r, y), (x, y + r), (x + r, y)]
    return Markup('<polygon points="{}"/>').format(" ".join(f"{round(a, 1)},{round(b, 1)}" for a, b in corners))


def round_ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them, as (value, text)."""
    if not high > low:
        return [(low, f"{low:g}")]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999999)
    first = math.ceil(low / step - 1e-9)
    values = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{0.0 if abs(value) < step / 1e6 else value:.10g}") for value in values]


def power_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten between two positive numbers; at most about eight, the same distance apart."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first) / 7))
    out = []
    for power in range(first, last + 1, step):
        text = f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"
        out.append((10.0**power, text))
    return out or [(low, f"{low:.3g}"), (high, f"{high:.3g}")]


def spaced(ticks: Sequence[tuple[float, str]], place: Callable[[float], float]) -> list[tuple[float, str]]:
    """The ticks whose texts do not run into the one before; the last one stays."""
    kept: list[tuple[float, str]] = []
    for tick in reversed(ticks):
        wide = 7 * (len(tick[1]) + 1)
        if not kept or place(kept[-1][0]) - place(tick[0]) >= (wide + 7 * len(kept[-1][1])) / 2:
            kept.append(tick)
    return kept[::-1]


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """What the lines stand for: (style, text)."""
    items = Markup("").join(
        Markup(
            '<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true"><line class="line {}" x1="1" x2="25" y1="5" y2="5"/>'
            "</svg>{}</li>"
        ).format(style, text)
        for style, text in entries
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def score_axis(
    lows: Sequence[float], highs: Sequence[float], metric: str
) -> tuple[tuple[float, float], list[tuple[float, str]] | None]:
    """Return ends and ticks of the axis of a score, from ends of intervals."""
    there = [value for value in (*lows, *highs) if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(there), max(there)
    if metric not in ("accuracy", "mean average precision"):
        low = max(low, min(-1.0, high))  # a regression far off may be arbitrarily bad
        pad = 0.06 * (high - low) or 0.1
        return (low - pad, high + pad), None
    low = max(low - 0.02, 0.0)  # a line across, such as chance, does not lie on the axis
    step = 0.2 if high - low > 0.55 else 0.1 if high - low > 0.25 else 0.05
    ends = math.floor(low / step + 1e-9) * step, min(1.0, math.ceil(high / step - 1e-9) * step)
    count = round((ends[1] - ends[0]) / step)
    return ends, [(ends[0] + n * step, f"{100 * (ends[0] + n * step):.0f} %") for n in range(count + 1)]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return powers of ten, with numbers between them where there are few."""
    if high / low > 100:
        return power_ticks(low, high)
    between = (1, 2, 5) if high / low > 6 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    found = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in between
    ]
    inside = [value for value in found if low <= value <= high]
    return [(value, f"{value:g}") for value in inside] or [(low, f"{low:.3g}"), (high, f"{high:.3g}")]


def clip_to(span: tuple[float, float]) -> Callable[[float], float]:
    """Return what brings a value to within the ends of an axis."""
    return lambda value: min(max(value, span[0]), span[1])
