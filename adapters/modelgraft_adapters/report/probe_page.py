"""The report as one HTML page: no script, nothing fetched, readable from a file, on paper, in the dark and on a telephone."""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.report.contents import Cost, ProbeReport
from modelgraft_adapters.report.probe_figures import (
    learning_figure,
    percent,
    reliability_figure,
    scatter_figures,
    setting_figure,
    shown,
)
from modelgraft_adapters.report.probe_tables import class_table, confusion, flat


def build_report(report: ProbeReport) -> str:
    """The page, complete in itself: styles and images are inside, and its own policy forbids it to fetch or run anything.

    All texts (class names, paths, texts of items, notes) are escaped.
    """
    evaluation = report.evaluation
    name = evaluation.score.name
    head = evaluation.score
    tiles = [
        (
            f"{name} on {len(evaluation.targets):,} test items",
            shown(head.value, name),
            head.note if not head.defined else _interval(head.low, head.high, name),
        )
    ]
    if report.zero_shot is not None:
        score = report.zero_shot
        tiles.append(
            ("zero-shot, by class names alone", shown(score.value, name), _interval(score.low, score.high, name))
        )
    if report.majority is not None:
        tiles.append((report.majority[0], percent(report.majority[1]), "the most frequent class of the training items"))
    if report.task == "single-label" and report.classes:
        tiles.append(("chance", percent(1 / len(report.classes)), f"one of {len(report.classes)} classes"))
    figures = [learning_figure(report), setting_figure(report), reliability_figure(report), *scatter_figures(report)]
    columns, rows = class_table(report)
    return render(
        "probe.html.j2",
        title=f"{report.model} on {report.data_name}",
        report=report,
        tiles=tiles,
        scores=[_row(score) for score in evaluation.scores],
        figures=[figure for figure in figures if figure is not None],
        confusion=confusion(report),
        class_columns=columns,
        class_rows=rows,
        chosen={k: v for k, v in (report.found.get("chosen") or {}).items() if v is not None},
        certificate=report.found.get("certificate"),
        converged=report.found.get("converged", True),
        certified_in="of the targets' squares" if report.task == "regression" else "nats",
        cost=cost_rows(report.cost),
        facts=flat(report.facts),
        unit="times the typical error" if report.task == "regression" else "nats",
    )


def render(template: str, **values: Any) -> str:
    """A template of this package, filled. Characters of names that hide, or turn the line around, are shown as escapes."""
    page = _environment().get_template(template).render(**values)
    odd = {c for c in set(page) if not c.isprintable() and c not in "\n\t" and unicodedata.category(c) != "Zs"}
    return page.translate({ord(c): c.encode("unicode_escape", "surrogatepass").decode() for c in odd})


@cache
def _environment() -> Environment:
    loader = PackageLoader("modelgraft_adapters.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def cost_rows(cost: Cost) -> list[tuple[str, str]]:
    """What it took, in words."""
    rows = [
        (phase, f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s") for phase, seconds in cost.seconds.items()
    ]
    if cost.items:
        stored = cost.items - cost.encoded
        rest = "; the others were stored, repeated or unreadable" if stored else ""
        rows.append(("items encoded", f"{cost.encoded:,} of {cost.items:,}{rest}"))
    if (rate := cost.items_per_second) is not None:
        rows.append(("items encoded per second", f"{rate:,.1f}"))
    if cost.peak_mib is not None:
        rows.append(("peak memory", f"{cost.peak_mib:,.0f} MiB"))
    if cost.gpu_mib is not None:
        rows.append(("peak memory of the accelerator", f"{cost.gpu_mib:,.0f} MiB"))
    return rows


def _row(score: Score) -> tuple[str, str, str]:
    """A score with its interval, and what is to be known of them."""
    ends = _between(score.low, score.high, score.name)
    value = shown(score.value, score.name) if score.defined else "undefined"
    return score.name, value, "; ".join(filter(None, (ends, score.note)))


def _between(low: float, high: float, name: str) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"{shown(low, name)} to {shown(high, name)}"


def _interval(low: float, high: float, name: str) -> str:
    between = _between(low, high, name)
    return f"95 % interval {between}" if between else ""
