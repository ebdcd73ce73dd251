"""Tables of docs/zero-shot.md, from the results of zero_shot_shift.py."""

from __future__ import annotations

from typing import Any

from adaptation_page import shown
from finetuning_page import points
from modelgraft_adapters.metrics.scores import Score, wilson
from modelgraft_adapters.metrics.spread import mean_interval
from page_parts import prose, read, section

METHODS = ("shares", "even-shares", "class-means", "prompt-weights", "all templates", "label-spreading")
KINDS = {"as is": "80 % of the items", "skewed": "skewed", "half": "half of the classes", "few": "20 items"}
NAMES = {
    "cifar10": "CIFAR-10",
    "photo": "PACS photo",
    "art_painting": "PACS art",
    "cartoon": "PACS cartoon",
    "sketch": "PACS sketch",
    "flowers5": "flowers",
    "fashion_mnist": "Fashion-MNIST",
    "ag_news": "AG News",
    "trec": "TREC",
    "banking77": "Banking77",
}


def runs_of() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The runs of each kind and set, in the order of their seeds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, run in sorted(read("zero_shot_shift")["runs"].items()):
        name, kind, _ = key.split("/")
        found.setdefault((kind, name), []).append(run)
    return {(kind, name): found[kind, name] for kind in KINDS for name in NAMES if (kind, name) in found}


def gain(runs: list[dict[str, Any]], method: str) -> tuple[float, float, float]:
    """Mean difference to plain zero-shot on the same items, and its interval over subsamples and items."""
    return mean_interval([Score("gain", *run["gains"][method]) for run in runs])


def accuracy(runs: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean of plain zero-shot and its interval."""
    scores = [Score("accuracy", run["plain"], *wilson(run["plain"] * run["items"], run["items"])) for run in runs]
    mean, low, high = mean_interval(scores)
    return mean, max(0.0, low), min(1.0, high)


def zero_shot_shift() -> str:
    """Every method beside plain zero-shot."""
    rows = [
        "| | plain | " + " | ".join(METHODS) + " |",
        "|---|---:" + "|---:" * len(METHODS) + "|",
    ]
    before = ""
    for (kind, name), runs in runs_of().items():
        if kind != before:
            rows.append(f"| **{KINDS[kind]}** |" + " |" * (len(METHODS) + 1))
            before = kind
        cells = [points(accuracy(runs)), *(shown(gain(runs, method)) for method in METHODS)]
        rows.append(f"| {NAMES[name]} | " + " | ".join(cells) + " |")
    seeds = sorted({len(runs) for runs in runs_of().values()})
    text = (
        "Accuracy in points: of plain zero-shot, and of each method the difference to it on the same items. Means over "
        f"{' to '.join(map(str, seeds))} subsamples with 95 % intervals over subsamples and items. Bold: better beyond the "
        "interval; italics: worse. All templates: these with even weights, where plain is the model's one default template."
    )
    return section(rows, read("zero_shot_shift"), text)


def zero_shot_words() -> str:
    """How often each method helped and hurt."""
    rows = [
        "| method | items | better | worse | of sets | mean difference, points | worst set |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for method in METHODS:
        for kind, words in KINDS.items():
            gains = {name: gain(runs, method) for (k, name), runs in runs_of().items() if k == kind}
            better, worse = sum(low > 0 for _, low, _ in gains.values()), sum(high < 0 for _, _, high in gains.values())
            mean = 100 * sum(middle for middle, _, _ in gains.values()) / len(gains)
            worst = min(gains, key=lambda name: gains[name][0])
            told = f"{NAMES[worst]} {100 * gains[worst][0]:+.1f}"
            rows.append(f"| {method} | {words} | {better} | {worse} | {len(gains)} | {mean:+.1f} | {told} |")
    return (
        "\n".join(rows) + "\n\n" + prose("Better and worse: the mean over the subsamples, beyond its interval.") + "\n"
    )
