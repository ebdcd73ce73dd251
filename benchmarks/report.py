"""Write the figures of `benchmarks/results/` into the pages, between their markers; a test holds them to the results.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numbers_page
from adaptation_page import adaptation, adaptation_network, adaptation_trained, adaptation_words
from calibration_page import calibration
from finetuning_page import (
    finetuning_contrastive,
    finetuning_domains,
    finetuning_multitask,
    finetuning_shots,
    finetuning_step,
    finetuning_wise,
)
from gap_page import gap_apart, gap_same, gap_warning
from page_parts import prose, read, section, taken
from quality_page import (
    curves,
    quality_one_number,
    quality_pictures,
    quality_scratch,
    quality_texts,
    quality_zero_shot,
)
from ranking_page import ranking_finetuned, ranking_halving, ranking_scores
from speed_page import many_classes, speed_answers, speed_images, speed_steps, speed_texts
from zero_shot_page import zero_shot_shift, zero_shot_words

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "benchmarks.md",
    ROOT / "docs" / "quality.md",
    ROOT / "docs" / "fine-tuning.md",
    ROOT / "docs" / "adaptation.md",
    ROOT / "docs" / "intervals.md",
    ROOT / "docs" / "speed.md",
    ROOT / "docs" / "calibration.md",
    ROOT / "docs" / "ranking.md",
    ROOT / "docs" / "gap.md",
    ROOT / "docs" / "zero-shot.md",
)
DRAWING = ROOT / "docs" / "quality.svg"
_BLOCK = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.S)


def _processes(data: dict[str, Any]) -> str:
    rows = ["| command | CPU s | wall s | peak MiB |", "|---|---|---|---|"]
    for name, f in data["figures"].items():
        rows.append(f"| {name} | {f['cpu']:.2f} | {f['wall']:.2f} | {f['peak_mib']:.0f} |")
    return "\n".join(rows)


def plugins() -> str:
    """Listing with many plugins, tried and known."""
    from plugins import table

    data = read("plugins")
    one = f"Once tried, a plugin costs a listing {data['cached_ms_per_plugin']:.1f} ms."
    return f"{table(data['figures'])}\n\n{one}\n\n{taken(data)}"


def listing() -> str:
    """Whole processes that list models."""
    data = read("listing")
    ratio = f"The libraries take {data['cpu_ratio']:.0f} times the CPU time and {data['memory_ratio']:.0f} times the memory."
    return f"{_processes(data)}\n\n{ratio}\n\n{taken(data)}"


def listing_scale() -> str:
    """Listing over growing catalogues."""
    data = read("listing_scale")
    sizes = list(data["figures"])
    rows = [
        "| step | " + " | ".join(f"{int(size):,}: CPU s, MiB" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for step in (name for name in data["figures"][sizes[0]] if name != "snapshot"):
        cells = [f"{(f := data['figures'][size][step])['cpu']:.2f}, {f['peak_mib']:.0f}" for size in sizes]
        rows.append(f"| {step} | " + " | ".join(cells) + " |")
    megabytes = ", ".join(f"{data['figures'][size]['snapshot']['mb']:.1f}" for size in sizes)
    last = data["entries_found"][sizes[-1]]["every filter, best first"]
    snapshots = f"The snapshot files hold {megabytes} MB; the filters find {last:,} of the largest."
    return "\n".join(rows) + f"\n\n{snapshots}\n\n{taken(data)}"


def cold_start() -> str:
    """Whole processes from nothing to labels."""
    data = read("cold_start")
    ratio = f"`classify` takes {data['wall_over_imports']:.2f} times the wall time of importing torch and Pillow."
    return f"{_processes(data)}\n\n{ratio}\n\n{taken(data)}"


def throughput() -> str:
    """The pipeline against the bare forward pass."""
    machines = {}
    rows = ["| model | batch | forward only, images/s | `classify`, images/s | ratio |", "|---|---|---|---|---|"]
    for path in sorted((ROOT / "benchmarks" / "results").glob("throughput_*.json")):
        data = json.loads(path.read_text())
        machines[taken(data)] = None
        best = max(data["forward_only_pictures_per_s"].values())
        rate = max(data["classify_pictures_per_s"])
        options = data["options"]
        rows.append(
            f"| {options['architecture']} | {options['batch_size']} | {best:.1f} | {rate:.1f} | {data['ratio']:.2f} |"
        )
    return "\n".join(rows) + "\n\n" + "\n".join(machines)


def probe_sweep() -> str:
    """The batched solve against scikit-learn."""
    data = read("probe_sweep")
    ours, theirs, default = data["batched_s"], data["scikit_learn_s"], data["scikit_learn_at_default_s"]
    above, equal = data["objective_above_ours_at_default"], data["largest_objective_above_ours"]
    rows = [
        "| who | seconds | times the batched solve | objective above the batched solve's, relative |",
        "|---|---:|---:|---|",
        f"| modelgraft, one batched solve | {ours:.1f} | 1 | - |",
        f"| scikit-learn, at equal objective | {theirs:.0f} | {data['ratio']:.1f} | at most {equal:.0e} |",
        f"| scikit-learn, at its default tolerance | {default:.0f} | {data['ratio_at_default']:.1f} | "
        f"median {above['median']:.1e}, largest {above['largest']:.1e} |",
    ]
    text = (
        f"{data['items']:,} items of {data['numbers']:,} numbers, {data['classes']} classes, {data['fits']} fits, "
        f"threads: {data['threads']}. {data['fits_at_equal_objective']} of scikit-learn's {data['fits']} fits got to equal "
        f"objective. Best accuracy over the folds: {data['best_accuracy']:.4f}, scikit-learn's "
        f"{data['best_accuracy_scikit_learn']:.4f}."
    )
    return section(rows, data, text)


def feature_store() -> str:
    """Extraction, a second adapter, memory."""
    data = read("feature_store")
    rates, start, memory = data["throughput"], data["start"], data["memory"]
    forward, embed = max(rates["forward_only_pictures_per_s"].values()), max(rates["embed_pictures_per_s"])
    runs = [
        f"| {name} | {(run := start[name])['encoded']} | {run['seconds']:.2f} | {'yes' if run['loaded'] else 'no'} |"
        for name in ("first", "second", "third")
    ]
    peaks = [f"| {int(n):,} | {run['wall']:.1f} | {run['peak_mib']:.0f} |" for n, run in memory["texts"].items()]
    lines = [
        "| images/s | |",
        "|---|---:|",
        f"| forward pass only | {forward:.1f} |",
        f"| extraction into the store | {embed:.1f} |",
        f"| ratio | {rates['ratio']:.2f} |",
        f"| read back from the store | {max(rates['embed_stored_pictures_per_s']):,.0f} |",
        "",
        f"| process, {start['pictures']} images | forward passes (images) | seconds after the imports | model loaded |",
        "|---|---:|---:|---|",
        *runs,
        "",
        "| texts | wall s | peak MiB |",
        "|---:|---:|---:|",
        *peaks,
        "",
        f"From the smallest to the largest peak: {memory['spread_mib']:.0f} MiB.",
    ]
    return "\n".join(lines) + f"\n\n{taken(data)}"


def output_rows() -> str:
    """Memory over rows of output."""
    data = read("rows")
    counts = list(next(iter(data["figures"].values())))
    lines = [
        "| output | " + " | ".join(f"{int(count):,} images: peak MiB" for count in counts) + " |",
        "|---" + "|---:" * len(counts) + "|",
    ]
    named = {"txt": "table"}
    for suffix, runs in data["figures"].items():
        cells = " | ".join(f"{run['peak_mib']:.0f}" for run in runs.values())
        lines.append(f"| {named.get(suffix, suffix)} | {cells} |")
    return "\n".join(lines) + f"\n\n{data['labels']:,} labels.\n\n{taken(data)}"


def coverage() -> str:
    """How often intervals hold the truth."""
    data = read("coverage")
    return f"{numbers_page.coverage(data)}\n\n{taken(data)}"


def false_flags() -> str:
    """How often a comparison flags a row that is no worse."""
    data = read("false_flags")
    return f"{numbers_page.false_flags(data)}\n\n{taken(data)}"


def certificate() -> str:
    """Whether the probe's certificate holds."""
    data = read("certificate")
    return f"{numbers_page.certificate(data)}\n\n{taken(data)}"


def quality_machine() -> str:
    """Where the figures of quality.md come from: they were added over several runs."""
    return "The figures were added over several runs, the last of them here:\n" + taken(read("quality"))


def measured() -> str:
    """The README's lines."""
    start, table, sweep, store = (read(name) for name in ("cold_start", "listing", "probe_sweep", "feature_store"))
    ours, peers = table["figures"]["modelgraft list"], table["figures"]["timm and open_clip"]
    lines = [
        f"- `modelgraft list`: {ours['cpu']:.2f} s of CPU and {ours['peak_mib']:.0f} MiB; timm and open_clip listing their models "
        f"themselves: {peers['cpu']:.1f} s and {peers['peak_mib']:.0f} MiB.",
        f"- The first command above: {start['wall_over_imports']:.2f} times the time of `import torch, PIL.Image`.",
        f"- The probe's sweep, {sweep['fits']} fits on {sweep['items']:,} x {sweep['numbers']:,} features of "
        f"{sweep['classes']} classes: {sweep['batched_s']:.0f} s. scikit-learn takes {sweep['ratio']:.0f} times as long to "
        f"the same objective, {sweep['ratio_at_default']:.1f} times to its default tolerance, which stops short of it.",
        f"- Extracting features: {store['throughput']['ratio']:.2f} of the speed of the forward pass alone. From the store: "
        f"{store['start']['second']['encoded']} forward passes, {store['start']['second']['seconds']:.1f} s for "
        f"{store['start']['pictures']} images. Between 1,000 and 100,000 items the peak memory moves by "
        f"{store['memory']['spread_mib']:.0f} MiB.",
    ]
    return "\n".join(prose(line).replace("\n", "\n  ") for line in lines) + "\n"


SECTIONS = {
    section.__name__: section
    for section in (
        listing,
        listing_scale,
        plugins,
        cold_start,
        throughput,
        probe_sweep,
        feature_store,
        output_rows,
        coverage,
        false_flags,
        certificate,
        measured,
        quality_machine,
        quality_scratch,
        quality_one_number,
        quality_zero_shot,
        quality_pictures,
        quality_texts,
        adaptation,
        adaptation_words,
        adaptation_network,
        adaptation_trained,
        finetuning_shots,
        finetuning_domains,
        finetuning_wise,
        finetuning_contrastive,
        finetuning_multitask,
        finetuning_step,
        calibration,
        many_classes,
        ranking_finetuned,
        ranking_halving,
        ranking_scores,
        speed_answers,
        speed_images,
        speed_steps,
        speed_texts,
        gap_same,
        gap_apart,
        gap_warning,
        zero_shot_shift,
        zero_shot_words,
    )
}


def rendered(page: Path) -> str:
    """The page with today's results in it."""
    return _BLOCK.sub(lambda m: m[1] + "\n" + SECTIONS[m["name"]]() + "\n" + m[3], page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page), encoding="utf-8")
    DRAWING.write_text(curves(), encoding="utf-8")
