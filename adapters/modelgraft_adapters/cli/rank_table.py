"""What ``modelgraft rank`` prints for people."""

from __future__ import annotations

import io
from typing import Any, Final

from modelgraft.cli import render

WIDE: Final = 120
_SHORT: Final = {"h-score": "H-score", "logme": "LogME", "gbc": "GBC", "leep": "LEEP", "nce": "NCE", "knn": "k-NN"}


def table(result: Any, data: str) -> str:
    """Return the ranking for a terminal of `WIDE` columns."""
    from modelgraft_adapters.compare.results import short_names

    sizes = ", ".join(f"{rung.candidates} on {rung.items}" for rung in result.rungs)
    head = (
        f"{render.printable(data)}: {result.available} items to train on, {len(result.classes)} classes; by {result.metric}\n"
        f"candidates: {sizes} items\n\n"
    )
    rows = [row for row in result.rows if row.score is not None]
    names = [row.name for row in result.rows]
    body, short = "", {name: name for name in names}
    for room in range(44, 11, -1):  # names give way first
        short = short_names(names, room)
        body = _main(result, rows, short) + _costs(rows, short)
        if all(len(line) <= WIDE for line in body.splitlines()):
            break
    lines = [
        f"{short[row.name]}  {'-' if row.status == 'cannot' else 'failed'}: {row.reason}"
        for row in result.rows
        if row.score is None
    ]
    lines += ["", *_below(result)] + [f"{name} is {full}" for full, name in short.items() if name != full]
    return head + body + "".join(f"{render.printable(line)}\n" for line in lines)


def _main(result: Any, rows: list[Any], short: dict[str, str]) -> str:
    if not rows:
        return ""
    others = [name for name in dict.fromkeys(n for row in rows for n in row.values) if name != result.by]
    titles = [_SHORT.get(name, name) for name in others]
    columns = ["model", "items", _SHORT.get(result.by, result.by), "95 %", "below best", "ranks", *titles]
    columns += ["random"]
    cells = []
    for row in rows:
        apart = row.difference
        cells.append(
            [
                f"{short[row.name]}{' *' if row.pareto else ''}",
                str(row.items),
                f"{row.score.value:.3f}",
                "" if row.score.low != row.score.low else f"{row.score.low:.3f}, {row.score.high:.3f}",
                "" if apart is None else f"{apart.low:+.3f}, {apart.high:+.3f}",
                "" if row.rank_low is None else _span(row.rank_low, row.rank_high),
                *("" if name not in row.values else f"{row.values[name]:.3f}" for name in others),
                "" if row.control is None else f"{row.control:.3f}{' !' if row.hurts else ''}",
            ]
        )
    out = io.StringIO()
    render.table(columns, cells, [name for name in columns if name not in ("model", "95 %", "below best")], out)
    return out.getvalue()


def _costs(rows: list[Any], short: dict[str, str]) -> str:
    """A second table: what each candidate takes."""
    if not rows:
        return ""
    cells = [
        [
            short[row.name],
            "" if row.seconds_per_item is None else f"{1000 * row.seconds_per_item:.1f}",
            "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
            render.count(row.params),
            "-" if row.size is None else f"{render.count(row.size)}B",
            row.licence or "-",
        ]
        for row in rows
    ]
    out = io.StringIO()
    out.write("\n")
    render.table(
        ["model", "ms/item", "MiB", "params", "files", "licence"], cells, ("ms/item", "MiB", "params", "files"), out
    )
    return out.getvalue()


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _below(result: Any) -> list[str]:
    """The lines below the table: what its marks and columns mean, what more labels may bring, what it took."""
    lines = []
    if any(row.difference is not None for row in result.rows):
        lines.append(
            "below best: against the best on the same items, 95 % together over all candidates of that sample; an end above 0 is "
            "not told apart"
        )
    if any(row.pareto for row in result.rows):
        lines.append(f"*: none is better and no slower, on the {result.rungs[0].items} items that all were scored on")
    if any(row.control is not None for row in result.rows):
        lines.append(
            "random: the same architecture with random weights, on a small sample; ! where that does better: transfer hurts"
        )
    if result.gain and result.best is not None:
        told = "; ".join(
            f"{one.labels} labels {one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in result.gain
        )
        lines.append(f"more labels, {result.best.name}: {told}")
    share = f" of {result.everything} that all candidates on the largest sample take" if len(result.rungs) > 1 else ""
    share += f", {result.of_random} by random weights" if result.of_random else ""
    lines.append(
        f"embedded: {result.embedded} items{share}; {result.encoded} through a model now; {result.seconds:.1f} s"
    )
    return lines
