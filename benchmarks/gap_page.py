"""Tables of docs/gap.md, from benchmarks/results/gap.json; benchmarks/report.py puts them into the page."""

from __future__ import annotations

from page_parts import read, section


def gap_same() -> str:
    """How often a gap is seen where there is none."""
    data = read("gap")
    rows = [
        "| set | items | numbers | each side | RBF, % | linear, % | uniform: p |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in data["same"].items():
        items, width = data["sets"][name]
        rows.append(
            f"| {name} | {items} | {width:,} | {found['side']} | {100 * found['rbf']:.1f} | {100 * found['linear']:.1f} | "
            f"{found['uniform']:.2f} |"
        )
    draws, count = data["options"]["draws"], len(data["same"])
    mean = 100 * sum(found["rbf"] for found in data["same"].values()) / count
    text = (
        f"{draws} pairs of parts of each set, {data['options']['permutations']} permutations: the mean over the {count} sets is "
        f"{mean:.1f} %. Of {draws} tests at 5 % from {_binomial(draws)} are rejected, 95 times in 100."
    )
    return section(rows, data, text)


def gap_apart() -> str:
    """How often a gap is seen where there is one."""
    data = read("gap")
    sizes = list(next(iter(data["apart"].values()))["seen"])
    parts = list(next(iter(data["mixed"].values())))
    head = [
        *(f"{size} and {size} items, %" for size in sizes),
        *(f"{100 * float(part):.0f} % of it, %" for part in parts),
    ]
    rows = [f"| from | {' | '.join(head)} | A-distance |", "|---" + "|---:" * (len(head) + 1) + "|"]
    for name, found in data["apart"].items():
        shares = [*found["seen"].values(), *data["mixed"][name].values()]
        cells = " | ".join(f"{100 * share:.0f}" for share in shares)
        rows.append(f"| {name} | {cells} | {found['a_distance']:.2f} |")
    side = data["options"]["side"]
    text = (
        f"The middle columns: {side} and {side} items, of the target only the part that is named is of the other set."
    )
    return section(rows, data, text)


def gap_warning() -> str:
    """How often `predict` warns."""
    data = read("gap")
    sizes = list(next(iter(data["warned"].values())))
    head = "| " + " | ".join(f"{size} items, %" for size in sizes)
    rows = [
        f"| trained on a part of | trained on {head} | 20 of one class, % |",
        "|---" + "|---:" * (len(sizes) + 2) + "|",
    ]
    for name, found in data["warning"].items():
        cells = " | ".join(_percent(found["same"].get(size)) for size in sizes)
        rows.append(f"| {name} | {found['train']} | {cells} | {_percent(found['one_class'])} |")
    rows += ["", f"| trained on a part of the first {head} |", "|---" + "|---:" * len(sizes) + "|"]
    for name, shares in data["warned"].items():
        rows.append(f"| {name} | " + " | ".join(_percent(shares.get(size)) for size in sizes) + " |")
    alarms = [share for found in data["warning"].values() for share in found["same"].values()]
    draws = data["options"]["draws"]
    text = (
        f"Above, batches of the same set: {draws} each, the reference made anew each time; the mean is "
        f"{100 * sum(alarms) / len(alarms):.2f} %, the largest {100 * max(alarms):.1f} %, and the level is "
        f"{100 * data['options']['level']:.0f} %. Below, batches of another set. An empty cell: the set has too few items."
    )
    return section(rows, data, text)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _binomial(draws: int) -> str:
    from scipy.stats import binom

    low, high = binom.ppf([0.025, 0.975], draws, 0.05) / draws
    return f"{100 * low:.1f} to {100 * high:.1f} %"
