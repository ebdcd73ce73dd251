"""Tables of docs/fine-tuning.md, from the results of finetuning.py, contrastive.py, multitask.py and step_time.py."""

from __future__ import annotations

import math
import statistics

import numpy as np
from modelgraft_adapters.metrics.scores import Score, wilson
from modelgraft_adapters.metrics.spread import mean_interval
from page_parts import prose, read
from scipy.stats import t as student

SHOTS = (4, 16, 64)
SETS = {
    "cifar10 mobilenet": ("CIFAR-10, ImageNet MobileNetV2 at 96 pixels", 400),
    "fashion_mnist embedded": ("Fashion-MNIST, the embedded model's image tower", 1000),
    "trec minilm": ("TREC questions of 6 kinds, all-MiniLM-L6-v2", 248),
    "banking77 minilm": ("Banking77 (at most 25 labels a class), all-MiniLM-L6-v2", 400),
}
DOMAINS = {
    "pacs mobilenet": "PACS: photographs → art, cartoons, sketches; MobileNetV2",
    "mnist embedded": "MNIST → MNIST-M; the embedded model",
}

SETUPS = {"few steps": "60, cropped and mirrored", "many steps": "200, as they are"}
TOGETHER = {
    "alone": "alone",
    "together, equal sampling": "together, 32 of each a step",
    "together, sum": "together, 32 of all a step, sum",
    "together, uncertainty": "together, 32 of all a step, uncertainty",
}


def values(part: str, key: str, field: str) -> list[float]:
    """One figure of all runs whose key begins so, in the order of their seeds."""
    runs = read("finetuning")[part]
    found = {int(name.split()[-1]): run[field] for name, run in runs.items() if name.startswith(f"{key} ")}
    return [found[seed] for seed in sorted(found)]


def sizes(key: str) -> list[int]:
    """Labels a class of which both ways have as many draws, three or more."""
    runs = read("finetuning")["shots"]

    def draws(strategy: str, shots: int) -> int:
        return sum(name.startswith(f"{key} {strategy} {shots} ") for name in runs)

    return [shots for shots in SHOTS if draws("lp-ft", shots) == draws("scratch", shots) >= 3]


def interval(accuracies: list[float], tested: int) -> tuple[float, float, float]:
    """Mean over draws and its 95 % interval over draws and test items."""
    mean, low, high = mean_interval([Score("accuracy", v, *wilson(v * tested, tested)) for v in accuracies])
    return mean, max(0.0, low), min(1.0, high)


def over_seeds(figures: list[float]) -> tuple[float, float, float]:
    """Mean and its 95 % t interval over seeds, the test items the same."""
    found = np.array(figures)
    half = float(student.ppf(0.975, len(found) - 1)) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return float(found.mean()), float(found.mean()) - half, float(found.mean()) + half


def points(found: tuple[float, float, float], signed: bool = False) -> str:
    mean, low, high = (100 * value for value in found)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if signed else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def finetuning_shots() -> str:
    """Pretrained against from scratch."""
    rows = [
        "| set and model | labels a class | seeds | fine-tuned (lp-ft) | from scratch |",
        "|---|---:|---:|---:|---:|",
    ]
    for key, (title, tested) in SETS.items():
        for shots in sizes(key):
            found = [values("shots", f"{key} {strategy} {shots}", "accuracy") for strategy in ("lp-ft", "scratch")]
            tuned, scratch = (interval(figures, tested) for figures in found)
            mark = "**" if tuned[1] > scratch[2] else ""
            rows.append(f"| {title} | {shots} | {len(found[0])} | {mark}{points(tuned)}{mark} | {points(scratch)} |")
    taken = read("finetuning")["machine"]
    text = prose(
        "Means over seeds, which draw the labels, with 95 % intervals over seeds and 400 test items (TREC 248, Fashion-MNIST "
        "1,000); "
        f"bold where the two have nothing in common. {taken['cores']} cores, one thread, torch {taken['torch']}."
    )
    return "\n".join(rows) + f"\n\n{text}\n"


def finetuning_domains() -> str:
    """LP-FT against full fine-tuning."""
    rows = [
        "| from → to | strategy | in the domain | out of it |",
        "|---|---|---:|---:|",
    ]
    for key, title in DOMAINS.items():
        outside = {}
        for strategy in ("lp-ft", "full"):
            inside = values("domains", f"{key} {strategy}", "inside")
            outside[strategy] = values("domains", f"{key} {strategy}", "outside")
            rows.append(
                f"| {title} | {strategy} | {points(over_seeds(inside))} | {points(over_seeds(outside[strategy]))} |"
            )
        gap = [a - b for a, b in zip(outside["lp-ft"], outside["full"], strict=True)]
        rows.append(f"| | lp-ft − full, the same seeds | | {points(over_seeds(gap), signed=True)} |")
    seeds = len(values("domains", "pacs mobilenet lp-ft", "inside"))
    return "\n".join(rows) + f"\n\nMeans of {seeds} seeds, which draw 16 labels a class, and their 95 % t intervals.\n"


def finetuning_wise() -> str:
    """WiSE-FT's line."""
    curves = {key: np.array(values("domains", f"{key} lp-ft", "curve")) for key in DOMAINS}
    rows = ["| α | " + " | ".join(f"{key.split()[0]}: in | out" for key in DOMAINS) + " |"]
    rows.append("|---:" * (1 + 2 * len(DOMAINS)) + "|")
    first = next(iter(curves.values()))
    for row, alpha in enumerate(first[0, :, 0]):
        cells = [f"{100 * curve[:, row, column].mean():.1f}" for curve in curves.values() for column in (1, 2)]
        rows.append(f"| {alpha:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def finetuning_contrastive() -> str:
    """Pairs of texts, beside setfit."""
    data = read("contrastive")
    rows = [
        "| set, seeds | frozen probe | modelgraft | setfit | modelgraft − setfit |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in data["sets"].items():
        cells = [
            points((found[m]["mean"], found[m]["low"], found[m]["high"])) for m in ("probe", "modelgraft", "setfit")
        ]
        gap = found["modelgraft - setfit"]
        signed = points((gap["mean"], gap["low"], gap["high"]), signed=True)
        draws = min(len(found["runs"][method]) for method in ("modelgraft", "setfit"))
        rows.append(f"| {name}, {draws} | {' | '.join(cells)} | {signed} |")
    memory = data["memory"]
    most = str(max(int(n) for n in memory["setfit"]))
    own, theirs = memory["modelgraft"][most], memory["setfit"][most]
    largest = max(memory["modelgraft"].values(), key=lambda run: run["pairs"])
    text = prose(
        f"{theirs['pairs']:,} pairs take {own['mib']:.2f} MiB here and {theirs['mib']:.0f} MiB there; "
        f"{largest['pairs']:,} take {largest['mib']:.2f} MiB here: pairs are drawn one by one, never listed."
    )
    return "\n".join(rows) + f"\n\n{text}\n"


def finetuning_step() -> str:
    """A step against a loop by hand."""
    data = read("step_time")
    found, options, taken = data["models"]["mobilenetv2_100"], data["options"], data["machine"]
    seconds = {way: statistics.median(values) for way, values in found["seconds_of_steps"].items()}
    text = (
        f"A step of MobileNetV2 with {options['batch_size']} images takes {seconds['modelgraft, fp32']:.3f} s in fp32, by hand "
        f"{seconds['by hand']:.3f} s: {found['ratio']['modelgraft, fp32']:.2f} times (medians of {options['rounds']} rounds of "
        f"{options['steps']} steps each, in turn, {taken['cores']} cores, torch {taken['torch']}). Other models, and bf16: "
        "[speed.md](speed.md)."
    )
    return prose(text) + "\n"


def gains(setup: str, way: str) -> list[float]:
    """What a way of learning two tasks together gives over the one alone, draw by draw."""
    runs = read("multitask")["setups"][setup]
    return [runs[way][seed] - runs["alone"][seed] for seed in sorted(runs["alone"], key=int)]


def finetuning_multitask() -> str:
    """Two tasks together against one alone."""
    rows = ["| steps, images | trained | seeds | accuracy | less that alone |", "|---|---|---:|---:|---:|"]
    for setup, runs in read("multitask")["setups"].items():
        of = {way: [run[seed] for seed in sorted(run)] for way, run in runs.items()}
        for way, title in TOGETHER.items():
            if len(of.get(way, [])) < len(of["alone"]):
                continue  # not run yet
            difference = "" if way == "alone" else points(over_seeds(gains(setup, way)), signed=True)
            rows.append(
                f"| {SETUPS[setup]} | {title} | {len(of[way])} | {points(over_seeds(of[way]))} | {difference} |"
            )
    others = gains("many steps", "together, equal sampling")[2:]
    text = (
        "Means over seeds and their 95 % t intervals over seeds; the same steps and test items. Many steps were "
        f"settled on with two seeds seen; the others alone give {points(over_seeds(others), signed=True)}."
    )
    return "\n".join(rows) + f"\n\n{prose(text)}\n"
