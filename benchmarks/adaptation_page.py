"""Tables of docs/adaptation.md, from the results of adaptation.py."""

from __future__ import annotations

from typing import Any

from finetuning_page import points
from modelgraft_adapters.metrics.scores import Score, wilson
from modelgraft_adapters.metrics.spread import mean_interval
from page_parts import prose, read, section

METHODS = ("mean-shift", "coral", "subspace", "importance", "self-training")
NAMES = {"mnist": "MNIST", "usps": "USPS", "mnist_m": "MNIST-M", "art_painting": "art", "mr": "MR", "cr": "CR"}
MODELS = {
    "digits": "digits, the embedded model",
    "pacs": "PACS, EfficientNet-Lite0",
    "texts": "sentiment, all-MiniLM-L6-v2",
}


def pairs() -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The runs of each pair of domains, in the order of their seeds."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for key, run in sorted(read("adaptation")["runs"].items(), key=lambda item: int(item[0].split()[-1])):
        group, source, target, _ = key.split()
        found.setdefault((group, source, target), []).append(run)
    order = list(MODELS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def accuracy(runs: list[dict[str, Any]], method: str) -> tuple[float, float, float]:
    """Mean over seeds and its interval over seeds and test items."""
    scores = []
    for run in runs:
        value, count = run["methods"][taken(run, method)]["accuracy"], run["items"][2]
        scores.append(Score("accuracy", value, *wilson(value * count, count)))
    mean, low, high = mean_interval(scores)
    return mean, max(0.0, low), min(1.0, high)


def gain(runs: list[dict[str, Any]], method: str) -> tuple[float, float, float]:
    """Mean difference to source-only on the same items, and its interval over seeds and test items."""
    return mean_interval([Score("gain", *run["methods"][taken(run, method)]["gain"]) for run in runs])


def taken(run: dict[str, Any], method: str) -> str:
    """The method itself; of ``auto`` what it chose."""
    return str(run["auto"]) if method == "auto" else method


def shown(found: tuple[float, float, float]) -> str:
    """A difference in points: bold where it is a gain beyond the interval, in italics where it is a loss."""
    mark = "**" if found[1] > 0 else "*" if found[2] < 0 else ""
    return f"{mark}{points(found, signed=True)}{mark}"


def adaptation() -> str:
    """Every method against doing nothing."""
    data = read("adaptation")
    rows = [
        "| source → target | source-only | " + " | ".join(METHODS) + " | auto | target's labels |",
        "|---|---:" + "|---:" * (len(METHODS) + 2) + "|",
    ]
    group = ""
    for (name, source, target), runs in pairs().items():
        if name != group:
            rows.append(f"| **{MODELS[name]}** |" + " |" * (len(METHODS) + 3))
            group = name
        whose = "the other three" if "+" in source else NAMES.get(source, source)
        cells = [points(accuracy(runs, "source-only")), *(shown(gain(runs, method)) for method in (*METHODS, "auto"))]
        cells.append(points(accuracy(runs, "target's labels")))
        rows.append(f"| {whose} → {NAMES.get(target, target)} | " + " | ".join(cells) + " |")
    seeds = sorted({len(runs) for runs in pairs().values()})
    text = (
        "Accuracy on the target's test part, in points: of source-only and of a head on the target's own labels; of the methods "
        f"the difference to source-only on the same items. Means over {' to '.join(map(str, seeds))} seeds, which draw at most 300 "
        "training items of each domain, with 95 % intervals over seeds and test items. "
        "Bold: better beyond the interval; italics: worse."
    )
    return section(rows, data, text)


def adaptation_words() -> str:
    """How often each method helped and hurt, and what auto took."""
    lines = []
    for method in (*METHODS, "auto"):
        gains = [gain(runs, method) for runs in pairs().values()]
        better, worse = sum(low > 0 for _, low, _ in gains), sum(high < 0 for _, _, high in gains)
        mean = 100 * sum(middle for middle, _, _ in gains) / len(gains)
        single = [run["methods"][taken(run, method)]["gain"] for runs in pairs().values() for run in runs]
        up, down = sum(low > 0 for _, low, _ in single), sum(high < 0 for _, _, high in single)
        counts = f"{better} | {worse} | {len(gains)} | {up} | {down} | {len(single)}"
        lines.append(f"| `{method}` | {counts} | {mean:+.1f} |")
    rows = [
        "| method | better | worse | of pairs | better | worse | of single runs | mean difference, points |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *lines,
    ]
    chosen: dict[str, int] = {}
    for runs in pairs().values():
        for run in runs:
            chosen[run["auto"]] = chosen.get(run["auto"], 0) + 1
    took = ", ".join(f"{name} {count}" for name, count in sorted(chosen.items(), key=lambda item: -item[1]))
    text = f"Better and worse: beyond the interval, of a single run over the test items alone. `auto` took: {took}."
    return "\n".join(rows) + f"\n\n{prose(text)}\n"


def adaptation_network() -> str:
    """AdaBN and TENT."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for key, run in sorted(read("adaptation").get("network", {}).items(), key=lambda item: int(item[0].split()[-1])):
        runs.setdefault(key.rpartition(" ")[0], []).append(run)
    if not runs:
        return "Not measured.\n"
    rows = ["| source → target | seeds | source-only | AdaBN | TENT |", "|---|---:|---:|---:|---:|"]
    for key, found in runs.items():
        source, target = key.split()
        cells = [points(accuracy(found, "source-only")), *(shown(gain(found, method)) for method in ("adabn", "tent"))]
        rows.append(f"| {NAMES[source]} → {NAMES[target]} | {len(found)} | " + " | ".join(cells) + " |")
    first = next(iter(runs.values()))[0]["items"]
    text = (
        f"The embedded model, frozen, {first[0]} items of the source and {first[1]} of the target by the seed, {first[2]} to test "
        "on; as in the table above."
    )
    return "\n".join(rows) + f"\n\n{prose(text)}\n"


def adaptation_trained() -> str:
    """Deep CORAL and DANN against the same training on the source alone."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for key, run in sorted(read("adaptation").get("trained", {}).items(), key=lambda item: int(item[0].split()[-1])):
        runs.setdefault(key.rpartition(" ")[0], []).append(run)
    if not runs:
        return "Not measured.\n"
    rows = ["| source → target | seeds | fine-tuned on the source | Deep CORAL | DANN |", "|---|---:|---:|---:|---:|"]
    single = {"deep-coral": [0, 0], "dann": [0, 0]}
    for key, found in runs.items():
        source, target = key.split()
        cells = [points(accuracy(found, "fine-tuned")), *(shown(gain(found, method)) for method in single)]
        rows.append(f"| {NAMES[source]} → {NAMES[target]} | {len(found)} | " + " | ".join(cells) + " |")
        for method, counts in single.items():
            bounds = [run["methods"][method]["gain"][1:] for run in found]
            counts[0] += sum(low > 0 for low, _ in bounds)
            counts[1] += sum(high < 0 for _, high in bounds)
    first, count = next(iter(runs.values()))[0], sum(map(len, runs.values()))
    taken = first["settings"]
    told = ", ".join(
        f"{name} better in {single[way][0]} and worse in {single[way][1]} of {count}"
        for way, name in (("deep-coral", "Deep CORAL"), ("dann", "DANN"))
    )
    text = (
        f"The embedded model, trained ({taken['strategy']}, {taken['steps']} steps, rate {taken['lr']:g}, other settings the "
        f"defaults but for augment {taken['augment']}) on {first['items'][0]} items of the source and {first['items'][1]} of the "
        "target; Deep CORAL and DANN as differences to the first column on the same items, in points. Bold: better beyond the "
        f"interval; italics: worse. Single runs, over the test items alone: {told}. "
        "Few seeds and few steps: the intervals over seeds are wide, and longer runs or other weights may do otherwise."
    )
    return "\n".join(rows) + f"\n\n{prose(text)}\n"
