"""The figures of docs/ranking.md: how well cheap scores order candidates, and what halving picks and costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from modelgraft_adapters.ranking.race import BY
from page_parts import prose, read, section, taken

NAMES = {
    "probe": "linear probe over folds",
    "knn": "k-NN over folds",
    "logme": "LogME",
    "h-score": "shrunk H-score",
    "gbc": "GBC",
    "leep": "LEEP",
    "nce": "NCE",
}
LEAST = 5
"""Candidates that a correlation is taken of."""


def tau(rows: dict[str, Any], score: str, target: str = "test") -> float | None:
    """Weighted Kendall correlation of a score with a target, over the candidates that have both; None of too few."""
    from scipy.stats import weightedtau

    both = [
        (row[target], row["scores"][score])
        for row in rows.values()
        if score in row["scores"] and row.get(target) is not None
    ]
    if len(both) < LEAST or len({value for value, _ in both}) < 2:
        return None
    wanted, found = zip(*both, strict=True)
    return float(weightedtau(wanted, found).statistic)


def whole(data: dict[str, Any]) -> dict[str, Any]:
    """The sets that were gone through to their end."""
    return {name: one for name, one in data["sets"].items() if "halving" in one}


def means(data: dict[str, Any], target: str = "test") -> list[tuple[str, float, float, float, int]]:
    """(score, mean over the sets, low, high, sets), the best first; the interval is a bootstrap over the sets."""
    found = []
    rng = np.random.default_rng(0)
    for score in NAMES:
        each = [value for one in whole(data).values() if (value := tau(one["candidates"], score, target)) is not None]
        if not each:
            continue
        values = np.array(each)
        drawn = values[rng.integers(0, len(values), (4000, len(values)))].mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        found.append((score, float(values.mean()), float(low), float(high), len(values)))
    return sorted(found, key=lambda row: -row[1])


def ranking_scores() -> str:
    """Correlation of each score with the accuracy on the test items."""
    data = read("ranking")
    rows = [
        "| score | weighted Kendall correlation with the test accuracy | 95 % interval over the sets | sets |",
        "|---|---:|---|---:|",
    ]
    found = means(data)
    rows += [
        f"| {NAMES[name]} | {mean:.2f} | {low:.2f} to {high:.2f} | {count} |" for name, mean, low, high, count in found
    ]
    return section(rows, data, sentence(data, found))


def ranking_finetuned() -> str:
    """Correlation of each score with the accuracy after training whole models: the slow part of the script."""
    data = read("ranking")
    found = means(data, "finetuned")
    if not found:
        return prose("The slow part of the script (`--finetune`) has not been run for these results.")
    rows = [
        "| score | weighted Kendall correlation with the fine-tuned accuracy | 95 % interval over the sets | sets |",
        "|---|---:|---|---:|",
    ]
    rows += [
        f"| {NAMES[name]} | {mean:.2f} | {low:.2f} to {high:.2f} | {count} |" for name, mean, low, high, count in found
    ]
    return section(rows, data)


def sentence(data: dict[str, Any], found: list[tuple[str, float, float, float, int]]) -> str:
    """Which score won, by how much, and how sure that is."""
    general = [row for row in found if row[0] not in ("leep", "nce")]
    first, second = general[0], general[1]
    each = [[tau(one["candidates"], row[0]) for row in (first, second)] for one in whole(data).values()]
    apart = np.array([a - b for a, b in each if a is not None and b is not None])
    drawn = apart[np.random.default_rng(0).integers(0, len(apart), (4000, len(apart)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return (
        f"Of the scores that every candidate has, {NAMES[first[0]]} orders them best: {first[1]:.2f}, "
        f"{first[1] - second[1]:.2f} above {NAMES[second[0]]} (95 % over the sets: {low:+.2f} to {high:+.2f}"
        f"{', which may be chance' if low <= 0 else ''}). LEEP and NCE are of the candidates with classes of their own alone."
    )


def ranking_halving() -> str:
    """What halving picks on each set, and what it costs."""
    data = read("ranking")
    rows = [
        "| set | candidates | best on the test items | picked | its accuracy | points below | items, of the sample "
        "| of all labelled | time |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    near = third = 0
    for name, one in whole(data).items():
        there = one["candidates"]
        best = max(there, key=lambda title: there[title]["test"])
        halving = one["halving"][BY]
        picked = halving["pick"]
        gap = 100 * (there[best]["test"] - there[picked]["test"])
        of_all = halving["items_share"] * one["train"] / one["available"]
        near, third = near + (gap <= 1.0 + 1e-9), third + (of_all <= 1 / 3)
        rows.append(
            f"| {name} | {len(there)} | {best}, {100 * there[best]['test']:.1f} % | {picked} | "
            f"{100 * there[picked]['test']:.1f} % | {gap:.1f} | {100 * halving['items_share']:.0f} % | {100 * of_all:.0f} % | "
            f"{100 * halving['time_share']:.0f} % |"
        )
    count = len(whole(data))
    text = (
        f"Within a point of the best on {near} of {count} sets; at most a third of embedding all labelled items of a set with all "
        f"candidates on {third} of {count}. The time is that of embedding, against all candidates on the whole sample of at most "
        f"{max(one['train'] for one in whole(data).values())} items."
    )
    return "\n\n".join(["\n".join(rows), prose(text), taken(data)])
