"""The figures of ``docs/intervals.md``: what was simulated of intervals, comparisons and certificates."""

from __future__ import annotations

from typing import Any

KNOWN = 1.96 * (0.95 * 0.05) ** 0.5
"""Half the width of the interval of a coverage of 95 %, times the root of the repeats."""


def coverage(data: dict[str, Any]) -> str:
    """How often intervals hold the truth."""
    names = list(dict.fromkeys(name for row in data["rows"] for name in row["scores"]))
    lines = []
    for task in dict.fromkeys(row["task"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["task"] == task]
        here = [name for name in names if name in rows[0]["scores"]]
        lines += ["| " + task + " | items | " + " | ".join(here) + " |", "|---|---:" + "|---:" * len(here) + "|"]
        for row in rows:
            cells = []
            for name in here:
                score = row["scores"][name]
                told = " (told)" if score["noted"] > 0.5 else ""
                cells.append(f"{100 * score['held']:.1f}{told}")
            lines.append(f"| {row['case']} | {row['items']} | " + " | ".join(cells) + " |")
        lines.append("")
    enough = [(row, name, score) for row in data["rows"] for name, score in row["scores"].items() if row["items"] >= 50]
    off = [
        f"{name} of {row['case']!r} at {row['items']}: {100 * score['held']:.1f}, told in {100 * score['noted']:.0f} %"
        for row, name, score in enough
        if abs(score["held"] - 0.95) > 0.02 + 1e-9
    ]
    fewest, most = (pick(row["repeats"] for row in data["rows"]) for pick in (min, max))
    few = 100 * KNOWN / fewest**0.5
    many = 100 * KNOWN / most**0.5
    lines.append(
        f"Of {len(enough)} coverages at 50 items or more, {len(off)} lie further than 2 points from 95 (with the part of the "
        f"test sets in which a note says so): {'; '.join(off) or 'none'}. A coverage is known to within {many:.1f} points, and to "
        f"within {few:.1f} where repeats are fewest."
    )
    return "\n".join(lines)


def false_flags(data: dict[str, Any]) -> str:
    """How often a table flags a row among equal ones."""
    lines = [
        "| rows | seeds | a row is flagged among equal ones: each by itself, % | corrected, % "
        "| a row 10 points worse is flagged: each by itself, % | corrected, % |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in data["rows"]:
        false, power = row["false"], row["power"]["0.1"]
        cells = (false["one_by_one"], false["corrected"], power["one_by_one"], power["corrected"])
        lines.append(f"| {row['rows']} | {row['seeds']} | " + " | ".join(f"{100 * cell:.1f}" for cell in cells) + " |")
    return "\n".join(lines) + f"\n\n{data['tables']:,} tables of {data['items']} items for each line."


def certificate(data: dict[str, Any]) -> str:
    """Whether the certificate holds."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in data["rows"]:
        cases.setdefault(row["case"], []).append(row)
    lines = [
        "| features | models | claim holds | said to be converged | largest gap, nats | largest claim, nats |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case, rows in cases.items():
        models, holds, converged = (sum(row[key] for row in rows) for key in ("models", "holds", "converged"))
        gap, claim = (max(row[key] for row in rows) for key in ("largest_gap", "largest_claim"))
        lines.append(f"| {case} | {models} | {holds} | {converged} | {gap:.1e} | {claim:.1e} |")
    return "\n".join(lines)
